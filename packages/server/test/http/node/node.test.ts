import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2';
import type { SignedRequest } from '@countersign/client';
import { type Identity, MemoryNonceStore, type Verifier } from '@countersign/server';
import { requireSignature } from '@countersign/server/express';
import { identityOf, type SignedRequestListener, withSignature } from '@countersign/server/node';
import express from 'express';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  AUDIENCE,
  bodyOf,
  headOf,
  listen,
  listenOn,
  NOW,
  parties,
  RawClient,
  send,
  stranger,
  unholdable,
} from '../sockets.ts';

async function textOf(req: IncomingMessage | Http2ServerRequest): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('latin1');
}

const echo: SignedRequestListener = async (req, res, identity) =>
  void res.end(`${identity.subject}: ${await textOf(req)}`);

describe('withSignature()', () => {
  it('calls the listener for a signed request, with its body and its signer', async () => {
    const { verifier, signer, nonces } = parties();
    const { origin } = await listen(withSignature(echo, verifier));
    for (const sending of [{}, { chunked: true }, { pieces: 5 }]) {
      const answer = await send(
        await signer.sign({ method: 'POST', url: `${origin}/a?b=c`, body: 'some words' }),
        sending,
      );
      expect(answer).toMatchObject({ status: 200, body: 'alice: some words' });
      expect(answer.headers['countersign-epoch']).toBe(nonces.epoch);
    }
  });

  it('lets identityOf() tell the signer, and requireSignature() pass', async () => {
    const { verifier, signer } = parties();
    const app = express();
    app.use(requireSignature(verifier));
    app.get('/', (req, res) => void res.send(identityOf(req).subject));
    const subjects: string[] = [];
    const listener = withSignature((req, res) => {
      subjects.push(identityOf(req).subject);
      app(req, res);
    }, verifier);
    const { origin } = await listen(listener);
    const answer = await send(await signer.sign({ method: 'GET', url: `${origin}/` }));
    expect(answer).toMatchObject({ status: 200, body: 'alice' });
    expect(subjects).toEqual(['alice']);
  });

  it('takes the options of a verifier and its own together', async () => {
    const { keys, nonces, signer } = parties();
    const { origin } = await listen(
      withSignature(echo, { audience: AUDIENCE, keys, nonces, clock: () => NOW, limit: 3 }),
    );
    expect(
      (await send(await signer.sign({ method: 'POST', url: `${origin}/`, body: 'abc' }))).status,
    ).toBe(200);
    expect(
      (await send(await signer.sign({ method: 'POST', url: `${origin}/`, body: 'abcd' }))).status,
    ).toBe(413);
  });

  it('answers a request that is not signed', async () => {
    const called: Identity[] = [];
    const { origin } = await listen(
      withSignature((_req, _res, identity) => void called.push(identity), parties().verifier),
    );
    const answer = await send({
      method: 'POST',
      url: `${origin}/`,
      headers: {},
      body: Buffer.from('x'),
    });
    expect(answer.status).toBe(401);
    expect(JSON.parse(answer.body).reason).toBe('signature-missing');
    expect(called).toEqual([]);
  });

  it('answers a replay and a foreign key', async () => {
    const { verifier, signer } = parties();
    const { origin } = await listen(withSignature(echo, verifier));
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'x' });
    expect((await send(signed)).status).toBe(200);
    expect(JSON.parse((await send(signed)).body).reason).toBe('nonce-reused');
    expect(
      JSON.parse((await send(await stranger().sign({ method: 'GET', url: `${origin}/` }))).body)
        .reason,
    ).toBe('signature-invalid');
  });

  it('answers 500 if the verifier fails, and warns', async () => {
    const { verifier } = parties();
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => warned.mockRestore());
    for (const failure of [new RangeError('a bug of mine'), 'a bug']) {
      const broken: Verifier = { ...verifier, verify: () => Promise.reject(failure) };
      const { origin } = await listen(withSignature(echo, broken));
      const answer = await send({
        method: 'POST',
        url: `${origin}/`,
        headers: {},
        body: Buffer.from('x'),
      });
      expect(answer).toMatchObject({ status: 500, body: '' });
      expect(warned).toHaveBeenLastCalledWith(expect.stringContaining(String(failure)), {
        code: 'COUNTERSIGN_VERIFIER_FAILED',
      });
    }
  });

  it.each(['claimed', 'replayed'] as const)(
    'answers 500 if a verifier names an epoch that no header can hold: %s',
    async (outcome) => {
      const { verifier, signer } = parties();
      verifier.verify = async () => unholdable(outcome);
      const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
      onTestFinished(() => warned.mockRestore());
      const { origin } = await listen(withSignature(echo, verifier));
      expect((await send(await signer.sign({ method: 'GET', url: `${origin}/` }))).status).toBe(
        500,
      );
      expect(warned).toHaveBeenCalledWith(expect.stringContaining('Invalid character'), {
        code: 'COUNTERSIGN_VERIFIER_FAILED',
      });
    },
  );

  it('drops everything behind a request that was refused with its body unread', async () => {
    const { verifier, signer } = parties();
    const acted: (string | undefined)[] = [];
    const listener = withSignature((req, res) => {
      acted.push(req.url);
      res.end();
    }, verifier);
    const { origin, port } = await listen(listener);
    const client = new RawClient(port);
    const refused = await stranger().sign({ method: 'POST', url: `${origin}/`, body: 'abc' });
    client.write(`${headOf(refused, { 'content-length': 3 })}a`);
    expect((await client.answer()).status).toBe(401);
    const behind = await signer.sign({ method: 'GET', url: `${origin}/transfer` });
    client.write(`bc${headOf(behind)}`);
    await client.closed;
    expect(acted).toEqual([]);
    expect(client.received).toBe('');
  });

  it('does not answer if other code has answered in the meantime', async () => {
    const { verifier, signer, keys } = parties();
    const find = keys.find.bind(keys);
    let answered: Promise<unknown> = Promise.resolve();
    keys.find = async (id) => answered.then(() => find(id));
    let listened = 0;
    const listener = withSignature(() => void listened++, verifier);
    const { origin, port } = await listen((req, res) => {
      answered = once(res, 'finish');
      listener(req, res);
      res.statusCode = 503;
      res.end('too late');
    });
    const client = new RawClient(port);
    for (const caller of [signer, stranger()]) {
      client.write(headOf(await caller.sign({ method: 'GET', url: `${origin}/` })));
      expect((await client.answer()).status).toBe(503);
    }
    client.write(headOf(await signer.sign({ method: 'GET', url: `${origin}/` })));
    expect((await client.answer()).status).toBe(503);
    expect(listened).toBe(2);
  });

  it.each([
    [
      'no listener',
      undefined,
      undefined,
      TypeError,
      'Cannot build adapter: expected a listener, a function, got undefined',
    ],
    [
      'a listener that is text',
      'echo',
      undefined,
      TypeError,
      'Cannot build adapter: expected a listener, a function, got string',
    ],
    [
      'an unknown mode',
      echo,
      { body: 'skip' },
      TypeError,
      'Cannot build adapter: option "body" is "skip"',
    ],
    [
      'a limit below zero',
      echo,
      { limit: -1 },
      RangeError,
      'Cannot build adapter: option "limit" is -1',
    ],
    ['an option of Express', echo, { preflight: 'pass' }, TypeError, 'unknown option "preflight"'],
  ])('throws for %s', (_, listener, options, type, message) => {
    const build = () =>
      withSignature(listener as SignedRequestListener, parties().verifier, options as object);
    expect(build).toThrow(
      expect.objectContaining({ name: type.name, message: expect.stringContaining(message) }),
    );
  });

  it('throws for a value that is neither a verifier nor options, without showing it', () => {
    for (const given of [undefined, null, 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA', 7]) {
      const build = () => withSignature(echo, given as unknown as Verifier);
      const kind = given === null ? 'null' : typeof given;
      expect(build).toThrow(
        new TypeError(`Cannot build adapter: expected a verifier or its options, got ${kind}`),
      );
    }
    expect(() => withSignature(echo, {} as Verifier)).toThrow('option "audience" is undefined');
  });
});

/** A server of `node:http2` without TLS, and one connection to it. */
async function listen2(listener: (req: Http2ServerRequest, res: Http2ServerResponse) => void) {
  const connections = new Set<ServerHttp2Session>();
  const server = createServer(listener).on(
    'session',
    (connection) => void connections.add(connection),
  );
  const { origin, port } = await listenOn(server, () => {
    for (const connection of connections) connection.destroy();
  });
  const client = connect(origin);
  onTestFinished(() => void client.destroy());
  return { origin, port, client, server };
}

/** Sends the head of a request. The caller sends the body. */
function begin(
  client: ClientHttp2Session,
  signed: SignedRequest,
  headers: Record<string, string> = {},
  endStream = false,
): ClientHttp2Stream {
  const { host, pathname, search } = new URL(signed.url);
  const pseudo = { ':method': signed.method, ':path': pathname + search, ':authority': host };
  return client.request({ ...pseudo, ...signed.headers, ...headers }, { endStream });
}

/** The code with which a server closes the next stream. */
function closingOf(server: Http2Server): Promise<number> {
  return new Promise((resolve) => {
    server.once('stream', (stream) => stream.once('close', () => resolve(stream.rstCode)));
  });
}

async function answerOf(
  stream: ClientHttp2Stream,
): Promise<{ status: number; body: string; headers: Record<string, unknown> }> {
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => void chunks.push(chunk));
  const ended = once(stream, 'end');
  const [headers] = await once(stream, 'response');
  await ended;
  return { status: headers[':status'], headers, body: Buffer.concat(chunks).toString() };
}

describe.each(['buffer', 'stream'] as const)('withSignature() on node:http2, body: %s', (body) => {
  const echo2: SignedRequestListener<Http2ServerRequest, Http2ServerResponse> = async (
    req,
    res,
    identity,
  ) => void res.end(`${identity.subject}: ${await textOf(req)}`);

  it('accepts a signed request, with and without a body', async () => {
    const { verifier, signer, nonces } = parties();
    const { origin, client } = await listen2(withSignature(echo2, verifier, { body }));
    for (const size of [0, 1, 65_536, 500_000]) {
      for (const headers of [{}, { 'content-length': String(size) }]) {
        const signed = await signer.sign({
          method: 'POST',
          url: `${origin}/a?b`,
          body: 'x'.repeat(size),
        });
        const answer = await answerOf(
          begin(client, signed, headers).end(Buffer.from(bodyOf(signed))),
        );
        expect(answer).toMatchObject({ status: 200, body: `alice: ${'x'.repeat(size)}` });
        expect(answer.headers['countersign-epoch']).toBe(nonces.epoch);
      }
    }
    const signed = await signer.sign({ method: 'GET', url: `${origin}/` });
    expect((await answerOf(begin(client, signed, {}, true))).body).toBe('alice: ');
  });

  it('refuses a body that is not the signed one', async () => {
    const { verifier, signer } = parties();
    const outcomes: Promise<unknown>[] = [];
    const listener: typeof echo2 = (req, res, identity) => {
      const outcome = Promise.resolve(echo2(req, res, identity)).catch((error: unknown) => error);
      outcomes.push(outcome);
      return outcome.then(() => undefined);
    };
    const { origin, client } = await listen2(withSignature(listener, verifier, { body }));
    for (const sent of ['other', '', 'signed and more']) {
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'signed' });
      const answer = await answerOf(begin(client, signed).end(sent));
      expect(answer.status).toBe(401);
      expect(JSON.parse(answer.body).reason).toBe('body-mismatch');
    }
    for (const outcome of outcomes)
      expect(await outcome).toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' });
    // No listener is called for a body that is known to be empty.
    expect(outcomes).toHaveLength(body === 'stream' ? 2 : 0);
  });

  it('answers a forged request before its body, and stops that', async () => {
    const { verifier, signer } = parties();
    const { origin, client, server } = await listen2(withSignature(echo2, verifier, { body }));
    const signed = await stranger().sign({ method: 'POST', url: `${origin}/`, body: 'x' });
    const stream = begin(client, signed, { 'content-length': '1073741824' });
    const closed = closingOf(server);
    const write = (): void => {
      while (!stream.destroyed && stream.writable)
        if (!stream.write(Buffer.alloc(65_536))) return void stream.once('drain', write);
    };
    write();
    expect((await answerOf(stream)).status).toBe(401);
    expect(await closed).toBe(constants.NGHTTP2_NO_ERROR);
    const next = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'still here' });
    expect((await answerOf(begin(client, next).end(Buffer.from(bodyOf(next))))).body).toBe(
      'alice: still here',
    );
  });

  it('survives a client that resets its stream', async () => {
    const { verifier, signer, nonces } = parties();
    const listened: Promise<unknown>[] = [];
    const { origin, client, server } = await listen2(
      withSignature<Http2ServerRequest, Http2ServerResponse>(
        (req) => {
          const outcome = textOf(req).catch((error: unknown) => error);
          listened.push(outcome);
          return outcome.then(() => undefined);
        },
        verifier,
        { body },
      ),
    );
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'half of it' });
    const arrived = once(server, 'request');
    const stream = begin(client, signed);
    stream.on('error', () => undefined).write('half');
    const [req] = (await arrived) as [Http2ServerRequest];
    const gone = once(req, 'close');
    stream.close(constants.NGHTTP2_CANCEL);
    await gone;
    for (const outcome of listened)
      expect(await outcome).toMatchObject({ code: 'ERR_STREAM_PREMATURE_CLOSE' });
    expect(listened).toHaveLength(body === 'stream' ? 1 : 0);
    expect(nonces.size).toBe(body === 'stream' ? 1 : 0);
  });

  it('refuses a Host that differs from :authority', async () => {
    const { verifier, signer, refused } = parties();
    const { origin, client } = await listen2(withSignature(echo2, verifier, { body }));
    const signed = await signer.sign({ method: 'GET', url: `${origin}/` });
    expect((await answerOf(begin(client, signed, { host: 'evil.test' }, true))).status).toBe(400);
    expect(refused.map(({ code }) => code)).toEqual(['ERR_SIGNATURE_AMBIGUOUS']);
  });
});

describe('withSignature() on node:http2', () => {
  it('guards the event connect, too: a request without a path is refused', async () => {
    const { verifier } = parties();
    let calls = 0;
    const guarded = withSignature<Http2ServerRequest, Http2ServerResponse>((_req, res) => {
      calls++;
      res.end();
    }, verifier);
    const { client, server } = await listen2(guarded);
    server.on('connect', guarded as never);
    const stream = client.request({ ':method': 'CONNECT', ':authority': 'a:443' });
    const answer = await answerOf(stream);
    expect([answer.status, JSON.parse(answer.body).reason]).toEqual([400, 'signature-malformed']);
    expect(calls).toBe(0);
  });

  it('refuses a body beyond the limit, and stops it', async () => {
    const { verifier, signer } = parties();
    const { origin, client, server } = await listen2(
      withSignature<Http2ServerRequest, Http2ServerResponse>(
        (_req, res) => void res.end(),
        verifier,
        { limit: 100_000 },
      ),
    );
    const signed = await signer.sign({
      method: 'POST',
      url: `${origin}/`,
      body: 'x'.repeat(200_000),
    });
    const closed = closingOf(server);
    const stream = begin(client, signed);
    stream.write(Buffer.from(bodyOf(signed)));
    expect((await answerOf(stream)).status).toBe(413);
    expect(await closed).toBe(constants.NGHTTP2_NO_ERROR);
  });

  it('stops waiting for a body when the request has expired', async () => {
    const { verifier, signer } = parties({ window: 1, clock: () => NOW + 1 });
    const { origin, client } = await listen2(
      withSignature<Http2ServerRequest, Http2ServerResponse>(
        (_req, res) => void res.end(),
        verifier,
      ),
    );
    const stream = begin(
      client,
      await signer.sign({ method: 'POST', url: `${origin}/`, body: 'slow' }),
    );
    stream.write('s');
    expect(JSON.parse((await answerOf(stream)).body).reason).toBe('clock-skew');
  });

  it('breaks the stream if half an answer was written before the body turned out wrong', async () => {
    const { verifier, signer } = parties();
    const { origin, client } = await listen2(
      withSignature<Http2ServerRequest, Http2ServerResponse>(
        async (req, res) => {
          res.write('half');
          await textOf(req).then(
            (text) => res.end(text),
            () => undefined,
          );
        },
        verifier,
        { body: 'stream' },
      ),
    );
    const stream = begin(
      client,
      await signer.sign({ method: 'POST', url: `${origin}/`, body: 'signed' }),
    );
    const answered = once(stream, 'response');
    stream.write('for');
    await answered;
    stream.end('ged');
    await expect(
      (async () => {
        for await (const _chunk of stream);
      })(),
    ).rejects.toMatchObject({ code: 'ERR_HTTP2_STREAM_ERROR' });
  });

  it('leaves a connection usable if its request was not read', async () => {
    const { verifier, signer } = parties();
    const { origin, client } = await listen2(
      withSignature<Http2ServerRequest, Http2ServerResponse>(
        (_req, res) => void res.end('unread'),
        verifier,
        { body: 'stream' },
      ),
    );
    for (let index = 0; index < 10; index++) {
      const signed = await signer.sign({
        method: 'POST',
        url: `${origin}/`,
        body: 'x'.repeat(50_000),
      });
      const answer = await answerOf(begin(client, signed).end(Buffer.from(bodyOf(signed))));
      expect(answer).toMatchObject({ status: 200, body: 'unread' });
    }
  });

  it('accepts a request that is signed with the epoch it sent', async () => {
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: NOW });
    const { verifier, signer } = parties({ nonces });
    const { origin, client } = await listen2(
      withSignature<Http2ServerRequest, Http2ServerResponse>(
        (_req, res) => void res.end('fresh'),
        verifier,
      ),
    );
    const first = await answerOf(
      begin(client, await signer.sign({ method: 'GET', url: `${origin}/` }), {}, true),
    );
    expect(JSON.parse(first.body).reason).toBe('replay-unknown');
    const epoch = String(first.headers['countersign-epoch']);
    const again = await signer.sign({ method: 'GET', url: `${origin}/`, epoch });
    expect((await answerOf(begin(client, again, {}, true))).body).toBe('fresh');
  });
});
