import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { connect as connectHttp2, constants, createServer as createHttp2Server } from 'node:http2';
import { createServer as createTlsServer } from 'node:https';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { createSigner, type SignedRequest } from '@countersign/client';
import { signing } from '@countersign/client/undici';
import { type Identity, MemoryNonceStore } from '@countersign/server';
import { requireSignature } from '@countersign/server/express';
import {
  identityOf,
  type SignedUpgradeListener,
  type UpgradeOptions,
  verifyUpgrade,
  withSignature,
} from '@countersign/server/node';
import express from 'express';
import { generate } from 'selfsigned';
import { Agent, type Dispatcher, WebSocket as UndiciWebSocket } from 'undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { gate, slowDown, troubles, turns } from '../hand-on-support.ts';
import {
  AUDIENCE,
  headOf,
  listen,
  listenOn,
  NOW,
  type Parties,
  parties,
  RawClient,
  stranger,
  unholdable,
} from '../sockets.ts';

const ACCEPTED = 'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n';
const UPGRADE = { connection: 'upgrade', upgrade: 'test' };
const BARE = 'GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n';

/** Echoes all bytes, `head` first. */
const echo: SignedUpgradeListener = (_req, socket, head) => {
  socket.write(ACCEPTED);
  socket.write(head);
  socket.pipe(socket);
};

/** A server that hands signed upgrades to `listener`, and the signers so far. */
async function serveUpgrades(
  { verifier }: Pick<Parties, 'verifier'>,
  listener: SignedUpgradeListener = echo,
  options: UpgradeOptions = {},
  server: Server = createServer(),
) {
  const handled: Identity[] = [];
  const upgrade = verifyUpgrade(
    (req, socket, head, identity) => {
      handled.push(identity);
      return listener(req, socket, head, identity);
    },
    verifier,
    options,
  );
  server.on('upgrade', upgrade);
  return { handled, ...(await listen(server)) };
}

const sign = ({ signer }: Pick<Parties, 'signer'>, origin: string): Promise<SignedRequest> =>
  signer.sign({ method: 'GET', url: `${origin}/ws?room=1` });

/** A request that has its signature in the URL. */
const bare = (url: string): SignedRequest => ({ method: 'GET', url, headers: {}, body: undefined });

const reasonOf = (answer: { readonly body: string }): string => JSON.parse(answer.body).reason;

/** Waits until the client has received this many characters. */
async function received(client: RawClient, length: number): Promise<string> {
  while (client.received.length < length && !client.socket.closed) await new Promise(setImmediate);
  return client.received;
}

/** Collects the exceptions that would end the process. */
function crashes(): string[] {
  const seen: string[] = [];
  const record = (error: Error): void => void seen.push(error.message);
  process.on('uncaughtException', record);
  onTestFinished(() => void process.off('uncaughtException', record));
  return seen;
}

describe('verifyUpgrade()', () => {
  it('hands a signed upgrade on, with its signer', async () => {
    const those = parties();
    const seen: [IncomingMessage, Identity][] = [];
    const { origin, port } = await serveUpgrades(those, (req, socket, _head, identity) => {
      seen.push([req, identity]);
      socket.write(ACCEPTED);
    });
    const client = new RawClient(port);
    client.write(headOf(await sign(those, origin), UPGRADE));
    expect((await client.answer()).status).toBe(101);
    const [[req, identity]] = seen as [[IncomingMessage, Identity]];
    expect(identity).toMatchObject({ subject: 'alice', accessKeyId: those.key.accessKeyId });
    expect(identityOf(req)).toBe(identity);
  });

  it('takes the options of a verifier and its own together', async () => {
    const those = parties();
    const { keys, nonces } = those;
    const addresses: unknown[] = [];
    const clientAddress = (req: IncomingMessage): string => {
      addresses.push(req.headers['x-real-ip']);
      return '192.0.2.1';
    };
    const server = createServer();
    const options = {
      audience: AUDIENCE,
      keys,
      nonces,
      clock: () => NOW,
      clientAddress,
      timeout: 1,
    };
    server.on('upgrade', verifyUpgrade(echo, options));
    const { origin, port } = await listen(server);
    const client = new RawClient(port);
    client.write(headOf(await sign(those, origin), { ...UPGRADE, 'x-real-ip': '192.0.2.1' }));
    expect((await client.answer()).status).toBe(101);
    expect(addresses).toEqual(['192.0.2.1']);
  });

  it('answers an upgrade that is not signed, and ends its connection', async () => {
    const those = parties();
    const { handled, port } = await serveUpgrades(those);
    const client = new RawClient(port);
    client.write(BARE);
    await client.closed;
    const [head = '', body = ''] = client.received.split('\r\n\r\n');
    const [statusLine, ...fields] = head.toLowerCase().split('\r\n');
    expect(statusLine).toBe('http/1.1 401 unauthorized');
    expect(fields).toEqual(
      expect.arrayContaining([
        'content-type: application/problem+json',
        'cache-control: no-store',
        `www-authenticate: countersign1-hmac-sha256 realm="${AUDIENCE}", error="signature-missing"`,
        `content-length: ${body.length}`,
        'connection: close',
      ]),
    );
    expect(JSON.parse(body)).toMatchObject({ status: 401, reason: 'signature-missing' });
    expect(handled).toEqual([]);
    expect(those.refused.map(({ code }) => code)).toEqual(['ERR_SIGNATURE_MISSING']);
  });

  it('answers a replay, a foreign key and a signature of another path', async () => {
    const those = parties();
    const { handled, origin, port } = await serveUpgrades(those);
    const signed = await sign(those, origin);
    const foreign = await stranger().sign({ method: 'GET', url: `${origin}/ws` });
    const other = await those.signer.sign({ method: 'GET', url: `${origin}/other` });
    const moved = headOf(other, UPGRADE).replace('/other', '/ws');
    const answers: unknown[] = [];
    for (const head of [signed, signed, foreign].map((it) => headOf(it, UPGRADE)).concat(moved)) {
      const client = new RawClient(port);
      client.write(head);
      const answer = await client.answer();
      answers.push(answer.status === 101 ? 101 : reasonOf(answer));
    }
    expect(answers).toEqual([101, 'nonce-reused', 'signature-invalid', 'signature-invalid']);
    expect(handled).toHaveLength(1);
  });

  it('accepts a presigned URL, and only once if the server says so', async () => {
    for (const presignedUrls of ['until-expiry', 'once'] as const) {
      const those = parties({ presignedUrls });
      const { origin, port } = await serveUpgrades(those);
      const url = await those.signer.presign({ url: `${origin}/ws`, expiresIn: 60 });
      const statuses: number[] = [];
      for (let round = 0; round < 2; round++) {
        const client = new RawClient(port);
        client.write(headOf(bare(url), UPGRADE));
        statuses.push((await client.answer()).status);
      }
      expect(statuses).toEqual([101, presignedUrls === 'once' ? 401 : 101]);
    }
  });

  it('requires Upgrade to be signed if both sides list it, in a presigned URL, too', async () => {
    const those = parties({ signedHeaders: ['upgrade'] });
    const { origin, port } = await serveUpgrades(those);
    const url = `${origin}/ws`;
    const signer = createSigner({
      credentials: those.key,
      audience: AUDIENCE,
      clock: () => NOW,
      signedHeaders: ['upgrade'],
    });
    const answers: unknown[] = [];
    for (const it of [those.signer, signer]) {
      const signed = await it.sign({ method: 'GET', url, headers: { upgrade: 'test' } });
      const presigned = await it.presign({ url, headers: { upgrade: 'test' }, expiresIn: 60 });
      for (const request of [signed, bare(presigned)]) {
        const client = new RawClient(port);
        client.write(headOf(request, UPGRADE));
        const answer = await client.answer();
        answers.push(answer.status === 101 ? 101 : reasonOf(answer));
      }
    }
    const refused = 'component-not-covered';
    expect(answers).toEqual([refused, refused, 101, 101]);
  });

  it('loses no byte that arrives before the listener runs', async () => {
    for (const end of ['open', 'FIN'] as const) {
      const those = parties();
      const client: { raw?: RawClient } = {};
      const rest = 'rest'.repeat(50_000);
      // The rest arrives while the store is busy.
      slowDown(those, () => void client.raw?.write(rest));
      const { origin, port } = await serveUpgrades(those, (req, socket, head) => {
        expect(head.toString()).toBe('head ');
        return echo(req, socket, head, identityOf(req));
      });
      client.raw = new RawClient(port);
      client.raw.write(`${headOf(await sign(those, origin), UPGRADE)}head `);
      await received(client.raw, ACCEPTED.length + 5 + rest.length);
      if (end === 'FIN') client.raw.socket.end();
      expect(client.raw.received).toBe(`${ACCEPTED}head ${rest}`);
    }
  });

  it('hands on a client that has sent its first bytes and closed its side', async () => {
    for (const how of ['together', 'later'] as const) {
      const those = parties();
      const client: { raw?: RawClient } = {};
      slowDown(those, async () => {
        client.raw?.socket.end(how === 'later' ? 'bytes' : '');
        await turns();
      });
      const ended = gate();
      const { origin, port } = await serveUpgrades(those, (_req, socket, head) => {
        let text = head.toString();
        socket.write(ACCEPTED);
        socket.on('data', (chunk) => {
          text += chunk;
        });
        socket.on('end', () => {
          ended.open();
          socket.end(text);
        });
      });
      client.raw = new RawClient(port);
      const first = how === 'together' ? 'bytes' : '';
      client.raw.write(headOf(await sign(those, origin), UPGRADE) + first);
      await ended.opened;
      await client.raw.closed;
      expect(client.raw.received).toBe(`${ACCEPTED}bytes`);
    }
  });

  it('does not call the listener for a client that goes away while it is verified', async () => {
    const seen = crashes();
    for (const how of ['RST', 'FIN'] as const) {
      const those = parties();
      const client: { raw?: RawClient } = {};
      const asked = gate();
      slowDown(those, async () => {
        if (how === 'RST') client.raw?.socket.resetAndDestroy();
        else client.raw?.socket.end();
        await turns(50);
        asked.open();
      });
      const { handled, origin, port } = await serveUpgrades(those);
      client.raw = new RawClient(port);
      client.raw.write(headOf(await sign(those, origin), UPGRADE));
      await asked.opened;
      await client.raw.closed;
      await turns(50);
      expect(handled).toEqual([]);
      // The client still listens, so it learns why.
      if (how === 'FIN') expect(reasonOf(await client.raw.answer())).toBe('body-mismatch');
    }
    expect(seen).toEqual([]);
  });

  it('lets no error of a socket end the process', async () => {
    const seen = crashes();
    const sockets: Duplex[] = [];
    const those = parties();
    const { server, origin, port } = await serveUpgrades(those, (_req, socket) => {
      socket.write(ACCEPTED);
    });
    server.on('upgrade', (_req, socket) => void sockets.push(socket));
    for (const head of [headOf(await sign(those, origin), UPGRADE), BARE]) {
      const client = new RawClient(port);
      client.write(head);
      await client.answer();
      const socket = sockets.pop() as Duplex;
      // The function once() would add a listener for errors.
      const closed = new Promise((resolve) => socket.on('close', resolve));
      socket.destroy(new Error('The network is gone'));
      await closed;
    }
    await turns();
    expect(seen).toEqual([]);
  });

  it('destroys the connection if the listener fails, and warns', async () => {
    const seen = troubles();
    const failures: SignedUpgradeListener[] = [
      () => {
        throw new Error('a bug');
      },
      () => Promise.reject(undefined),
    ];
    for (const failing of failures) {
      const those = parties();
      const { origin, port } = await serveUpgrades(those, failing);
      const client = new RawClient(port);
      client.write(headOf(await sign(those, origin), UPGRADE));
      await client.closed;
      expect(client.received).toBe('');
    }
    expect(seen).toEqual(['COUNTERSIGN_LISTENER_FAILED', 'COUNTERSIGN_LISTENER_FAILED']);
  });

  it('answers 500 if verifying fails, and warns', async () => {
    const { verifier, signer } = parties();
    const seen = troubles();
    const broken = [
      () => Promise.reject(new RangeError('a bug')),
      () => Promise.resolve(undefined as unknown as Identity),
      async () => unholdable('replayed'),
      () => {
        throw new Error('not even a promise');
      },
    ];
    for (const verify of broken) {
      const { handled, origin, port } = await serveUpgrades({ verifier: { ...verifier, verify } });
      const client = new RawClient(port);
      client.write(headOf(await sign({ signer }, origin), UPGRADE));
      const answer = await client.answer();
      expect(answer).toMatchObject({ status: 500, headers: { connection: 'close' }, body: '' });
      await client.closed;
      expect(handled).toEqual([]);
    }
    expect(seen).toEqual(broken.map(() => 'COUNTERSIGN_VERIFIER_FAILED'));
  });

  it('answers 503 if a store fails or never answers', async () => {
    const claims = [() => Promise.reject(new Error('down')), () => new Promise<never>(() => {})];
    for (const claim of claims) {
      const those = parties();
      those.nonces.claim = claim;
      const { handled, origin, port } = await serveUpgrades(those, echo, { timeout: 0.05 });
      const client = new RawClient(port);
      client.write(headOf(await sign(those, origin), UPGRADE));
      const answer = await client.answer();
      expect(answer).toMatchObject({
        status: 503,
        headers: { 'retry-after': '1', connection: 'close' },
      });
      expect(reasonOf(answer)).toBe('unavailable');
      await client.closed;
      expect(handled).toEqual([]);
    }
  });

  it('refuses an upgrade with a body, even if its signature does not mention the body', async () => {
    const those = parties();
    const { handled, origin, port } = await serveUpgrades(those);
    const url = `${origin}/ws`;
    const signed = await those.signer.sign({ method: 'POST', url, body: 'hello' });
    const empty = () => sign(those, origin);
    const attempts = [
      `${headOf(signed, { ...UPGRADE, 'content-length': 5 })}hello`,
      `${headOf(await empty(), { ...UPGRADE, 'content-length': 5 })}hello`,
      `${headOf(await empty(), { ...UPGRADE, 'transfer-encoding': 'chunked' })}0\r\n\r\n`,
    ];
    for (const attempt of attempts) {
      const client = new RawClient(port);
      client.write(attempt);
      expect(reasonOf(await client.answer())).toBe('body-mismatch');
    }
    expect(handled).toEqual([]);
    const client = new RawClient(port);
    client.write(headOf(await empty(), { ...UPGRADE, 'content-length': 0 }));
    expect((await client.answer()).status).toBe(101);
  });

  /** Resolves to the number of bytes that the server has read from the next connection. */
  function bytesRead(server: Server): Promise<number> {
    return new Promise((resolve) => {
      server.once('connection', (socket: Socket) => {
        socket.once('close', () => resolve(socket.bytesRead));
      });
    });
  }

  it('reads what a stranger sends behind the request, so that the answer arrives', async () => {
    const { server, port } = await serveUpgrades(parties());
    const read = bytesRead(server);
    const client = new RawClient(port);
    client.write(BARE);
    client.socket.end(Buffer.alloc(500_000));
    expect(reasonOf(await client.answer())).toBe('signature-missing');
    expect(await read).toBe(BARE.length + 500_000);
  });

  it('reads little of a stranger who never stops', async () => {
    const { server, port } = await serveUpgrades(parties());
    const read = bytesRead(server);
    const client = new RawClient(port);
    client.write(BARE);
    const write = (): void => {
      if (!client.socket.destroyed) client.socket.write(Buffer.alloc(65_536), write);
    };
    write();
    expect(reasonOf(await client.answer())).toBe('signature-missing');
    expect(await read).toBeLessThan(1_500_000);
  });

  it('drops an upgrade behind a request that was refused with its body unread', async () => {
    const those = parties();
    const guarded = withSignature((_req, res) => void res.end(), those.verifier);
    let answer = (): void => undefined;
    const server = createServer((req, res) => {
      if (req.url !== '/slow') return guarded(req, res);
      answer = () => res.end('slow');
    });
    const { handled, origin, port } = await serveUpgrades(those, echo, {}, server);
    const client = new RawClient(port);
    const refused = 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n';
    client.write(`GET /slow HTTP/1.1\r\nhost: a\r\n\r\n${refused}`);
    while (those.refused.length === 0) await new Promise(setImmediate);
    await turns();
    const upgraded = once(server, 'upgrade');
    client.write(`hello${headOf(await sign(those, origin), UPGRADE)}`);
    await upgraded;
    await turns();
    answer();
    expect((await client.answer()).body).toBe('slow');
    expect(reasonOf(await client.answer())).toBe('signature-missing');
    await client.closed;
    expect(client.received).toBe('');
    expect(handled).toEqual([]);
  });

  it('does not call the listener if the server has closed the connection in the meantime', async () => {
    const those = parties();
    const sockets: Duplex[] = [];
    slowDown(those, () => void sockets[0]?.end());
    const { handled, server, origin, port } = await serveUpgrades(those);
    server.on('upgrade', (_req, socket) => void sockets.push(socket));
    // The client keeps its side open.
    const client = new RawClient(connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
    client.write(headOf(await sign(those, origin), UPGRADE));
    while (sockets.length === 0 && client.received === '') await new Promise(setImmediate);
    const [socket] = sockets as [Duplex];
    if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
    expect(client.received).toBe('');
    expect(handled).toEqual([]);
  });

  it('does not answer a stranger ahead of an earlier request of the same connection', async () => {
    const those = parties();
    const { handled, port } = await serveUpgrades(
      those,
      echo,
      {},
      createServer(() => undefined),
    );
    const client = new RawClient(port);
    client.write(`GET /slow HTTP/1.1\r\nhost: a\r\n\r\n${BARE}`);
    await client.closed;
    expect(client.received).toBe('');
    expect(handled).toEqual([]);
  });

  it('shows the listener the verified host', async () => {
    const those = parties({ publicOrigin: 'https://api.test' });
    const hosts: unknown[] = [];
    const { port } = await serveUpgrades(those, (req, socket) => {
      hosts.push(req.headers.host);
      socket.write(ACCEPTED);
    });
    const signed = await sign(those, 'https://api.test');
    const client = new RawClient(port);
    client.write(headOf(signed, { ...UPGRADE, host: 'evil.test' }));
    expect((await client.answer()).status).toBe(101);
    expect(hosts).toEqual(['api.test']);
  });

  it('guards upgrades over TLS', async () => {
    const { private: key, cert } = await generate([{ name: 'commonName', value: 'api.test' }], {
      keyType: 'ec',
      algorithm: 'sha256',
    });
    const those = parties();
    const server = createTlsServer({ key, cert });
    const { handled, port } = await serveUpgrades(those, echo, {}, server);
    const open = () => connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false });
    const client = new RawClient(open());
    client.write(`${headOf(await sign(those, `https://127.0.0.1:${port}`), UPGRADE)}first`);
    const expected = `${ACCEPTED}first`;
    expect(await received(client, expected.length)).toBe(expected);
    const unsigned = new RawClient(open());
    unsigned.write(BARE);
    expect(reasonOf(await unsigned.answer())).toBe('signature-missing');
    expect(handled).toHaveLength(1);
  });

  it('refuses every CONNECT, because it has no path that could be signed', async () => {
    const those = parties();
    const { handled, server, origin, port } = await serveUpgrades(those);
    server.on('connect', verifyUpgrade(echo, those.verifier));
    const signed = await sign(those, origin);
    const heads = [
      'CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n',
      headOf(signed).replace(/^GET \S+/, 'CONNECT internal:443'),
    ];
    for (const head of heads) {
      const client = new RawClient(port);
      client.write(head);
      const answer = await client.answer();
      expect([answer.status, reasonOf(answer)]).toEqual([400, 'signature-malformed']);
    }
    expect(handled).toEqual([]);
  });

  it('refuses every client of the event connect of HTTP/2', async () => {
    const those = parties();
    const handled: unknown[] = [];
    // Without a listener of requests, Node does not emit the event.
    const server = createHttp2Server((_req, res) => void res.end());
    const guard = verifyUpgrade((req) => void handled.push(req), those.verifier);
    server.on('connect', guard as (...args: unknown[]) => void);
    const { origin } = await listenOn(server, () => undefined);
    const session = connectHttp2(origin);
    onTestFinished(() => session.destroy());
    const stream = session.request({ ':method': 'CONNECT', ':authority': 'a:443' });
    const [error] = await once(stream, 'error');
    expect(String(error)).toContain('HTTP_1_1_REQUIRED');
    expect(stream.rstCode).toBe(constants.NGHTTP2_HTTP_1_1_REQUIRED);
    expect(handled).toEqual([]);
  });

  it('names the argument that cannot be used', () => {
    const { verifier } = parties();
    expect(() => verifyUpgrade(verifier as never, echo as never)).toThrow(
      'Cannot build adapter: expected a verifier or its options, got function',
    );
    expect(() => verifyUpgrade(undefined as never, verifier)).toThrow(
      'Cannot build adapter: expected a listener, a function, got undefined',
    );
    for (const timeout of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 61]) {
      expect(() => verifyUpgrade(echo, verifier, { timeout })).toThrow(
        `Cannot build adapter: option "timeout" is ${timeout}: expected`,
      );
    }
    expect(() => verifyUpgrade(echo, verifier, { clientAddress: 'x' as never })).toThrow(
      'Cannot build adapter: option "clientAddress" is "x": expected a function',
    );
  });
});

describe('WebSockets', () => {
  /** A WebSocket server behind `verifyUpgrade()`, as docs/servers.md builds it. */
  async function serveSockets(those: Parties) {
    const sockets = new WebSocketServer({ noServer: true });
    onTestFinished(() => {
      for (const socket of sockets.clients) socket.terminate();
    });
    sockets.on('connection', (socket, req) => {
      socket.on('message', (text) => socket.send(`${identityOf(req).subject}: ${text}`));
    });
    return serveUpgrades(those, (req, socket, head) => {
      sockets.handleUpgrade(req, socket, head, (it) => sockets.emit('connection', it, req));
    });
  }

  /** Sends a message, and returns the answer, or how the connection failed. */
  function say(socket: WebSocket | UndiciWebSocket): Promise<string> {
    const target = socket as unknown as EventTarget & { send(text: string): void; close(): void };
    return new Promise((resolve) => {
      target.addEventListener('open', () => target.send('hello'));
      target.addEventListener('message', (event) => {
        resolve(String((event as unknown as { data: unknown }).data));
        target.close();
      });
      target.addEventListener('error', (event) =>
        resolve(`failed: ${(event as unknown as { message?: string }).message}`),
      );
    });
  }

  it('opens one of ws whose request is signed in headers', async () => {
    const those = parties();
    const { origin, handled } = await serveSockets(those);
    const { url, headers } = await sign(those, origin);
    const target = url.replace('http', 'ws');
    expect(await say(new WebSocket(target, { headers }))).toBe('alice: hello');
    expect(await say(new WebSocket(target, { headers }))).toContain('401');
    expect(await say(new WebSocket(target))).toContain('401');
    expect(handled).toHaveLength(1);
  });

  // Node 20 has no built-in WebSocket. From Node 22 on it has the one of undici.
  const clients: [string, typeof UndiciWebSocket | typeof WebSocket][] = [
    ['ws', WebSocket],
    ['undici', UndiciWebSocket],
  ];
  if ('WebSocket' in globalThis)
    clients.push(['Node', (globalThis as never)['WebSocket'] as typeof UndiciWebSocket]);

  it.each(clients)('opens one of %s with a presigned URL', async (_, Client) => {
    const those = parties({ presignedUrls: 'once' });
    const { origin, handled } = await serveSockets(those);
    const url = await those.signer.presign({ url: `${origin}/ws?room=1`, expiresIn: 60 });
    const target = url.replace('http', 'ws');
    expect(await say(new Client(target))).toBe('alice: hello');
    expect(await say(new Client(target))).toMatch(/^failed: /);
    expect(await say(new Client(target.replace('room=1', 'room=2')))).toMatch(/^failed: /);
    expect(handled).toHaveLength(1);
    // The client of undici asks twice if it is refused.
    expect(new Set(those.refused.map(({ code }) => code))).toEqual(
      new Set(['ERR_NONCE_REUSED', 'ERR_SIGNATURE_MISMATCH']),
    );
  });

  /** An agent that signs, with the key of `those`. */
  function signingAgent({ key }: Parties, origin: string): Dispatcher {
    const agent = new Agent();
    onTestFinished(() => agent.destroy());
    const options = { credentials: key, audience: AUDIENCE, clock: () => NOW };
    return agent.compose(signing({ ...options, origins: [origin] }));
  }

  it('opens one of undici, signed by its interceptor', async () => {
    const those = parties();
    const { origin } = await serveSockets(those);
    const dispatcher = signingAgent(those, origin);
    const target = `${origin.replace('http', 'ws')}/ws`;
    expect(await say(new UndiciWebSocket(target, { dispatcher }))).toBe('alice: hello');
    expect(await say(new UndiciWebSocket(target, { dispatcher }))).toBe('alice: hello');
  });

  it('is signed again by the interceptor if the store cannot rule out a replay', async () => {
    const those = parties({ nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: NOW }) });
    const { origin, handled } = await serveUpgrades(those);
    const upgrade = { origin, path: '/ws', protocol: 'test' } as Dispatcher.UpgradeOptions;
    const { socket } = await signingAgent(those, origin).upgrade(upgrade);
    socket.destroy();
    expect(handled).toHaveLength(1);
    expect(those.refused.map(({ code }) => code)).toEqual(['ERR_NONCE_UNCERTAIN']);
  });
});

describe('Node', () => {
  it('ignores Upgrade if no listener asks for it, so middleware guards the request', async () => {
    const { verifier, signer } = parties();
    const app = express();
    app.use(requireSignature(verifier));
    app.get('/ws', (req, res) => void res.send(`plain: ${req.headers.upgrade}`));
    const { origin, port } = await listen(app);
    const unsigned = new RawClient(port);
    unsigned.write(BARE);
    expect(reasonOf(await unsigned.answer())).toBe('signature-missing');
    const signed = await signer.sign({ method: 'GET', url: `${origin}/ws` });
    const client = new RawClient(port);
    client.write(headOf(signed, UPGRADE));
    expect(await client.answer()).toMatchObject({ status: 200, body: 'plain: test' });
  });
});
