// Schemes that are no part of the packages, and what the pipeline asks of each.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createFetch, createSigner } from '@countersign/client';
import {
  createVerifier,
  generateAccessKey,
  type Identity,
  MemoryKeyStore,
  MemoryNonceStore,
  type VerifierOptions,
} from '@countersign/server';
import { identityOf, requireSignature } from '@countersign/server/express';
import type { FailureLimit } from '@countersign/server/failures';
import { withSignature as withFetchSignature } from '@countersign/server/fetch';
import { withSignature } from '@countersign/server/node';
import {
  countersign,
  type Scheme,
  type SignatureError,
  type TargetPart,
  WHOLE_TARGET,
} from '@countersign/shared';
import express from 'express';
import { describe, expect, it } from 'vitest';
import { AUDIENCE, NOW, ORIGIN, outcome, type Received } from '../../../../test/support/api.ts';
import { type PlainOptions, plainScheme } from '../../../../test/support/plain-scheme.ts';

/** An API that takes one further scheme, and who signs for it. */
function createPlainApi(scheme: PlainOptions = {}, options: Partial<VerifierOptions> = {}) {
  const key = generateAccessKey({ subject: 'alice' });
  const clock = options.clock ?? (() => NOW);
  const plain = plainScheme(scheme) as Scheme;
  const verifier = createVerifier({
    audience: AUDIENCE,
    keys: new MemoryKeyStore([key], clock),
    nonces: new MemoryNonceStore({ clock, bornAt: 0 }),
    schemes: [countersign(), plain],
    clock,
    ...options,
  });
  const { accessKeyId, secretAccessKey } = key;
  const credentials = { accessKeyId, secretAccessKey };
  const signer = createSigner({ credentials, audience: AUDIENCE, scheme: plain, clock: () => NOW });
  const sign = async (target = '/videos?id=1'): Promise<Received> => {
    const request = { method: 'POST', url: ORIGIN + target, body: { id: 1 } };
    const { method, headers, body } = await signer.sign(request);
    const host: [string, string] = ['host', new URL(ORIGIN).host];
    return {
      method,
      url: target,
      headers: [host, ...Object.entries(headers)],
      body: body as Uint8Array,
    };
  };
  return { key, plain, sign, verifier, credentials };
}

const refusal = (promise: Promise<unknown>): Promise<SignatureError> =>
  promise.then(
    () => expect.unreachable('it was accepted'),
    (error) => error as SignatureError,
  );

describe('a signature in headers', () => {
  it('T15: that expires is accepted once, whatever the setting for URLs', async () => {
    for (const expiresIn of [60, 120, 3_600]) {
      for (const presignedUrls of ['until-expiry', 'once', 'refuse'] as const) {
        const { sign, verifier } = createPlainApi({ expiresIn }, { presignedUrls });
        const request = await sign();
        expect(await verifier.verify(request)).toMatchObject({ reusable: false });
        expect(await outcome(verifier, request)).toBe('ERR_NONCE_REUSED');
      }
    }
  });

  it('can only shorten its life by an expiry', async () => {
    let now = NOW;
    const lives = async (expiresIn: number): Promise<string[]> => {
      const { sign, verifier } = createPlainApi({ expiresIn }, { clock: () => now });
      const codes: string[] = [];
      for (const age of [60, 61, 120, 121]) {
        now = NOW + age;
        codes.push((await verifier.explain(await sign(`/${age}`))).code ?? 'accepted');
      }
      now = NOW;
      return codes;
    };
    const expired = 'ERR_SIGNATURE_EXPIRED';
    expect(await lives(60)).toEqual(['accepted', expired, expired, expired]);
    expect(await lives(604_800)).toEqual(['accepted', 'accepted', 'accepted', expired]);
    for (const never of [-1, Number.NaN])
      expect(await lives(never)).toEqual(Array(4).fill(expired));
  });

  it('is used again only if its scheme says that it stands in the URL', async () => {
    const { sign, verifier } = createPlainApi({ inUrl: true, expiresIn: 60 });
    const request = await sign();
    expect(await verifier.verify(request)).toMatchObject({ reusable: true });
    expect(await outcome(verifier, request)).toBe('accepted');
    const silent = createPlainApi({ expiresIn: 60 });
    const scheme: Scheme = {
      ...silent.plain,
      read(received) {
        const parsed = silent.plain.read(received);
        return parsed && { ...parsed, params: { ...parsed.params, inUrl: undefined as never } };
      },
    };
    const options = {
      audience: AUDIENCE,
      keys: new MemoryKeyStore([silent.key]),
      clock: () => NOW,
    };
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const strict = createVerifier({ ...options, nonces, schemes: [scheme] });
    const once = await silent.sign();
    expect(await outcome(strict, once)).toBe('accepted');
    expect(await outcome(strict, once)).toBe('ERR_NONCE_REUSED');
    const refusing = createVerifier({
      ...options,
      nonces,
      schemes: [scheme],
      presignedUrls: 'refuse',
    });
    expect(await outcome(refusing, await silent.sign())).toBe('ERR_SIGNATURE_MISSING');
  });
});

describe('a wrong signature', () => {
  it.each([
    [false, 'headers'],
    [true, 'presigned'],
  ])('counts by its form, not by its expiry: in a URL %s', async (inUrl, kind) => {
    const kinds: unknown[] = [];
    const failures: FailureLimit = {
      check: () => undefined,
      record: (_clientAddress, _accessKeyId, kind) => void kinds.push(kind),
    };
    const { sign, verifier } = createPlainApi({ inUrl, expiresIn: 60 }, { failures });
    const request = { ...(await sign()), url: '/videos?id=2', clientAddress: '192.0.2.1' };
    expect(await outcome(verifier, request)).toBe('ERR_SIGNATURE_MISMATCH');
    expect(kinds).toEqual([kind]);
  });
});

describe('a signature without a nonce', () => {
  it('is named by what was signed, not by its bytes', async () => {
    const claimed: string[] = [];
    const store = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const { sign, verifier } = createPlainApi(
      {},
      {
        nonces: {
          claim(claim) {
            claimed.push(claim.nonce);
            expect(claim.audience).toBe(AUDIENCE);
            return store.claim(claim);
          },
        },
      },
    );
    const request = await sign();
    const identity = await verifier.verify(request);
    expect(identity).toMatchObject({ audience: AUDIENCE, scheme: 'plain', nonce: claimed[0] });
    expect(claimed[0]).toMatch(/^[\w-]{22}$/);
    // Signed again in the same second it is the same request.
    expect(await outcome(verifier, await sign())).toBe('ERR_NONCE_REUSED');
    expect(await outcome(verifier, await sign('/videos?id=2'))).toBe('accepted');
    expect(new Set(claimed).size).toBe(2);
  });

  it('has one if its scheme sends one', async () => {
    const { sign, verifier } = createPlainApi({ nonce: 'sent' });
    for (const request of [await sign(), await sign()]) {
      expect(await outcome(verifier, request)).toBe('accepted');
      expect(await outcome(verifier, request)).toBe('ERR_NONCE_REUSED');
    }
  });
});

describe('a signature that does not cover', () => {
  it.each<[string, TargetPart[], string]>([
    ['the method', ['authority', 'path', 'query'], 'The method is not signed'],
    ['the authority', ['method', 'path', 'query'], 'Header "host" is not signed'],
    ['the path', ['method', 'authority', 'query'], 'The path is not signed'],
    ['the query', ['method', 'authority', 'path'], 'The query is not signed'],
    ['anything but the host', ['authority'], 'The method is not signed'],
    ['anything', [], 'The method is not signed'],
  ])('V11: %s is refused', async (_, covers, message) => {
    const { sign, verifier } = createPlainApi({ covers });
    const error = await refusal(verifier.verify(await sign()));
    expect(error).toMatchObject({ code: 'ERR_COMPONENT_NOT_COVERED' });
    expect(error.message).toContain(message);
    const { components } = await verifier.explain(await sign());
    const signed = components.filter((it) => it.signed).map((it) => it.component);
    for (const part of ['method', 'path', 'query'] as const)
      expect(signed.includes(part)).toBe(covers.includes(part));
  });

  it('a header that means something is refused, whatever its scheme', async () => {
    const { sign, verifier } = createPlainApi({}, { signedHeaders: ['idempotency-key'] });
    const request = await sign();
    for (const name of [
      'content-encoding',
      'x-http-method-override',
      'x-countersign-nonce',
      'idempotency-key',
    ])
      expect(
        await outcome(verifier, { ...request, headers: [...request.headers, [name, 'x']] }),
      ).toBe('ERR_COMPONENT_NOT_COVERED');
    expect(await outcome(verifier, request)).toBe('accepted');
  });

  it('the host in a header may cover it as the authority', async () => {
    const { sign, verifier } = createPlainApi({ covers: [...WHOLE_TARGET] });
    const request = await sign();
    const elsewhere = request.headers.map(
      ([name, value]) => [name, name === 'host' ? 'evil.example' : value] as [string, string],
    );
    expect(await outcome(verifier, { ...request, headers: elsewhere })).toBe(
      'ERR_SIGNATURE_MISMATCH',
    );
    expect(await outcome(verifier, request)).toBe('accepted');
  });
});

describe('the body of a signature', () => {
  it('that does not declare its hash is read first only if the server says so', async () => {
    const { sign, verifier } = createPlainApi({ body: 'undeclared' });
    const error = await refusal(verifier.verify(await sign()));
    expect(error).toMatchObject({ code: 'ERR_COMPONENT_NOT_COVERED' });
    expect(error.message).toContain('does not declare the hash of its body');

    const reading = createPlainApi(
      { body: 'undeclared' },
      { undeclaredBody: 'read-before-verifying' },
    );
    const request = await reading.sign();
    const changed = { ...request, body: Buffer.from('{"id":2}') };
    expect(await outcome(reading.verifier, changed)).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await reading.verifier.verify(request)).toMatchObject({ bodySigned: true });
    expect(await outcome(reading.verifier, request)).toBe('ERR_NONCE_REUSED');
    const { components } = await reading.verifier.explain(request);
    expect(components.find(({ component }) => component === 'body hash')?.saw).toMatch(
      /^[0-9a-f]{64}$/,
    );
  });

  it('is not read of a request that is stale', async () => {
    const options = { undeclaredBody: 'read-before-verifying', clock: () => NOW + 200 } as const;
    const { sign, verifier } = createPlainApi({ body: 'undeclared' }, options);
    const body = { bytes: () => expect.unreachable('it was read') };
    const error = await refusal(verifier.verify({ ...(await sign()), body }));
    expect(error).toMatchObject({ code: 'ERR_SIGNATURE_EXPIRED' });
  });

  it('that is not signed, or is another by its SHA-512, is refused', async () => {
    const unsigned = createPlainApi({ body: 'unsigned' });
    expect(await outcome(unsigned.verifier, await unsigned.sign())).toBe(
      'ERR_COMPONENT_NOT_COVERED',
    );
    const other = createPlainApi({ body: 'sha512' });
    const error = await refusal(other.verifier.verify(await other.sign()));
    expect(error).toMatchObject({ code: 'ERR_BODY_MISMATCH' });
    expect(error.message).toMatch(/^The body has the SHA-512 [0-9a-f]{128}, /);
  });
});

describe('an explanation', () => {
  it('shows nothing confidential, though the string to sign is no hash', async () => {
    const { credentials, plain, verifier } = createPlainApi();
    const signer = createSigner({
      credentials,
      audience: AUDIENCE,
      scheme: plain,
      clock: () => NOW,
    });
    const target = '/videos?token=q8-in-the-query&id=1';
    const headers = { 'x-plain-token': 'q8-in-a-header', cookie: 'q8-in-a-cookie' };
    const signed = await signer.sign({ method: 'GET', url: ORIGIN + target, headers });
    const explanation = await verifier.explain({
      method: 'GET',
      url: target,
      headers: { host: new URL(ORIGIN).host, ...signed.headers },
    });
    expect(explanation).toMatchObject({ outcome: 'accepted', scheme: 'plain' });
    expect(explanation.stringToSign).toContain('"@path": /videos');
    expect(JSON.stringify(explanation)).not.toContain('q8-in');
  });
});

describe('through an adapter', () => {
  const answer = ({ scheme, subject, audience }: Identity) => ({ scheme, subject, audience });

  type Serve = (options: VerifierOptions) => Parameters<typeof createServer>[1];
  const adapters: [string, Serve][] = [
    [
      'Express',
      (options) => {
        const app = express();
        app.use(requireSignature(options), express.json());
        app.post('/videos', (req, res) => {
          res.json({ ...answer(identityOf(req)), body: req.body });
        });
        return app;
      },
    ],
    [
      'node:http',
      (options) =>
        withSignature(async (req, res, identity) => {
          const chunks: Buffer[] = [];
          for await (const chunk of req) chunks.push(chunk);
          const body = JSON.parse(Buffer.concat(chunks).toString());
          res.setHeader('content-type', 'application/json');
          res.end(JSON.stringify({ ...answer(identity), body }));
        }, options) as Parameters<typeof createServer>[1],
    ],
    [
      'fetch',
      (options) => {
        const handler = withFetchSignature(
          async (request, identity) =>
            Response.json({ ...answer(identity), body: await request.json() }),
          options,
        );
        return async (req, res) => {
          const chunks: Buffer[] = [];
          for await (const chunk of req) chunks.push(chunk);
          const request = new Request(`http://${req.headers.host}${req.url}`, {
            method: req.method as string,
            headers: req.headers as Record<string, string>,
            body: Buffer.concat(chunks),
          });
          const response = await handler(request);
          res.writeHead(response.status, Object.fromEntries(response.headers));
          res.end(await response.text());
        };
      },
    ],
  ];
  const forms: [string, PlainOptions][] = [
    ['declares its body', { expiresIn: 60 }],
    ['does not declare its body', { body: 'undeclared', expiresIn: 60 }],
  ];

  it.each(
    adapters.flatMap(([name, serve]) =>
      forms.map(([how, form]) => [name, how, serve, form] as const),
    ),
  )('%s takes a scheme that %s, without a change to the server', async (_, __, serve, form) => {
    const key = generateAccessKey({ subject: 'alice' });
    const scheme = plainScheme(form) as Scheme;
    const server = createServer(
      serve({
        audience: AUDIENCE,
        keys: new MemoryKeyStore([key]),
        nonces: new MemoryNonceStore({ bornAt: 0 }),
        schemes: [countersign(), scheme],
        undeclaredBody: 'read-before-verifying',
      }),
    ).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/videos`;
    try {
      const { accessKeyId, secretAccessKey } = key;
      const credentials = { accessKeyId, secretAccessKey };
      const sent: RequestInit[] = [];
      const call = createFetch({
        credentials,
        audience: AUDIENCE,
        scheme,
        fetch: (input, init) => {
          sent.push(init as RequestInit);
          return fetch(input, init);
        },
      });
      const response = await call(url, { method: 'POST', body: { id: 1 } });
      expect(response.status).toBe(200);
      expect(await response.json()).toEqual({
        scheme: 'plain',
        subject: 'alice',
        audience: AUDIENCE,
        body: { id: 1 },
      });
      const again = await fetch(url, sent[0]);
      expect(again.status).toBe(401);
      expect(await again.json()).toMatchObject({ reason: 'nonce-reused' });
      // Both schemes are asked for.
      expect(again.headers.get('www-authenticate')).toBe(
        `COUNTERSIGN1-HMAC-SHA256 realm="${AUDIENCE}", error="nonce-reused", Plain realm="${AUDIENCE}"`,
      );
      const forged = await fetch(url, { ...sent[0], body: '{"id":2}' });
      expect(forged.status).toBe(401);
      const ours = await createFetch({ credentials, audience: AUDIENCE })(url, {
        method: 'POST',
        body: { id: 1 },
      });
      expect(await ours.json()).toMatchObject({ scheme: 'countersign' });
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });
});

describe('schemes that cannot be used', () => {
  const options = (schemes: unknown) =>
    ({
      audience: AUDIENCE,
      keys: new MemoryKeyStore(),
      nonces: new MemoryNonceStore(),
      schemes,
    }) as VerifierOptions;

  it.each([
    ['no scheme', {}, 'a scheme such as countersign(), with a method challenge()'],
    ['text', 'plain', 'a scheme such as countersign()'],
    ['no method', { ...plainScheme(), read: undefined }, 'with a method read()'],
    ['a name that is no token', { ...plainScheme(), name: 'a b' }, 'with a token for "name"'],
    [
      'no algorithms',
      { ...plainScheme(), algorithms: [] },
      'with "algorithms" among hmac-sha256, ed25519',
    ],
    ['an unknown algorithm', { ...plainScheme(), algorithms: ['none'] }, 'with "algorithms" among'],
    [
      'half a derivation',
      { ...plainScheme(), derive: { scope: () => '' } },
      'with scope() and key() in "derive"',
    ],
    ['targets of a third kind', { ...plainScheme(), targets: 'any' }, 'for "targets"'],
    [
      'an opener that is no function',
      { ...plainScheme(), openBody: true },
      'with a method openBody() or none',
    ],
    [
      'a sealer that is no function',
      { ...plainScheme(), sealBody: {} },
      'with a method sealBody() or none',
    ],
    [
      'half a form for responses',
      { ...plainScheme(), responses: { ...plainScheme().responses, read: undefined } },
      'with prepare(), stringToSign(), write(), read() in "responses"',
    ],
    ['null for responses', { ...plainScheme(), responses: null }, 'in "responses"'],
    [
      'confidential names in upper case',
      { ...plainScheme(), confidential: ['Token'] },
      'with lower-case names',
    ],
  ])('are refused when a verifier is built: %s', (_, scheme, why) => {
    expect(() => createVerifier(options([scheme]))).toThrow(
      expect.objectContaining({ name: 'TypeError', message: expect.stringContaining(why) }),
    );
  });

  it.each(['prepare', 'stringToSign', 'write', 'algorithms'])(
    'are refused when a signer is built: no %s',
    (name) => {
      const credentials = { accessKeyId: 'CSAK1', secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1H' };
      const scheme = { ...plainScheme(), [name]: undefined } as unknown as Scheme;
      expect(() => createSigner({ credentials, audience: AUDIENCE, scheme })).toThrow(
        expect.objectContaining({
          name: 'TypeError',
          message: expect.stringContaining('expected a scheme such as countersign()'),
        }),
      );
    },
  );

  it('are refused if two have one name', () => {
    expect(() => createVerifier(options([plainScheme(), plainScheme()]))).toThrow(
      expect.objectContaining({
        message: expect.stringContaining('expected schemes of different names'),
      }),
    );
  });

  it('name a key that no store has to look up', async () => {
    const { key, plain } = createPlainApi();
    const scheme: Scheme = {
      ...plain,
      read: () => ({
        params: {
          accessKeyId: '../x',
          signedAt: NOW,
          inUrl: false,
          covers: WHOLE_TARGET,
          signedHeaders: [],
        },
        signature: new Uint8Array(32),
      }),
    };
    const keys = { find: () => expect.unreachable('it was looked up') };
    const verifier = createVerifier({ ...options([scheme]), keys, clock: () => NOW });
    const error = await refusal(
      verifier.verify({ method: 'GET', url: '/', headers: { host: 'a' } }),
    );
    expect(error).toMatchObject({ code: 'ERR_SIGNATURE_MALFORMED' });
    expect(error.message).toContain('Cannot look up access key "../x"');
    expect(key.accessKeyId).toMatch(/^CSAK/);
  });
});
