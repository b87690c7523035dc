import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { createFetch, createSigner, type SignedRequest } from '@countersign/client';
import { signing } from '@countersign/client/undici';
import { generateAccessKey } from '@countersign/server';
import { Redis } from 'ioredis';
import { Agent } from 'undici';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { type RedisServer, startRedis, startRedisCluster } from '../support/redis.ts';

const AUDIENCE = 'video-api';
const key = generateAccessKey({ subject: 'alice' });
const other = generateAccessKey({ subject: 'bob' });
const credentials = { accessKeyId: key.accessKeyId, secretAccessKey: key.secretAccessKey };

type Credentials = Pick<typeof key, 'accessKeyId' | 'secretAccessKey'>;

interface Server {
  readonly url: string;
  readonly process: ChildProcess;
  /** As a deployment does it; gives the exit code. */
  end(): Promise<number | null>;
  kill(): Promise<void>;
}

/** Of hundreds at once the last must not look like one whose store is down. */
const PATIENT = { TIMEOUT: '5' };

/** Where servers find their nonces. */
type Store = { readonly REDIS_URL: string } | { readonly REDIS_CLUSTER: string };

/** Starts a server in a process of its own, until the test is over. */
async function startServer(store: Store, further: Record<string, string> = {}): Promise<Server> {
  const environment = {
    ACCESS_KEYS: JSON.stringify([key, other]),
    PREFIX: 'replay',
    ...store,
    ...further,
  };
  const child = fork(new URL('server.mjs', import.meta.url), {
    env: { ...process.env, ...environment },
    execArgv: [],
  });
  const exit = once(child, 'exit');
  const stop = async (signal: NodeJS.Signals) => {
    child.kill(signal);
    await exit;
    return child.exitCode;
  };
  onTestFinished(() => void stop('SIGKILL'));
  const [{ port }] = await Promise.race([
    once(child, 'message'),
    exit.then(() => Promise.reject(new Error('Cannot start the server: run tsc -b first'))),
  ]);
  return {
    url: `http://127.0.0.1:${port}/VideoParser/`,
    process: child,
    end: () => stop('SIGTERM'),
    kill: async () => void (await stop('SIGKILL')),
  };
}

async function startOwnRedis(): Promise<RedisServer> {
  const redis = await startRedis();
  onTestFinished(() => redis.stop());
  return redis;
}

interface Answer {
  readonly status: number;
  readonly reason: string;
  readonly epoch: string | undefined;
  readonly retryAfter: string | undefined;
  readonly text: string;
}

/**
 * Sends a signed request to a server, on a connection of its own, under the host that it was signed
 * for.
 */
async function send(
  signed: SignedRequest,
  { url }: Server,
  changes: Changes = {},
): Promise<Answer> {
  const { method, headers } = signed;
  const { host } = new URL(signed.url);
  const req = httpRequest(url, {
    method,
    agent: false,
    headers: { ...headers, host, ...changes.headers },
  });
  req.end(changes.body ?? signed.body);
  const [res] = await once(req, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of res) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  const { reason = '' } = JSON.parse(text);
  const { 'countersign-epoch': epoch, 'retry-after': retryAfter } = res.headers;
  return { status: res.statusCode, reason, epoch, retryAfter, text };
}

interface Changes {
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

/** Signs for the one name under which all servers are called, as behind a balancer. */
function sign(epoch?: string, clock?: () => number): Promise<SignedRequest> {
  const signer = createSigner({ credentials, audience: AUDIENCE, clock });
  const body = { videoUrl: 'https://videos.test/cats.mp4' };
  return signer.sign({ method: 'POST', url: 'http://api.test/VideoParser/', body, epoch });
}

/** The store's epoch, as a client learns it. */
async function learnEpoch(server: Server): Promise<string> {
  const { epoch } = await vi.waitFor(
    async () => {
      const answer = await send(await sign(), server);
      expect(answer.epoch).toMatch(/^[\w-]{22}$/);
      return answer;
    },
    { timeout: 15_000 },
  );
  return epoch as string;
}

/** 200 copies of a request at once, half to each server: how many of each answer there were. */
async function sendCopies(
  signed: SignedRequest,
  servers: readonly Server[],
): Promise<Record<string, number>> {
  const copies = Array.from({ length: 200 }, (_, copy) =>
    send(signed, servers[copy % servers.length] as Server),
  );
  const counts: Record<string, number> = {};
  for (const { status, reason } of await Promise.all(copies)) {
    const answer = `${status} ${reason}`.trim();
    counts[answer] = (counts[answer] ?? 0) + 1;
  }
  return counts;
}

/**
 * Until the cold code of both servers is warm: a machine that is busy must not look like a store
 * that is down.
 */
async function warmUp(servers: readonly Server[]): Promise<string> {
  const epochs = await Promise.all(servers.map(learnEpoch));
  expect(new Set(epochs).size).toBe(1);
  const [epoch] = epochs as [string];
  for (let round = 0; round < 2; round++) {
    await Promise.all(
      Array.from({ length: 50 }, async (_, index) =>
        send(await sign(epoch), servers[index % servers.length] as Server),
      ),
    );
  }
  return epoch;
}

describe('two servers that share a Redis', () => {
  it('accept one of 200 copies that are sent to both at once, in 5 of 5 rounds', async () => {
    const store = { REDIS_URL: (await startOwnRedis()).url };
    const servers = await Promise.all([startServer(store, PATIENT), startServer(store, PATIENT)]);
    const epoch = await warmUp(servers);
    for (let round = 0; round < 5; round++) {
      const counts = await sendCopies(await sign(epoch), servers);
      expect(counts).toEqual({ '200': 1, '401 nonce-reused': 199 });
    }
  });

  it('refuse what either has seen, also after it was killed and started again', async () => {
    const redis = await startOwnRedis();
    const store = { REDIS_URL: redis.url };
    const [first, second] = await Promise.all([startServer(store), startServer(store)]);
    const epoch = await learnEpoch(first);
    const captured = await sign(epoch);
    expect(await send(captured, first)).toMatchObject({ status: 200 });
    await first.kill();
    expect(await send(captured, second)).toMatchObject({ status: 401, reason: 'nonce-reused' });
    const again = await startServer(store);
    expect(await send(captured, again)).toMatchObject({ status: 401, reason: 'nonce-reused' });
    // A server that starts finds the store as it is: no client has to learn another epoch.
    expect(await send(await sign(epoch), again)).toMatchObject({ status: 200 });
  });

  it('refuse what is unsigned, altered or late', async () => {
    const store = { REDIS_URL: (await startOwnRedis()).url };
    const [server, late] = await Promise.all([
      startServer(store),
      startServer(store, { CLOCK_OFFSET: '180' }),
    ]);
    const epoch = await learnEpoch(server);
    const signed = await sign(epoch);
    const other = '{"videoUrl":"https://evil.test/mine.mp4"}';
    const unsigned = { ...signed, headers: { 'content-type': 'application/json' } };
    expect(await send(unsigned, server)).toMatchObject({
      status: 401,
      reason: 'signature-missing',
    });
    expect(await send(signed, server, { body: other })).toMatchObject({
      status: 401,
      reason: 'body-mismatch',
    });
    for (const headers of [
      { 'x-countersign-nonce': 'AAAAAAAAAAAAAAAAAAAAAA' },
      { 'x-countersign-epoch': 'AAAAAAAAAAAAAAAAAAAAAA' },
      { 'content-type': 'text/plain' },
      { host: 'other.test' },
    ]) {
      expect(await send(signed, server, { headers })).toMatchObject({
        status: 401,
        reason: 'signature-invalid',
      });
    }
    expect(await send(signed, late)).toMatchObject({ status: 401, reason: 'clock-skew' });
    // None of these has spent the nonce.
    expect(await send(signed, server)).toMatchObject({ status: 200 });
    expect(await send(signed, late)).toMatchObject({ status: 401, reason: 'clock-skew' });
  });

  it('refuse all that was captured after the store lost its memory, and let clients in at their second attempt', async () => {
    const redis = await startOwnRedis();
    const server = await startServer({ REDIS_URL: redis.url });
    const epoch = await learnEpoch(server);
    const captured = await Promise.all(Array.from({ length: 10 }, () => sign(epoch)));
    for (const signed of captured)
      expect(await send(signed, server)).toMatchObject({ status: 200 });
    const admin = new Redis(redis.url);
    await admin.flushall();
    admin.disconnect();
    for (const signed of captured) {
      expect(await send(signed, server)).toMatchObject({ status: 401, reason: 'replay-unknown' });
    }
    const refused = await send(await sign(epoch), server);
    expect(refused).toMatchObject({ status: 401, reason: 'replay-unknown' });
    expect(Number(refused.retryAfter)).toBeGreaterThan(0);
    expect(await send(await sign(refused.epoch), server)).toMatchObject({ status: 200 });
    for (const signed of captured) expect((await send(signed, server)).status).toBe(401);
  });

  it.each(['SIGSTOP', 'SIGKILL'] as const)(
    'answer 503 while the store is gone (%s), and serve again by themselves',
    async (signal) => {
      const redis = await startOwnRedis();
      const server = await startServer({ REDIS_URL: redis.url });
      const epoch = await learnEpoch(server);
      const captured = await sign(epoch);
      expect(await send(captured, server)).toMatchObject({ status: 200 });

      process.kill(redis.pid, signal);
      const start = performance.now();
      const refused = await Promise.all(
        Array.from({ length: 20 }, async () => send(await sign(epoch), server)),
      );
      expect(performance.now() - start).toBeLessThan(5_000);
      for (const answer of refused) {
        expect(answer).toMatchObject({ status: 503, reason: 'unavailable', retryAfter: '1' });
        expect(answer.text).not.toMatch(/redis|127\.0\.0\.1/i);
      }
      expect(await send(captured, server)).toMatchObject({ status: 503 });

      if (signal === 'SIGSTOP') process.kill(redis.pid, 'SIGCONT');
      else {
        await redis.stop();
        const again = await startRedis({ port: redis.port });
        onTestFinished(() => again.stop());
      }
      const current = await learnEpoch(server);
      expect(current === epoch).toBe(signal === 'SIGSTOP');
      const served = await vi.waitFor(
        async () => {
          const answer = await send(await sign(current), server);
          expect(answer.status).not.toBe(503);
          return answer;
        },
        { timeout: 15_000 },
      );
      expect(served).toMatchObject({ status: 200 });
      expect((await send(captured, server)).status).toBe(401);
    },
    60_000,
  );

  it('end when they are told to, whether the store is there or not', async () => {
    const redis = await startOwnRedis();
    const servers = await Promise.all([
      startServer({ REDIS_URL: redis.url }),
      startServer({ REDIS_URL: redis.url }),
    ]);
    await Promise.all(servers.map(learnEpoch));
    expect(await servers[0].end()).toBe(0);
    await redis.stop();
    expect(await send(await sign(), servers[1])).toMatchObject({ status: 503 });
    expect(await servers[1].end()).toBe(0);
  });
});

describe('over the wire', () => {
  const url = 'http://api.test/VideoParser/';
  const body = '{"videoUrl":"https://videos.test/cats.mp4"}';
  const headers = { 'content-type': 'application/json' };
  const signWith = (
    { accessKeyId, secretAccessKey }: Credentials,
    epoch: string,
    options: { clock?: () => number; nonce?: () => string } = {},
  ) => {
    const signer = createSigner({
      credentials: { accessKeyId, secretAccessKey },
      audience: AUDIENCE,
      ...options,
    });
    return signer.sign({ method: 'POST', url, headers, body, epoch });
  };
  async function open() {
    const server = await startServer({ REDIS_URL: (await startOwnRedis()).url }, PATIENT);
    return { server, epoch: await learnEpoch(server) };
  }

  it('T3, T4: a request lives for its window, on both sides, and is remembered for as long', async () => {
    const { server, epoch } = await open();
    const reasons: Record<number, string> = {};
    for (const offset of [-100_000, -123, -116, -1, 0, 4, 8, 100_000, 365 * 86_400]) {
      const signed = await signWith(key, epoch, { clock: () => Date.now() / 1000 + offset });
      const { status, reason } = await send(signed, server);
      reasons[offset] = status === 200 ? 'accepted' : reason;
      const again = await send(signed, server);
      expect([again.status, again.reason]).toEqual([
        401,
        status === 200 ? 'nonce-reused' : 'clock-skew',
      ]);
    }
    expect(reasons).toEqual({
      '-100000': 'clock-skew',
      '-123': 'clock-skew',
      '-116': 'accepted',
      '-1': 'accepted',
      '0': 'accepted',
      '4': 'accepted',
      '8': 'clock-skew',
      '100000': 'clock-skew',
      '31536000': 'clock-skew',
    });
  });

  it('T5: strangers burn no nonce', async () => {
    const { server, epoch } = await open();
    const signed = await signWith(key, epoch);
    const { authorization = '' } = signed.headers;
    const digit = authorization.at(-1) === '0' ? '1' : '0';
    const attempts: Changes[] = [
      { headers: { authorization: authorization.slice(0, -1) + digit } },
      { headers: { authorization: authorization.replace(key.accessKeyId, other.accessKeyId) } },
      { headers: { authorization: authorization.replace(key.accessKeyId, 'CSAK0') } },
      { body: '{"videoUrl":"https://evil.test/mine.mp4"}' },
    ];
    for (const changes of attempts) expect((await send(signed, server, changes)).status).toBe(401);
    expect(await send(signed, server)).toMatchObject({ status: 200 });
  });

  it('T6: a nonce is one of an access key, and of one shape', async () => {
    const { server, epoch } = await open();
    const nonce = () => 'AAAAAAAAAAAAAAAAAAAAAA';
    const mine = await signWith(key, epoch, { nonce });
    const theirs = await signWith(other, epoch, { nonce });
    for (const signed of [mine, theirs])
      expect(await send(signed, server)).toMatchObject({ status: 200 });
    for (const signed of [mine, theirs])
      expect(await send(signed, server)).toMatchObject({ status: 401, reason: 'nonce-reused' });
    for (const shape of ['', 'A', 'A'.repeat(21), 'A'.repeat(23), 'A'.repeat(8_000), '\xe9A']) {
      const changes = { headers: { 'x-countersign-nonce': shape } };
      expect(await send(mine, server, changes)).toMatchObject({
        status: 400,
        reason: 'signature-malformed',
      });
    }
  });
});

describe('clients of a server whose store has just been born', () => {
  it('createFetch() gets its first call answered, in two attempts', async () => {
    const server = await startServer({ REDIS_URL: (await startOwnRedis()).url });
    await learnEpoch(server);
    let attempts = 0;
    const counting: typeof fetch = (...call) => {
      attempts++;
      return fetch(...call);
    };
    const signedFetch = createFetch({ credentials, audience: AUDIENCE, fetch: counting });
    const call = { method: 'POST', body: { videoUrl: 'https://videos.test/cats.mp4' } };
    expect((await signedFetch(server.url, call)).status).toBe(200);
    expect(attempts).toBe(2);
    expect((await signedFetch(server.url, call)).status).toBe(200);
    expect(attempts).toBe(3);
  });

  it('signing() gets its first call answered, and every one after', async () => {
    const server = await startServer({ REDIS_URL: (await startOwnRedis()).url });
    await learnEpoch(server);
    let attempts = 0;
    const agent = new Agent();
    onTestFinished(() => agent.destroy());
    const client = agent.compose([
      (dispatch) => (opts, handler) => {
        attempts++;
        return dispatch(opts, handler);
      },
      signing({ credentials, audience: AUDIENCE, origins: [new URL(server.url).origin] }),
    ]);
    const call = async () => {
      const { origin, pathname: path } = new URL(server.url);
      const { statusCode, body } = await client.request({
        origin,
        path,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"videoUrl":"https://videos.test/cats.mp4"}',
      });
      await body.dump();
      return statusCode;
    };
    expect(await call()).toBe(200);
    expect(attempts).toBe(2);
    expect(await call()).toBe(200);
    expect(attempts).toBe(3);
  });
});

describe('two servers that share a Redis Cluster', () => {
  it('accept one of 200 copies that are sent to both at once, in 5 of 5 rounds', async () => {
    const cluster = await startRedisCluster({ masters: 3 });
    onTestFinished(() => cluster.stop());
    const store = { REDIS_CLUSTER: cluster.nodes.map(({ port }) => port).join(',') };
    const servers = await Promise.all([startServer(store, PATIENT), startServer(store, PATIENT)]);
    const epoch = await warmUp(servers);
    const captured: SignedRequest[] = [];
    for (let round = 0; round < 5; round++) {
      const signed = await sign(epoch);
      captured.push(signed);
      expect(await sendCopies(signed, servers)).toEqual({ '200': 1, '401 nonce-reused': 199 });
    }

    await servers[0].kill();
    const again = await startServer(store);
    for (const signed of captured) {
      expect(await send(signed, again)).toMatchObject({ status: 401, reason: 'nonce-reused' });
    }
    expect(await again.end()).toBe(0);
  });
});
