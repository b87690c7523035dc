// What a client does with its connection while the chunks of a body arrive.

import { createServer } from 'node:http';
import { connect, constants } from 'node:http2';
import { text } from 'node:stream/consumers';
import { continueWhenVerified, withSignature } from '@countersign/server/node';
import { describe, expect, it } from 'vitest';
import { until } from '../../../../../test/support/deadline.ts';
import { turns } from '../hand-on-support.ts';
import { listen, NOW, RawClient } from '../sockets.ts';
import {
  ADAPTERS,
  chunkParties,
  MODES,
  post,
  type Sealed,
  seal,
  startServer,
} from './chunks-support.ts';

const HTTP1 = ADAPTERS.filter(([name]) => name !== 'node:http2');
const cases = HTTP1.flatMap(([name, serve]) => MODES.map((mode) => [name, mode, serve] as const));

function head({ method, path, headers }: Sealed, further: Record<string, string | number>): string {
  const fields = Object.entries({ ...headers, ...further });
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

function whole(sealed: Sealed, frames = sealed.frames): Buffer {
  const body = Buffer.concat(frames);
  return Buffer.concat([Buffer.from(head(sealed, { 'content-length': body.length })), body]);
}

const changed = (frame: Buffer | undefined): Buffer => {
  const forged = Buffer.from(frame ?? '');
  forged[forged.length - 1] = 0;
  return forged;
};

describe.each(cases)('%s, body: %s', (name, mode, serve) => {
  it('verifies each of two requests that arrive together', async () => {
    const all = chunkParties();
    const server = await startServer(serve, all.verifier, { body: mode });
    const first = await seal(all, server.port, ['one'], { path: '/1' });
    const second = await seal(all, server.port, ['two'], { path: '/2' });
    const client = new RawClient(server.port);
    client.write(Buffer.concat([whole(first), whole(second)]));
    expect((await client.answer()).status).toBe(200);
    expect((await client.answer()).status).toBe(200);
    expect(server.handled.map((it) => it.text)).toEqual(['one', 'two']);
  });

  it('does not take bytes of a refused body for the next request', async () => {
    const all = chunkParties();
    const server = await startServer(serve, all.verifier, { body: mode });
    const first = await seal(all, server.port, ['one', 'more'], { path: '/1' });
    const second = await seal(all, server.port, ['two'], { path: '/2' });
    const smuggled = whole(second);
    const [frame, ...rest] = first.frames;
    // A whole request is sent in place of the chunks.
    const client = new RawClient(server.port);
    client.write(whole(first, [changed(frame), smuggled, ...rest]));
    const answer = await client.answer();
    expect(answer.status === 401 || (name === 'fetch' && mode === 'stream')).toBe(true);
    client.write(whole(await seal(all, server.port, ['three'], { path: '/3' })));
    await turns(50);
    const seen = server.handled.map((it) => it.text).filter((it) => it !== undefined);
    expect(seen.filter((it) => it !== 'three')).toEqual([]);
    // Another client is served as before.
    const other = await post(name, server.port, second);
    expect(other).toEqual({ status: 200, body: 'read two' });
  });

  it('V12: sees no end if the connection breaks within a chunk', async () => {
    const all = chunkParties();
    const server = await startServer(serve, all.verifier, { body: mode });
    for (const reset of [true, false]) {
      const sealed = await seal(all, server.port, ['one', 'more'], { path: `/${reset}` });
      const client = new RawClient(server.port);
      const [frame = Buffer.alloc(0)] = sealed.frames;
      client.write(head(sealed, { 'content-length': Buffer.concat(sealed.frames).length }));
      client.write(frame);
      await turns(30);
      if (reset) client.socket.resetAndDestroy();
      else client.socket.destroy();
      await client.closed;
      await turns(30);
    }
    if (mode === 'stream')
      await until(() => server.handled.every((it) => it.failure !== undefined), 'it fails');
    expect(server.handled.every((it) => it.text === undefined)).toBe(true);
    const next = await seal(all, server.port, ['next'], { path: '/next' });
    expect(await post(name, server.port, next)).toEqual({ status: 200, body: 'read next' });
  });

  it('answers a client that has not sent everything', async () => {
    const all = chunkParties();
    const server = await startServer(serve, all.verifier, { body: mode, limit: 100_000 });
    const sealed = await seal(all, server.port, ['one', 'more']);
    const client = new RawClient(server.port);
    client.write(head(sealed, { 'transfer-encoding': 'chunked' }));
    const send = (bytes: Uint8Array): void =>
      void client.write(
        Buffer.concat([
          Buffer.from(`${bytes.length.toString(16)}\r\n`),
          bytes,
          Buffer.from('\r\n'),
        ]),
      );
    send(sealed.frames[0] ?? Buffer.alloc(0));
    await turns(30);
    send(changed(sealed.frames[1]));
    const timer = setInterval(() => send(Buffer.alloc(30_000)), 1);
    try {
      // A fetch handler has no other answer than its own.
      const { status } = await client.answer();
      const refusal = mode === 'buffer' ? 413 : name === 'fetch' ? 200 : 401;
      expect(status).toBe(refusal);
    } finally {
      clearInterval(timer);
    }
    expect(server.handled.every((it) => it.text === undefined)).toBe(true);
  });
});

describe.each(HTTP1)('%s, body: buffer', (_, serve) => {
  it('waits for chunks no longer than their request is valid', async () => {
    const all = chunkParties();
    const server = await startServer(serve, all.verifier, { body: 'buffer' });
    const sealed = await seal(all, server.port, ['one', 'more'], { signedAt: NOW - 120 });
    const client = new RawClient(server.port);
    client.write(head(sealed, { 'content-length': Buffer.concat(sealed.frames).length }));
    client.write(sealed.frames[0] ?? '');
    const answer = await client.answer();
    expect(answer).toMatchObject({ status: 401, body: expect.stringContaining('clock-skew') });
    expect(server.handled).toEqual([]);
  });
});

describe.each(MODES)('node:http2, body: %s', (mode) => {
  it('sees no end if the stream is reset within the body, or with the session', async () => {
    const [name, serve] = ADAPTERS.find(([it]) => it === 'node:http2') ?? expect.unreachable();
    const all = chunkParties();
    const server = await startServer(serve, all.verifier, { body: mode });
    for (const how of ['reset', 'cancel', 'session']) {
      const { method, path, headers, frames } = await seal(all, server.port, ['one', 'more'], {
        path: `/${how}`,
      });
      const session = connect(`http://127.0.0.1:${server.port}`);
      session.on('error', () => undefined);
      const { host, ...rest } = headers;
      const pseudo = { ':method': method, ':path': path, ':authority': host };
      const stream = session.request({ ...pseudo, ...rest });
      stream.on('error', () => undefined);
      stream.write(Buffer.concat(frames.slice(0, -1)));
      await turns(30);
      if (how === 'session') session.destroy();
      else stream.close(how === 'reset' ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_CANCEL);
      await turns(30);
      session.destroy();
    }
    if (mode === 'stream')
      await until(() => server.handled.every((it) => it.failure !== undefined), 'it fails');
    expect(server.handled.every((it) => it.text === undefined)).toBe(true);
    const next = await seal(all, server.port, ['next'], { path: '/next' });
    expect(await post(name, server.port, next)).toEqual({ status: 200, body: 'read next' });
  });
});

describe.each(MODES)('node:http, body: %s', (body) => {
  it('invites chunks when the rest is verified', async () => {
    const all = chunkParties();
    const listener = withSignature(
      async (req, res) => void res.end(await text(req)),
      all.verifier,
      { body },
    );
    const { server, port } = await listen(createServer(listener));
    server.on('checkContinue', continueWhenVerified(listener));
    const sealed = await seal(all, port, ['one', 'two']);
    const client = new RawClient(port);
    const bytes = Buffer.concat(sealed.frames);
    const further = { expect: '100-continue', 'content-length': bytes.length };
    client.write(head(sealed, further));
    expect((await client.answer()).status).toBe(100);
    client.write(bytes);
    expect(await client.answer().then(({ status }) => status)).toBe(200);
    const again = new RawClient(port);
    again.write(head(sealed, further));
    // A buffered body comes before the nonce is claimed.
    if (body === 'buffer') {
      expect((await again.answer()).status).toBe(100);
      again.write(bytes);
    }
    expect((await again.answer()).status).toBe(401);
  });

  it.each(['GET', 'HEAD', 'DELETE'])('verifies the chunks of a %s', async (method) => {
    const all = chunkParties();
    const seen: string[] = [];
    const listener = withSignature(
      async (req, res) => {
        seen.push(await text(req));
        res.end();
      },
      all.verifier,
      { body },
    );
    const { port } = await listen(createServer(listener));
    const sealed = await seal(all, port, ['one'], { method });
    expect(await post('node:http', port, sealed)).toMatchObject({ status: 200 });
    expect(seen).toEqual(['one']);
    const other = await seal(all, port, ['one'], { method, path: '/without' });
    expect(
      await post('node:http', port, { ...other, frames: [] }, { length: false }),
    ).toMatchObject({
      status: 401,
    });
    expect(seen).toEqual(['one']);
  });
});
