import { createServer, request } from 'node:http';
import { keepRawBody, requireSignature } from '@countersign/server/express';
import express from 'express';
import { fetch as undiciFetch } from 'undici';
import { describe, expect, it } from 'vitest';
import { HeldBody } from '../../src/http/held-body.ts';
import { headOf, listen, NOW, parties, RawClient, send, stranger } from './sockets.ts';

const KiB64 = 65_536;
const MiB = 1_048_576;
const GiB = 1_073_741_824;

/** A server that counts what it reads of its connections, and what it had read when it answered. */
async function countingServer(
  verifier: Parameters<typeof requireSignature>[0],
  options: Parameters<typeof requireSignature>[1] = {},
) {
  const app = express();
  app.use(requireSignature(verifier, options));
  app.use((_req, res) => void res.json('accepted'));
  const readAtAnswer: number[] = [];
  const readInAll: Promise<number>[] = [];
  const { origin, port, server } = await listen(
    createServer((req, res) => {
      const end = res.end.bind(res) as (...args: unknown[]) => typeof res;
      res.end = (...args: unknown[]) => {
        readAtAnswer.push(req.socket.bytesRead);
        return end(...args);
      };
      app(req, res);
    }),
  );
  server.on('connection', (socket) => {
    readInAll.push(
      new Promise((resolve) => void socket.once('close', () => resolve(socket.bytesRead))),
    );
  });
  return { origin, port, server, readAtAnswer, readInAll };
}

describe('requireSignature() and its limit', () => {
  it('refuses a longer body by its Content-Length, before any of it is there', async () => {
    const { verifier, signer, refused } = parties();
    const { origin, port } = await countingServer(verifier, { limit: 1_000 });
    const signed = await signer.sign({
      method: 'POST',
      url: `${origin}/`,
      body: 'x'.repeat(1_001),
    });
    const client = new RawClient(port);
    client.write(headOf(signed, { 'content-length': 1_001 }));
    const answer = await client.answer();
    expect(answer.status).toBe(413);
    expect(answer.headers['connection']).toBe('close');
    expect(JSON.parse(answer.body)).toMatchObject({
      reason: 'body-too-large',
      detail: 'The body has more than 1000 bytes: send less, or raise the option "limit"',
    });
    expect(refused.map(({ code }) => code)).toEqual(['ERR_BODY_TOO_LARGE']);
  });

  it.each([
    ['all at once', 1_001],
    ['in pieces', 100],
    ['byte by byte', 1],
  ])('refuses a chunked body that grows beyond it: %s', async (_, piece) => {
    const { verifier, signer } = parties();
    const { origin, port, readInAll } = await countingServer(verifier, { limit: 1_000 });
    const signed = await signer.sign({
      method: 'POST',
      url: `${origin}/`,
      body: 'x'.repeat(1_001),
    });
    const client = new RawClient(port);
    client.write(headOf(signed, { 'transfer-encoding': 'chunked' }));
    for (let sent = 0; sent < 1_001; sent += piece)
      client.write(`${piece.toString(16)}\r\n${'x'.repeat(piece)}\r\n`);
    // The last chunk never comes, so only the size can be the reason.
    expect((await client.answer()).status).toBe(413);
    client.socket.end();
    await client.closed;
    expect(await readInAll[0]).toBeLessThan(KiB64);
  });

  it('refuses a longer chunked body that arrives at once', async () => {
    const { verifier, signer } = parties();
    const { origin } = await countingServer(verifier, { limit: 1_000 });
    const signed = await signer.sign({
      method: 'POST',
      url: `${origin}/`,
      body: 'x'.repeat(1_001),
    });
    expect((await send(signed, { chunked: true })).status).toBe(413);
  });

  it('accepts a body of exactly that many bytes', async () => {
    const { verifier, signer } = parties();
    const { origin } = await countingServer(verifier, { limit: 100_000 });
    for (const chunked of [false, true]) {
      for (const pieces of [100_000, 999]) {
        const signed = await signer.sign({
          method: 'POST',
          url: `${origin}/`,
          body: 'x'.repeat(100_000),
        });
        expect((await send(signed, { chunked, pieces })).status).toBe(200);
      }
    }
  });

  it('of 0 accepts requests without a body only', async () => {
    const { verifier, signer } = parties();
    const { origin } = await countingServer(verifier, { limit: 0 });
    expect(
      (await send(await signer.sign({ method: 'POST', url: `${origin}/` }), { chunked: true }))
        .status,
    ).toBe(200);
    expect(
      (await send(await signer.sign({ method: 'POST', url: `${origin}/`, body: 'x' }))).status,
    ).toBe(413);
  });

  it('lets a client that sends on read its 413', async () => {
    const { verifier, signer } = parties();
    const { origin, port, readAtAnswer, readInAll } = await countingServer(verifier, {
      limit: MiB,
    });
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'x' });
    const client = new RawClient(port);
    pump(
      client,
      headOf(signed, { 'transfer-encoding': 'chunked' }),
      `${KiB64.toString(16)}\r\n${'x'.repeat(KiB64)}\r\n`,
    );
    expect((await client.answer()).status).toBe(413);
    await client.closed;
    expect(readAtAnswer[0]).toBeLessThan(MiB + 3 * KiB64);
    expect(await readInAll[0]).toBeLessThan(2 * MiB + 6 * KiB64);
  });
});

describe('HeldBody', () => {
  it('holds at most its limit, however small the pieces', () => {
    const held = new HeldBody(1_000);
    for (let index = 0; index < 1_000; index++) expect(held.add(Uint8Array.of(index))).toBe(true);
    expect(held.add(Uint8Array.of(1))).toBe(false);
    expect(held.bytes).toEqual(Uint8Array.from({ length: 1_000 }, (_, index) => index));
    expect(held.bytes.buffer.byteLength).toBe(1_000);
  });

  it('adds all of a piece or nothing', () => {
    const held = new HeldBody(4);
    expect(held.add(new Uint8Array(3))).toBe(true);
    expect(held.add(new Uint8Array(2))).toBe(false);
    expect(held.bytes).toHaveLength(3);
  });
});

/** Writes without end, as fast as the other side reads. */
function pump(client: RawClient, head: string, piece: string | Uint8Array): void {
  const { socket } = client;
  const write = (): void => {
    while (!socket.destroyed && socket.writable)
      if (!client.write(piece)) return void socket.once('drain', write);
  };
  client.write(head);
  write();
}

describe('requireSignature() and a forged request with a body of 1 GiB', () => {
  /**
   * The answer is there before a third piece of 64 KiB is read. A stream holds that much since Node
   * 22, and the head takes a part of the first piece. About 1 MiB of the rest is read at most.
   */
  async function expectUnread({
    readAtAnswer,
    readInAll,
  }: Awaited<ReturnType<typeof countingServer>>): Promise<void> {
    expect(readAtAnswer).toHaveLength(1);
    expect(readAtAnswer[0]).toBeLessThanOrEqual(2 * KiB64);
    expect(await readInAll[0]).toBeLessThan(MiB + 4 * KiB64);
  }

  const endless = () =>
    new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(KiB64)),
    });

  it('answers a client that uses fetch, 401', async () => {
    const served = await countingServer(parties().verifier);
    const { headers } = await stranger().sign({
      method: 'POST',
      url: `${served.origin}/`,
      body: 'x',
    });
    const response = await undiciFetch(`${served.origin}/`, {
      method: 'POST',
      headers,
      body: endless(),
      duplex: 'half',
    });
    expect(response.status).toBe(401);
    expect(await response.json()).toMatchObject({ reason: 'signature-invalid' });
    await expectUnread(served);
  });

  it('answers a client that uses node:http, 401', async () => {
    const served = await countingServer(parties().verifier);
    const { headers } = await stranger().sign({
      method: 'POST',
      url: `${served.origin}/`,
      body: 'x',
    });
    const req = request(`${served.origin}/`, {
      method: 'POST',
      headers: { ...headers, 'content-length': GiB },
    });
    const chunk = Buffer.alloc(KiB64);
    const write = (): void => {
      while (!req.destroyed) if (!req.write(chunk)) return void req.once('drain', write);
    };
    const answered = new Promise<number | undefined>((resolve, reject) => {
      req.on('error', reject).on('response', (res) => {
        res.resume().on('end', () => resolve(res.statusCode));
        req.on('error', () => undefined).destroy();
      });
    });
    write();
    expect(await answered).toBe(401);
    await expectUnread(served);
  });

  it.each([
    ['a declared length', { 'content-length': GiB }, Buffer.alloc(KiB64)],
    [
      'chunks without end',
      { 'transfer-encoding': 'chunked' },
      `${KiB64.toString(16)}\r\n${'x'.repeat(KiB64)}\r\n`,
    ],
  ])(
    'answers a socket that never stops writing, 401, and closes: %s',
    async (_, framing, piece) => {
      const served = await countingServer(parties().verifier);
      const signed = await stranger().sign({ method: 'POST', url: `${served.origin}/`, body: 'x' });
      const client = new RawClient(served.port);
      pump(client, headOf(signed, framing as Record<string, string>), piece);
      const answer = await client.answer();
      expect(answer.status).toBe(401);
      expect(answer.headers['connection']).toBe('close');
      await client.closed;
      await expectUnread(served);
    },
  );

  it('answers a socket that sends a byte now and then, 401, and closes', async () => {
    const served = await countingServer(parties().verifier);
    const signed = await stranger().sign({ method: 'POST', url: `${served.origin}/`, body: 'x' });
    const client = new RawClient(served.port);
    client.write(headOf(signed, { 'content-length': GiB }));
    client.write('x');
    expect((await client.answer()).status).toBe(401);
    await client.closed;
    await expectUnread(served);
  });

  it('answers a client that reads only after an ordinary body is sent, 401', async () => {
    const served = await countingServer(parties().verifier);
    const signed = await stranger().sign({ method: 'POST', url: `${served.origin}/`, body: 'x' });
    const client = new RawClient(served.port);
    client.socket.pause();
    client.write(headOf(signed, { 'content-length': 900_000 }));
    await new Promise((resolve) => void client.socket.write(Buffer.alloc(900_000), resolve));
    client.socket.resume();
    expect((await client.answer()).status).toBe(401);
    await client.closed;
    expect(await served.readInAll[0]).toBeGreaterThan(900_000);
  });

  it('reads no more of it while the key store is busy', async () => {
    const { keys, verifier: _, ...rest } = parties();
    let answerNow: () => void = () => undefined;
    const asked = new Promise<void>((resolveAsked) => {
      const find = keys.find.bind(keys);
      keys.find = async (id) => {
        resolveAsked();
        await new Promise<void>((resolve) => {
          answerNow = resolve;
        });
        return find(id);
      };
    });
    const served = await countingServer(_);
    const signed = await stranger().sign({ method: 'POST', url: `${served.origin}/`, body: 'x' });
    const client = new RawClient(served.port);
    pump(client, headOf(signed, { 'content-length': GiB }), Buffer.alloc(KiB64));
    await asked;
    // The sender is stuck, because the server reads nothing.
    await new Promise<void>((resolve) => {
      const check = (): void =>
        void (client.socket.writableNeedDrain ? resolve() : setImmediate(check));
      check();
    });
    answerNow();
    expect((await client.answer()).status).toBe(401);
    await client.closed;
    await expectUnread(served);
    expect(rest.refused.map(({ code }) => code)).toEqual(['ERR_KEY_UNKNOWN']);
  });

  it.each([
    ['cut short', 50],
    ['whole', 100],
  ])(
    'does not cut off the answers before its own on a pipelined connection: %s',
    async (_, sent) => {
      const { verifier, signer } = parties();
      const app = express();
      let finish: () => void = () => undefined;
      app.use(requireSignature(verifier));
      app.use((_req, res) => {
        finish = () => void res.json('first');
      });
      const { origin, port, server } = await listen(app);
      const first = await signer.sign({ method: 'GET', url: `${origin}/` });
      const second = await stranger().sign({ method: 'POST', url: `${origin}/`, body: 'x' });
      const client = new RawClient(port);
      const refusedSecond = new Promise<void>((resolve) => {
        server.on('request', (req, res) => {
          const end = res.end.bind(res) as (...args: unknown[]) => typeof res;
          if (req.method === 'POST') {
            res.end = (...args: unknown[]) => {
              resolve();
              return end(...args);
            };
          }
        });
      });
      client.write(headOf(first) + headOf(second, { 'content-length': 100 }) + 'x'.repeat(sent));
      await refusedSecond;
      await new Promise(setImmediate);
      finish();
      expect(await client.answer()).toMatchObject({ status: 200, body: '"first"' });
      expect((await client.answer()).status).toBe(401);
    },
  );

  it('keeps the connection if all of the request has arrived', async () => {
    const { verifier, signer } = parties();
    const { origin, port } = await countingServer(verifier);
    const client = new RawClient(port);
    client.write(headOf(await stranger().sign({ method: 'GET', url: `${origin}/` })));
    expect((await client.answer()).status).toBe(401);
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'once' });
    for (const status of [200, 401, 401]) {
      client.write(`${headOf(signed, { 'content-length': 4 })}once`);
      expect((await client.answer()).status).toBe(status);
    }
    client.write(headOf(await signer.sign({ method: 'GET', url: `${origin}/` })));
    expect((await client.answer()).status).toBe(200);
  });

  it('closes a connection whose refused request arrives to its end after all', async () => {
    const { origin, port } = await countingServer(parties().verifier);
    const forged = await stranger().sign({ method: 'POST', url: `${origin}/`, body: 'forged' });
    const client = new RawClient(port);
    client.write(headOf(forged, { 'content-length': 6 }));
    expect((await client.answer()).status).toBe(401);
    client.write('forged');
    await client.closed;
    expect(client.received).toBe('');
  });
});

describe('requireSignature() and a body that does not come', () => {
  it('stops waiting when the request has expired', async () => {
    // It was signed a second ago, which is the highest age that is allowed.
    const { verifier, signer, refused } = parties({ window: 1, clock: () => NOW + 1 });
    const { origin, port } = await countingServer(verifier);
    for (const framing of [{ 'content-length': 4 }, { 'transfer-encoding': 'chunked' }]) {
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'slow' });
      const client = new RawClient(port);
      client.write(`${headOf(signed, framing as Record<string, string>)}1`);
      const answer = await client.answer();
      expect(answer.status).toBe(401);
      expect(JSON.parse(answer.body)).toMatchObject({ reason: 'clock-skew', retry: 're-signed' });
      client.socket.destroy();
    }
    expect(refused.map(({ code }) => code)).toEqual([
      'ERR_SIGNATURE_EXPIRED',
      'ERR_SIGNATURE_EXPIRED',
    ]);
  });

  it('accepts one that is there, however little time is left', async () => {
    const { verifier, signer } = parties({ window: 1, clock: () => NOW + 1 });
    const { origin, port } = await countingServer(verifier);
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'here' });
    const client = new RawClient(port);
    client.write(`${headOf(signed, { 'content-length': 4 })}here`);
    expect((await client.answer()).status).toBe(200);
  });

  it.each(['half of it', 'none of it'])(
    'survives a client that goes away after %s',
    async (sent) => {
      let recordRefusal: () => void = () => undefined;
      const told = new Promise<void>((resolve) => {
        recordRefusal = resolve;
      });
      const { nonces, verifier, signer } = parties({ onRefused: () => recordRefusal() });
      let gone: () => void = () => undefined;
      const disconnected = new Promise<void>((resolve) => {
        gone = resolve;
      });
      const app = express();
      let before: Record<string, number> = {};
      let listeners: () => Record<string, number> = () => ({});
      app.use((req, _res, next) => {
        listeners = () => listenersOf(req);
        before = listeners();
        next();
      });
      app.use(requireSignature(verifier), express.text(), (_req, res) => void res.json('accepted'));
      const { origin, port, server } = await listen(app);
      const signed = await signer.sign({
        method: 'POST',
        url: `${origin}/`,
        body: 'x'.repeat(100),
      });
      const client = new RawClient(port);
      server.once('request', (req) => {
        req.once('close', gone);
        client.socket.destroy();
      });
      client.write(
        headOf(signed, { 'content-length': 100 }) + 'x'.repeat(sent.startsWith('half') ? 50 : 0),
      );
      await told;
      await disconnected;
      expect(listeners()).toEqual(before);
      expect(nonces.size).toBe(0);
      expect((await send(await signer.sign({ method: 'GET', url: `${origin}/` }))).status).toBe(
        200,
      );
    },
  );

  it.each(['key', 'nonce'])(
    'hands on what had arrived of a client that goes away while the %s store is asked',
    async (store) => {
      const { keys, nonces, verifier, signer } = parties();
      const client: { raw?: RawClient } = {};
      // Nothing is read during the wait, so the server cannot know that the client is gone.
      const leave = async (): Promise<void> => {
        client.raw?.socket.destroy();
        await client.raw?.closed;
        for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
      };
      const [find, claim] = [keys.find.bind(keys), nonces.claim.bind(nonces)];
      if (store === 'key') keys.find = async (id) => leave().then(() => find(id));
      else nonces.claim = async (nonce) => leave().then(() => claim(nonce));
      const app = express();
      const ran = new Promise((resolve) => {
        app.use(requireSignature(verifier), express.text(), (req, res) => {
          resolve(req.body);
          res.end();
        });
      });
      const { origin, port } = await listen(app);
      const signed = await signer.sign({
        method: 'POST',
        url: `${origin}/`,
        headers: { 'content-type': 'text/plain' },
        body: 'all of it',
      });
      client.raw = new RawClient(port);
      client.raw.write(`${headOf(signed, { 'content-length': 9 })}all of it`);
      expect(await ran).toBe('all of it');
      expect(nonces.size).toBe(1);
    },
  );

  it('leaves no listener behind', async () => {
    const { verifier, signer } = parties();
    const app = express();
    const counts: Record<string, number>[] = [];
    app.use((req, _res, next) => {
      counts.push(listenersOf(req));
      next();
    });
    app.use(requireSignature(verifier));
    app.use((req, res) => {
      counts.push(listenersOf(req));
      res.json(
        Object.keys(req).includes('push') && req.push !== Object.getPrototypeOf(req).push
          ? 'changed'
          : 'as it was',
      );
    });
    const { origin } = await listen(app);
    for (const pieces of [200_000, 5_000]) {
      const answer = await send(
        await signer.sign({ method: 'POST', url: `${origin}/`, body: 'x'.repeat(200_000) }),
        { pieces },
      );
      expect(answer.body).toBe('"as it was"');
      expect(counts.pop()).toEqual(counts.pop());
    }
  });
});

function listenersOf(req: NodeJS.EventEmitter): Record<string, number> {
  return Object.fromEntries(
    ['data', 'readable', 'end', 'error', 'close', 'aborted', 'pause', 'resume'].map((name) => [
      name,
      req.listenerCount(name),
    ]),
  );
}

describe('requireSignature() and malformed requests', () => {
  it.each([
    [
      'random bytes',
      Buffer.from(Array.from({ length: 4_096 }, (_, index) => (index * 7_919) % 251)),
    ],
    ['a header of 1 MiB', `GET / HTTP/1.1\r\nHost: a\r\nAuthorization: ${'x'.repeat(MiB)}\r\n\r\n`],
    ['10,000 headers', `GET / HTTP/1.1\r\nHost: a\r\n${'x: y\r\n'.repeat(10_000)}\r\n`],
    ['a length that is no number', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1e3\r\n\r\n'],
    [
      'two lengths',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
    ],
    [
      'a length and chunks',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
  ])('survives %s', async (_, bytes) => {
    const { verifier, signer } = parties();
    const { origin, port } = await countingServer(verifier);
    const client = new RawClient(port);
    client.write(bytes);
    client.socket.end();
    await client.closed;
    expect((await send(await signer.sign({ method: 'GET', url: `${origin}/` }))).status).toBe(200);
  });

  it('refuses malformed chunks, though the request is signed', async () => {
    const { verifier, signer, nonces } = parties();
    const { origin, port } = await countingServer(verifier);
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'abc' });
    const client = new RawClient(port);
    client.write(`${headOf(signed, { 'transfer-encoding': 'chunked' })}3\r\nabc\r\nZZ\r\n`);
    await client.closed;
    expect(nonces.size).toBe(0);
    expect((await send(await signer.sign({ method: 'GET', url: `${origin}/` }))).status).toBe(200);
  });
});

describe('keepRawBody()', () => {
  it('says what it is for if it is mounted as a middleware', async () => {
    const messages: string[] = [];
    const app = express();
    app.use(keepRawBody as unknown as express.RequestHandler);
    app.use(((error, _req, res, _next) => {
      messages.push(error.message);
      res.status(500).end();
    }) as express.ErrorRequestHandler);
    const { origin } = await listen(app);
    expect((await send(await stranger().sign({ method: 'GET', url: `${origin}/` }))).status).toBe(
      500,
    );
    expect(messages).toEqual([
      'Cannot keep a body of type "function": expected a Buffer. Give keepRawBody to a parser as its hook, ' +
        'express.json({ verify: keepRawBody }), or call keepRawBody(req, res, buffer)',
    ]);
  });
});
