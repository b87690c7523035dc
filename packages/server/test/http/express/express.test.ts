import { createServer, request } from 'node:http';
import { createSigner, type SignedRequest } from '@countersign/client';
import { generateAccessKey, MemoryNonceStore, type Verifier } from '@countersign/server';
import { identityOf, requireScope, requireSignature } from '@countersign/server/express';
import express, { type ErrorRequestHandler, type Request } from 'express';
import { describe, expect, it } from 'vitest';
import {
  type Answer,
  AUDIENCE,
  headOf,
  listen,
  NOW,
  parties,
  RawClient,
  send,
  stranger,
  unholdable,
} from '../sockets.ts';
import { requireSignatureContract } from './express-contract.ts';

requireSignatureContract(express);

/** An application that answers signed requests with the name of the signer. */
function whoami(verifier: Verifier, options: Parameters<typeof requireSignature>[1] = {}) {
  const app = express();
  app.use(requireSignature(verifier, options));
  app.use((req, res) => void res.send(identityOf(req).subject));
  return app;
}

describe('requireSignature() behind a proxy', () => {
  /** A proxy that writes its own host and removes `/v1`, as many do. */
  async function proxyTo(port: number) {
    return listen(
      createServer((req, res) => {
        const path = (req.url ?? '').replace(/^\/v1/, '');
        const headers = {
          ...req.headers,
          host: 'internal.test:9999',
          'x-forwarded-host': req.headers['x-forwarded-host'] ?? req.headers.host,
        };
        const onward = request(
          { port, host: '127.0.0.1', path, method: req.method, headers },
          (answer) => {
            res.writeHead(answer.statusCode ?? 502, answer.headers);
            answer.pipe(res);
          },
        );
        req.pipe(onward);
      }),
    );
  }

  it('verifies the URL that the client called, by the configured public origin and prefix', async () => {
    const upstream = await listen((req, res) => app(req, res));
    const proxy = await proxyTo(upstream.port);
    const { verifier, signer, refused } = parties({
      publicOrigin: proxy.origin,
      publicPrefix: '/v1',
    });
    const app = whoami(verifier);
    const signed = await signer.sign({
      method: 'POST',
      url: `${proxy.origin}/v1/videos?a=1`,
      body: { a: 1 },
    });
    expect(await send(signed)).toMatchObject({ status: 200, body: 'alice' });
    const direct = await signer.sign({
      method: 'POST',
      url: `${upstream.origin}/videos?a=1`,
      body: { a: 1 },
    });
    expect((await send(direct)).status).toBe(401);
    expect(refused.map(({ code }) => code)).toEqual(['ERR_SIGNATURE_MISMATCH']);
  });

  it.each([
    ['X-Forwarded-Host', { 'x-forwarded-host': 'api.test' }],
    ['X-Forwarded-Proto and -Port', { 'x-forwarded-proto': 'https', 'x-forwarded-port': '443' }],
    ['X-Forwarded-Prefix', { 'x-forwarded-prefix': '/v1' }],
    ['X-Original-URL and X-Rewrite-URL', { 'x-original-url': '/admin', 'x-rewrite-url': '/admin' }],
    ['Forwarded', { forwarded: 'host=api.test;proto=https' }],
  ])('is not told by the client what to verify: %s', async (_, headers) => {
    const { verifier, signer } = parties();
    const app = whoami(verifier).set('trust proxy', true);
    const { origin } = await listen(app);
    expect(
      (await send(await signer.sign({ method: 'GET', url: `${origin}/a` }), { headers })).status,
    ).toBe(200);
    // It is signed for the address in those headers.
    for (const url of ['https://api.test/a', `${origin}/v1/a`, `${origin}/admin`]) {
      const elsewhere = await signer.sign({ method: 'GET', url });
      expect((await send({ ...elsewhere, url: `${origin}/a` }, { headers })).status).toBe(401);
    }
  });
});

describe('requireSignature() and its answers', () => {
  it('is a problem that no cache keeps, with a challenge', async () => {
    const { origin } = await listen(whoami(parties().verifier));
    const answer = await send({ method: 'GET', url: `${origin}/`, headers: {}, body: undefined });
    expect(answer.status).toBe(401);
    expect(answer.headers).toMatchObject({
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      'www-authenticate': `COUNTERSIGN1-HMAC-SHA256 realm="${AUDIENCE}", error="signature-missing"`,
    });
    expect(answer.headers).not.toHaveProperty('countersign-epoch');
    expect(JSON.parse(answer.body)).toEqual({
      type: 'urn:countersign:error:signature-missing',
      title: 'The request is not signed',
      status: 401,
      reason: 'signature-missing',
      retry: 'no',
      detail: 'The request is not signed: expected an Authorization header or a presigned URL',
    });
  });

  it('sends the epoch with every answer after the store was asked', async () => {
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: NOW });
    const { verifier, signer } = parties({ nonces });
    const { origin } = await listen(whoami(verifier));
    const unknown = await send(await signer.sign({ method: 'GET', url: `${origin}/` }));
    expect(JSON.parse(unknown.body).reason).toBe('replay-unknown');
    expect(unknown.headers['countersign-epoch']).toBe(nonces.epoch);
    expect(Number(unknown.headers['retry-after'])).toBeGreaterThan(0);
    const signed = await signer.sign({ method: 'GET', url: `${origin}/`, epoch: nonces.epoch });
    const accepted = await send(signed);
    expect(accepted.status).toBe(200);
    expect(accepted.headers['countersign-epoch']).toBe(nonces.epoch);
    expect((await send(signed)).headers['countersign-epoch']).toBe(nonces.epoch);
  });

  it.each([
    ['key store', { keys: { find: () => Promise.reject(new Error('down')) } }],
    ['nonce store', { nonces: { claim: () => Promise.reject(new Error('down')) } }],
  ])('is 503 with Retry-After if the %s is down', async (_, options) => {
    const { verifier, signer } = parties(options);
    const { origin } = await listen(whoami(verifier));
    const answer = await send(await signer.sign({ method: 'GET', url: `${origin}/` }));
    expect(answer.status).toBe(503);
    expect(answer.headers['retry-after']).toBe('1');
    expect(answer.headers).not.toHaveProperty('www-authenticate');
    expect(answer.body).not.toMatch(/store|down/);
  });

  it('has no body for HEAD', async () => {
    const { origin, port } = await listen(whoami(parties().verifier));
    const signed = await stranger().sign({ method: 'HEAD', url: `${origin}/` });
    const client = new RawClient(port);
    client.write(headOf(signed, { connection: 'close' }));
    const answer = await client.answer('HEAD');
    expect(answer.status).toBe(401);
    expect(Number(answer.headers['content-length'])).toBeGreaterThan(0);
    await client.closed;
    expect(client.received).toBe('');
  });

  it('is the same, byte for byte, for an unknown key, a disabled key and a wrong signature', async () => {
    const { keys, verifier, key, refused } = parties();
    const disabled = { ...generateAccessKey(), status: 'disabled' as const };
    keys.set(disabled);
    const { origin } = await listen(whoami(verifier));
    const answers: Answer[] = [];
    for (const credentials of [
      generateAccessKey(),
      disabled,
      { ...key, secretAccessKey: generateAccessKey().secretAccessKey },
    ]) {
      const signer = createSigner({ credentials, audience: AUDIENCE, clock: () => NOW });
      const { status, headers, body } = await send(
        await signer.sign({ method: 'GET', url: `${origin}/` }),
      );
      answers.push({ status, headers: { ...headers, date: undefined }, body });
    }
    expect(refused.map(({ code }) => code)).toEqual([
      'ERR_KEY_UNKNOWN',
      'ERR_KEY_INACTIVE',
      'ERR_SIGNATURE_MISMATCH',
    ]);
    expect(answers[0]?.status).toBe(401);
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[2]).toEqual(answers[0]);
  });

  it('leaves an error that is no refusal to the error handler', async () => {
    const { verifier } = parties();
    const errors: unknown[] = [];
    const failure = new RangeError('a bug of mine');
    const app = whoami({ ...verifier, verify: () => Promise.reject(failure) });
    const onError: ErrorRequestHandler = (error, _req, res, _next) => {
      errors.push(error);
      res.status(500).end();
    };
    app.use(onError);
    const { origin } = await listen(app);
    expect(
      (await send({ method: 'GET', url: `${origin}/`, headers: {}, body: undefined })).status,
    ).toBe(500);
    expect(errors).toEqual([failure]);
  });
});

describe('requireSignature() and a verifier that names an epoch which no header can hold', () => {
  it.each(['claimed', 'replayed'] as const)('passes the error on: %s', async (outcome) => {
    const { verifier, signer } = parties();
    verifier.verify = async () => unholdable(outcome);
    const errors: unknown[] = [];
    const onError: ErrorRequestHandler = (error, _req, res, _next) => {
      errors.push(error.code);
      res.status(500).end();
    };
    const { origin } = await listen(whoami(verifier).use(onError));
    expect((await send(await signer.sign({ method: 'GET', url: `${origin}/` }))).status).toBe(500);
    expect(errors).toEqual(['ERR_INVALID_CHAR']);
  });
});

describe('requireSignature() and CORS', () => {
  const preflight = { origin: 'https://page.test', 'access-control-request-method': 'POST' };
  const ask = (
    origin: string,
    headers: Record<string, string>,
    method = 'OPTIONS',
  ): SignedRequest => ({ method, url: `${origin}/`, headers, body: undefined });

  it('refuses preflight requests if the option is not given', async () => {
    const { origin } = await listen(whoami(parties().verifier));
    expect((await send(ask(origin, preflight))).status).toBe(401);
  });

  it('lets them through without an identity if the option says so', async () => {
    const { verifier } = parties();
    const app = express();
    app.use(requireSignature(verifier, { preflight: 'pass' }));
    app.use((req, res) => {
      expect(() => identityOf(req)).toThrow('Cannot tell who signed "/"');
      res.sendStatus(204);
    });
    const { origin } = await listen(app);
    expect((await send(ask(origin, preflight))).status).toBe(204);
  });

  it('refuses a request that only looks like one', async () => {
    const { origin } = await listen(whoami(parties().verifier, { preflight: 'pass' }));
    expect((await send(ask(origin, {}))).status).toBe(401);
    expect((await send(ask(origin, { origin: 'https://page.test' }))).status).toBe(401);
    expect((await send(ask(origin, { 'access-control-request-method': 'POST' }))).status).toBe(401);
    expect((await send(ask(origin, preflight, 'POST'))).status).toBe(401);
  });
});

describe('requireSignature() built wrongly', () => {
  it.each([
    [
      'nothing',
      undefined,
      undefined,
      TypeError,
      'Cannot build adapter: expected a verifier or its options, got undefined',
    ],
    [
      'null',
      null,
      undefined,
      TypeError,
      'Cannot build adapter: expected a verifier or its options, got null',
    ],
    [
      'no audience',
      {},
      undefined,
      TypeError,
      'Cannot build verifier: option "audience" is undefined',
    ],
    [
      'an unknown mode',
      parties().verifier,
      { body: 'skip' },
      TypeError,
      'Cannot build adapter: option "body" is "skip"',
    ],
    [
      'a limit below zero',
      parties().verifier,
      { limit: -1 },
      RangeError,
      'Cannot build adapter: option "limit" is -1',
    ],
    [
      'half a byte',
      parties().verifier,
      { limit: 0.5 },
      TypeError,
      'Cannot build adapter: option "limit" is 0.5',
    ],
    [
      'an unknown preflight',
      parties().verifier,
      { preflight: true },
      TypeError,
      'Cannot build adapter: option "preflight" is true',
    ],
    [
      'an unknown option',
      parties().verifier,
      { limits: 1 },
      TypeError,
      'Cannot build adapter: unknown option "limits"',
    ],
    [
      'no options',
      parties().verifier,
      null,
      TypeError,
      'Cannot build adapter: expected an object, got null',
    ],
    [
      'options of both, one unknown',
      { ...minimal(), limits: 1 },
      undefined,
      TypeError,
      'unknown option "limits"',
    ],
    [
      'options of both, one wrong',
      { ...minimal(), limit: 'x' },
      undefined,
      TypeError,
      'option "limit" is "x"',
    ],
  ])('throws for %s', (_, given, options, type, message) => {
    const build = () => requireSignature(given as Verifier, options as object);
    expect(build).toThrow(type);
    expect(build).toThrow(message);
  });

  function minimal() {
    const { keys, nonces } = parties();
    return { audience: AUDIENCE, keys, nonces };
  }
});

describe('requireSignature() given the options of a verifier and its own', () => {
  it('uses both', async () => {
    const { keys, nonces, signer } = parties();
    const app = express();
    app.use(
      requireSignature({
        audience: AUDIENCE,
        keys,
        nonces,
        clock: () => NOW,
        limit: 3,
        preflight: 'pass',
      }),
    );
    app.use((_req, res) => void res.send('ok'));
    const { origin } = await listen(app);
    expect(
      (await send(await signer.sign({ method: 'POST', url: `${origin}/`, body: 'abc' }))).status,
    ).toBe(200);
    expect(
      (await send(await signer.sign({ method: 'POST', url: `${origin}/`, body: 'abcd' }))).status,
    ).toBe(413);
  });
});

describe('identityOf()', () => {
  it('throws if the request was not verified, saying what to mount', () => {
    expect(() => identityOf({ originalUrl: '/videos' } as Request)).toThrow(
      new TypeError('Cannot tell who signed "/videos": mount requireSignature() above this route'),
    );
    expect(() => identityOf(undefined as unknown as Request)).toThrow(
      new TypeError(
        'Cannot tell who signed "undefined": mount requireSignature() above this route',
      ),
    );
  });

  it('lets no body and no header decide who signed', async () => {
    const { verifier, signer } = parties();
    const app = express();
    app.use(requireSignature(verifier), express.json());
    app.use((req, res) => {
      Object.assign(req, req.body);
      res.send(identityOf(req).subject);
    });
    const { origin } = await listen(app);
    const body = { identity: { subject: 'mallory' }, subject: 'mallory' };
    expect(
      (
        await send(await signer.sign({ method: 'POST', url: `${origin}/`, body }), {
          headers: { identity: 'mallory' },
        })
      ).body,
    ).toBe('alice');
  });
});

describe('requireScope()', () => {
  async function serve(...scopes: [string, ...string[]]) {
    const { verifier, signer } = parties();
    const app = express();
    app.use(requireSignature(verifier), requireScope(...scopes));
    app.use((_req, res) => void res.send('allowed'));
    const { origin } = await listen(app);
    return send(await signer.sign({ method: 'GET', url: `${origin}/` }));
  }

  it('accepts a key that has all of the scopes', async () => {
    expect(await serve('videos:parse')).toMatchObject({ status: 200, body: 'allowed' });
    expect(await serve('videos:list', 'videos:parse')).toMatchObject({
      status: 200,
      body: 'allowed',
    });
  });

  it('refuses a key that lacks one of them, and names it', async () => {
    for (const scopes of [
      ['videos:delete'],
      ['videos:parse', 'videos:delete'],
      ['videos'],
      ['VIDEOS:PARSE'],
    ] as [string, ...string[]][]) {
      const answer = await serve(...scopes);
      expect(answer.status).toBe(403);
      expect(answer.headers).not.toHaveProperty('www-authenticate');
      expect(JSON.parse(answer.body)).toMatchObject({
        reason: 'scope-missing',
        detail: `The access key does not have the scope "${scopes.at(-1)}"`,
      });
    }
  });

  it('leaves a request that was not verified to the error handler', async () => {
    const errors: unknown[] = [];
    const onError: ErrorRequestHandler = (error, _req, res, _next) => {
      errors.push(error);
      res.status(500).end();
    };
    const { origin } = await listen(express().use(requireScope('videos:parse'), onError));
    expect(
      (await send({ method: 'GET', url: `${origin}/`, headers: {}, body: undefined })).status,
    ).toBe(500);
    expect(errors).toEqual([
      new TypeError('Cannot tell who signed "/": mount requireSignature() above this route'),
    ]);
  });

  it.each([[[]], [['']], [[7]], [['videos:parse', undefined]]])('throws for %j', (scopes) => {
    expect(() => requireScope(...(scopes as string[]))).toThrow(
      expect.objectContaining({
        name: 'TypeError',
        message: expect.stringMatching(/^Cannot require scopes .*: expected one or more names$/),
      }),
    );
  });
});
