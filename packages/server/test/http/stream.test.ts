import { type ChildProcess, fork } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { SignatureError } from '@countersign/server';
import { requireSignature } from '@countersign/server/express';
import { build } from 'esbuild';
import express from 'express';
import multer from 'multer';
import { fetch as undiciFetch } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until, within } from '../../../../test/support/deadline.ts';
import {
  AUDIENCE,
  headOf,
  listen,
  NOW,
  oneConnection,
  parties,
  RawClient,
  send,
} from './sockets.ts';

const MiB = 1_048_576;
const GiB = 1_073_741_824;

/** A server whose handler reads the body, and tells the test how that ended. */
async function streamingServer(
  handle: express.RequestHandler = async (req, res) => {
    res.send(await hashOf(req));
  },
  options: Parameters<typeof parties>[0] = {},
) {
  const { verifier, keys, ...rest } = parties(options);
  const handled: Handled[] = [];
  const app = express();
  app.use(requireSignature(verifier, { body: 'stream' }));
  app.use(async (req, res, next) => {
    const handling: Handled = { ended: false, outcome: undefined };
    handled.push(handling);
    req.once('end', () => {
      handling.ended = true;
    });
    handling.outcome = Promise.resolve(handle(req, res, next)).then(
      () => 'done',
      (error: unknown) => error,
    );
    await handling.outcome;
  });
  return { ...rest, keys, handled, ...(await listen(app)) };
}

/**
 * Sends another body than the signed one. Its rest comes when the handler runs. If all of it came
 * at once, it would be refused before.
 */
async function sendForged({
  origin,
  port,
  signer,
  handled,
}: Awaited<ReturnType<typeof streamingServer>>): Promise<RawClient> {
  const body = 'x'.repeat(100_000);
  const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body });
  const client = new RawClient(port);
  client.write(headOf(signed, { 'content-length': body.length }) + body.slice(0, 9_000));
  await until(() => handled.length > 0, 'the handler runs');
  client.write(Buffer.alloc(91_000));
  return client;
}

interface Handled {
  ended: boolean;
  outcome: Promise<unknown> | undefined;
}

async function hashOf(req: IncomingMessage): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of req) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

const hex = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe("requireSignature({ body: 'stream' })", () => {
  it.each([0, 1, 10, 65_536, 3 * MiB])(
    'hands on a body of %i bytes as it was sent',
    async (size) => {
      const { origin, signer } = await streamingServer();
      const body = randomBytes(size);
      for (const sending of [
        {},
        { chunked: true },
        { pieces: 60_000 },
        { chunked: true, pieces: 60_000 },
      ]) {
        const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body });
        expect(await send(signed, sending)).toMatchObject({ status: 200, body: hex(body) });
      }
    },
  );

  it('hands on a body that comes byte by byte', async () => {
    const { origin, signer } = await streamingServer();
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'slowly' });
    expect(await send(signed, { pieces: 1 })).toMatchObject({
      status: 200,
      body: hex(Buffer.from('slowly')),
    });
  });

  it('hands on a file to multer, beyond the limit of what is held', async () => {
    const upload = multer().single('file');
    const { origin, signer } = await streamingServer((req, res) => {
      upload(
        req,
        res,
        (error: unknown) =>
          void (error ? res.status(500).end() : res.send(hex(req.file?.buffer ?? Buffer.of()))),
      );
    });
    const file = randomBytes(5 * MiB);
    const form = new FormData();
    form.set('file', new Blob([file]), 'cats.bin');
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: form });
    expect(await send(signed, { pieces: 100_000 })).toMatchObject({ status: 200, body: hex(file) });
  });

  it('hands on a body through a pipeline', async () => {
    const { origin, signer } = await streamingServer(async (req, res) => {
      const hash = createHash('sha256');
      await pipeline(req, hash);
      res.send(hash.digest('hex'));
    });
    const body = randomBytes(3 * MiB);
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body });
    expect((await send(signed, { chunked: true, pieces: 100_000 })).body).toBe(hex(body));
  });

  it('also hashes bytes that arrived before the key was found', async () => {
    const { origin, port, server, signer, keys, handled } = await streamingServer();
    let socket: Socket | undefined;
    server.on('connection', (connected) => {
      socket = connected;
    });
    const find = keys.find.bind(keys);
    for (const [body, sentAtOnce, status] of [
      ['all', 'all', 200],
      ['all', 'alL', 401],
      ['first, then the rest', 'first, ', 200],
      ['first, then the rest', 'First, ', 401],
    ] as const) {
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body });
      const client = new RawClient(port);
      keys.find = async (id) => {
        const hasCome = () => socket?.bytesRead === client.socket.bytesWritten;
        await until(hasCome, 'the server reads what was sent');
        client.write(body.slice(sentAtOnce.length));
        return find(id);
      };
      client.write(headOf(signed, { 'content-length': body.length }) + sentAtOnce);
      const answer = await client.answer();
      expect(answer.status).toBe(status);
      if (status === 200) expect(answer.body).toBe(hex(Buffer.from(body)));
      client.socket.destroy();
    }
    // The other body was there at once, so no handler saw any of it.
    expect(handled).toHaveLength(3);
  });

  it('answers 401 if the body is not the signed one and no answer has begun, and never ends', async () => {
    const { origin, port, signer, handled, refused } = await streamingServer();
    for (const [index, [framing, ...pieces]] of [
      [{ 'content-length': 6 }, 'for', 'ged'],
      [{ 'transfer-encoding': 'chunked' }, '3\r\nfor\r\n', '3\r\nged\r\n0\r\n\r\n'],
    ].entries() as IterableIterator<[number, [Record<string, string>, string, string]]>) {
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'signed' });
      const client = new RawClient(port);
      client.write(headOf(signed, framing) + pieces[0]);
      await until(() => handled.length > index, 'the handler runs');
      client.write(pieces[1]);
      const answer = await client.answer();
      expect(answer.status).toBe(401);
      expect(answer.headers['connection']).toBe('close');
      expect(JSON.parse(answer.body)).toMatchObject({ reason: 'body-mismatch' });
    }
    for (const { ended, outcome } of handled) {
      expect(await outcome).toBeInstanceOf(SignatureError);
      expect(ended).toBe(false);
    }
    expect(handled).toHaveLength(2);
    expect(refused.map(({ code }) => code)).toEqual(['ERR_BODY_MISMATCH', 'ERR_BODY_MISMATCH']);
    for (const { checks, accessKeyId, outcome } of refused) {
      expect(checks).toMatchObject({ signature: 'passed', body: 'failed' });
      expect([accessKeyId, outcome]).toEqual([refused[0]?.accessKeyId, 'refused']);
    }
  });

  it('fails the pipeline that reads a body which is not the signed one', async () => {
    let finished = false;
    const served = await streamingServer(async (req) => {
      const sink = new Writable({ write: (_chunk, _encoding, done) => done() }).on('finish', () => {
        finished = true;
      });
      await pipeline(req, sink);
    });
    const client = await sendForged(served);
    expect((await client.answer()).status).toBe(401);
    expect(await served.handled[0]?.outcome).toMatchObject({ code: 'ERR_BODY_MISMATCH' });
    expect(finished).toBe(false);
  });

  it('breaks the connection if half an answer was written', async () => {
    const served = await streamingServer(async (req, res) => {
      res.write('half');
      for await (const chunk of req) res.write(String((chunk as Buffer).length));
      res.end('whole');
    });
    const client = await sendForged(served);
    await client.closed;
    expect(client.received).toMatch(/^HTTP\/1\.1 200 .*\r\n4\r\nhalf\r\n/s);
    expect(client.received).not.toMatch(/whole|\r\n0\r\n/);
    expect(await served.handled[0]?.outcome).toMatchObject({ code: 'ERR_BODY_MISMATCH' });
    expect(served.handled[0]?.ended).toBe(false);
  });

  it.each([
    ['signed', 'done', true],
    ['forged', expect.objectContaining({ code: 'ERR_BODY_MISMATCH' }), false],
  ])(
    'fails a handler that reads after it answered, if the body is not the signed one: %s',
    async (body, outcome, ended) => {
      const { origin, port, signer, handled, refused } = await streamingServer(async (req, res) => {
        const reading = hashOf(req);
        res.status(202).send('accepted');
        expect(await reading).toBe(hex(Buffer.from('signed')));
      });
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'signed' });
      const client = new RawClient(port);
      client.write(headOf(signed, { 'content-length': 6 }));
      expect((await client.answer()).status).toBe(202);
      client.write(body);
      const [handling] = handled;
      expect(await within(Promise.resolve(handling?.outcome), 'the handler ends')).toEqual(outcome);
      expect(handling?.ended).toBe(ended);
      expect(refused.map(({ code }) => code)).toEqual(ended ? [] : ['ERR_BODY_MISMATCH']);
      if (!ended) await client.closed;
    },
  );

  it('lets an answer go out that was ended before the body was', async () => {
    const { origin, port, signer, handled } = await streamingServer(async (req, res) => {
      for await (const _chunk of req) res.end('early');
    });
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'signed' });
    const client = new RawClient(port);
    client.write(`${headOf(signed, { 'content-length': 6 })}for`);
    const answer = await client.answer();
    expect(answer).toMatchObject({ status: 200, body: 'early' });
    client.write('ged');
    await client.closed;
    expect(await handled[0]?.outcome).toMatchObject({ code: 'ERR_BODY_MISMATCH' });
  });

  it('never ends a body that is cut short', async () => {
    const { origin, port, signer, handled } = await streamingServer();
    for (const framing of [{ 'content-length': 6 }, { 'transfer-encoding': 'chunked' }]) {
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'signed' });
      const client = new RawClient(port);
      client.write(headOf(signed, framing as Record<string, string>));
      client.write('content-length' in framing ? 'sig' : '6\r\nsigned\r\n');
      client.socket.end();
      await client.closed;
      const handling = handled.at(-1);
      expect(await handling?.outcome).toMatchObject({ code: 'ECONNRESET' });
      expect(handling?.ended).toBe(false);
    }
  });

  it('leaves a connection usable if its request was not read', async () => {
    const sockets = new Set();
    const { origin, server, signer } = await streamingServer(
      (_req, res) => void res.send('unread'),
    );
    server.on('request', (req) => sockets.add(req.socket));
    const agent = oneConnection();
    for (let index = 0; index < 10; index++) {
      const signed = await signer.sign({
        method: 'POST',
        url: `${origin}/`,
        body: 'x'.repeat(index * 50_000),
      });
      expect(await send(signed, { agent, pieces: 10_000, chunked: index % 2 === 1 })).toMatchObject(
        { status: 200, body: 'unread' },
      );
    }
    expect(sockets.size).toBe(1);
  });

  it('refuses a replay before its body is read', async () => {
    const { origin, port, signer, handled, refused } = await streamingServer();
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'signed' });
    expect((await send(signed)).status).toBe(200);
    const client = new RawClient(port);
    client.write(headOf(signed, { 'content-length': 6 }));
    expect((await client.answer()).status).toBe(401);
    client.write('forged');
    await client.closed;
    expect(handled).toHaveLength(1);
    expect(refused.map(({ code }) => code)).toEqual(['ERR_NONCE_REUSED']);
  });
});

describe('a server in its own process', () => {
  let folder = '';
  let child: ChildProcess;
  let port = 0;
  const { key, signer } = parties();

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'countersign-'));
    const source = (path: string) => new URL(`../../../${path}.ts`, import.meta.url).pathname;
    const outfile = join(folder, 'server.cjs');
    await build({
      entryPoints: [source('server/test/http/express/memory-server')],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'cjs',
      logLevel: 'silent',
      alias: {
        '@countersign/shared': source('shared/src/index'),
        '@countersign/server': source('server/src/index'),
        '@countersign/server/express': source('server/src/express'),
        '#digest': source('shared/src/digest.node'),
        '#private-key': source('shared/src/private-key.node'),
      },
    });
    child = fork(outfile, [JSON.stringify({ key, now: NOW, audience: AUDIENCE })], {
      execArgv: [],
    });
    [{ port }] = (await once(child, 'message')) as [{ port: number }];
  });

  afterAll(async () => {
    if (child?.connected) {
      const exit = once(child, 'exit');
      child.disconnect();
      await exit;
    }
    await rm(folder, { recursive: true, force: true });
  });

  it('streams 1 GiB in constant memory', async () => {
    const piece = Buffer.alloc(MiB, 0xa5);
    const hash = createHash('sha256');
    for (let sent = 0; sent < GiB; sent += MiB) hash.update(piece);
    const url = `http://127.0.0.1:${port}/stream`;
    const { headers } = await signer.sign({
      method: 'POST',
      url,
      headers: { 'x-countersign-content-sha256': hash.digest('hex') },
    });
    let left = GiB;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (left === 0) return controller.close();
        left -= MiB;
        controller.enqueue(piece);
      },
    });
    const before = once(child, 'message');
    const response = await undiciFetch(url, { method: 'POST', headers, body, duplex: 'half' });
    const { bytes, most } = (await response.json()) as { bytes: number; most: number };
    expect(response.status).toBe(200);
    expect(bytes).toBe(GiB);
    expect(most - (await before)[0].before).toBeLessThan(100_000_000);
  }, 120_000);

  it('holds a body that comes in pieces of one byte in no more memory than another', async () => {
    const url = `http://127.0.0.1:${port}/buffer`;
    const signed = await signer.sign({ method: 'POST', url, body: 'x'.repeat(MiB) });
    const before = once(child, 'message');
    const client = new RawClient(port);
    client.write(headOf(signed, { 'transfer-encoding': 'chunked' }));
    const pieces = '1\r\nx\r\n'.repeat(4_096);
    for (let sent = 0; sent < MiB; sent += 4_096)
      if (!client.write(pieces)) await once(client.socket, 'drain');
    client.write('0\r\n\r\n');
    const answer = await client.answer();
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.body).most - (await before)[0].before).toBeLessThan(100_000_000);
  });
});
