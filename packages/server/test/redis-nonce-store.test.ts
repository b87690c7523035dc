import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Redis, type RedisOptions } from 'ioredis';
import { afterEach, beforeEach, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { type RedisServer, startRedis } from '../../../test/support/redis.ts';
import { RedisNonceStore, type RedisNonceStoreOptions } from '../src/redis.ts';
import { claimOf, epochOf, nonceStoreContract } from './nonce-store-contract.ts';
import { bulk, startFake, startProxy } from './redis-faults.ts';

let prefixes = 0;
const newPrefix = (): string => `test:${process.pid}:${++prefixes}`;

/** Answers are waited for until they come: what is slow here is the machine. */
const PATIENT = 10;

/** A connection as a server has one, until the test is over. */
function connect(url: string, options: Omit<RedisOptions, 'replyMapping'> = {}): Redis {
  const redis = new Redis(url, options);
  redis.on('error', () => undefined);
  onTestFinished(() => redis.disconnect());
  return redis;
}

/** A store on a connection of its own, until the test is over. */
function storeOn(url: string, options: Partial<RedisNonceStoreOptions> = {}): RedisNonceStore {
  const store = new RedisNonceStore({ redis: connect(url), timeout: PATIENT, ...options });
  onTestFinished(() => store.close());
  return store;
}

async function startOwn(): Promise<RedisServer & { readonly admin: Redis }> {
  const server = await startRedis();
  onTestFinished(() => server.stop());
  return { ...server, admin: connect(server.url) };
}

const seconds = async (redis: Redis): Promise<number> => {
  const [whole, micro] = await redis.time();
  return Number(whole) + Number(micro) / 1_000_000;
};

const nowOf = async (redis: Redis): Promise<number> => Math.floor(await seconds(redis));

/** Milliseconds until a promise settles. */
async function duration(promise: Promise<unknown>): Promise<number> {
  const start = performance.now();
  await promise.catch(() => undefined);
  return performance.now() - start;
}

/** A list of texts as Redis writes it. */
const list = (...texts: string[]): string => `*${texts.length}\r\n${texts.map(bulk).join('')}`;

const printed = vi.spyOn(console, 'error');
beforeEach(() => void printed.mockClear());
// What ioredis prints of errors that nobody listens for.
afterEach(() => expect(printed.mock.calls).toEqual([]));

nonceStoreContract('RedisNonceStore', async () => {
  const url = inject('redisUrl');
  const prefix = newPrefix();
  const admin = connect(url);
  const servers = [storeOn(url, { prefix }), storeOn(url, { prefix })] as const;
  const lose = async () => {
    await admin.del(...(await admin.keys(`${prefix}:*`)));
    return servers[0];
  };
  const until = async (time: number) => {
    while ((await seconds(admin)) < time) await sleep(20);
  };
  return { servers, now: () => seconds(admin), until, lose };
});

describe('RedisNonceStore', () => {
  it('makes a connection of its own, which neither repeats commands nor keeps them', () => {
    const redis = connect(inject('redisUrl'), {
      stringNumbers: true,
      enableAutoPipelining: true,
      reconnectOnError: () => 2,
      retryStrategy: () => null,
      sentinelRetryStrategy: () => null,
    });
    const duplicate = vi.spyOn(redis, 'duplicate');
    const store = new RedisNonceStore({ redis });
    onTestFinished(() => store.close());
    expect(duplicate).toHaveBeenCalledOnce();
    const own = duplicate.mock.results[0]?.value as Redis;
    expect(own).not.toBe(redis);
    expect(own.options).toMatchObject({
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      enableOfflineQueue: false,
      commandTimeout: 400,
      enableAutoPipelining: false,
      reconnectOnError: null,
      stringNumbers: false,
    });
    // It never stops trying to connect, and never waits for long.
    for (const attempts of [1, 2, 10, 100_000]) {
      for (const strategy of ['retryStrategy', 'sentinelRetryStrategy'] as const) {
        expect(own.options[strategy]?.(attempts)).toBe(Math.min(50 * attempts, 1_000));
      }
    }
  });

  it('leaves the connection that it was given as it was', async () => {
    const redis = connect(inject('redisUrl'));
    const options = inspect(redis.options);
    const store = new RedisNonceStore({ redis, prefix: newPrefix(), timeout: PATIENT });
    await store.claim(claimOf(0));
    expect(inspect(redis.options)).toBe(options);
    expect(redis).not.toHaveProperty('claimNonce');
    await store.close();
    expect(redis.status).toBe('ready');
    expect(await redis.ping()).toBe('PONG');
  });

  it('works whatever the connection that it was given is set to', async () => {
    const redis = connect(inject('redisUrl'), {
      keyPrefix: `${newPrefix()}:`,
      db: 1,
      protocol: 2,
      stringNumbers: true,
      enableAutoPipelining: true,
      lazyConnect: true,
      retryStrategy: () => null,
      reconnectOnError: () => 2,
    });
    const store = new RedisNonceStore({ redis, timeout: PATIENT });
    onTestFinished(() => store.close());
    const now = await nowOf(redis);
    const first = await store.claim(claimOf(now));
    expect(first).toMatchObject({ outcome: 'uncertain', retryAfter: expect.any(Number) });
    const claim = claimOf(now, { epoch: first.epoch });
    const answers = await Promise.all([store.claim(claim), store.claim(claim)]);
    expect(answers.map(({ outcome }) => outcome).toSorted()).toEqual(['claimed', 'replayed']);
    await redis.del('countersign:nonces:0');
  });

  it('refuses options that it cannot use', () => {
    const redis = connect(inject('redisUrl'), { lazyConnect: true });
    const build = (options: object) => () => new RedisNonceStore({ redis, ...options });
    expect(build({ redis: undefined })).toThrow(TypeError);
    expect(build({ redis: { host: '127.0.0.1' } })).toThrow(
      'expected a Redis or Cluster of ioredis',
    );
    expect(build({ prefix: '' })).toThrow(RangeError);
    expect(build({ timeout: 0 })).toThrow(RangeError);
    expect(build({ timeout: 11 })).toThrow(RangeError);
    expect(build({ retries: 3 })).toThrow('unknown option "retries"');
  });

  it('shows neither a password nor its connection', () => {
    const redis = connect('redis://:hunter2-hunter2@127.0.0.1:1', { lazyConnect: true });
    const store = new RedisNonceStore({ redis });
    onTestFinished(() => store.close());
    expect(inspect(store, { depth: 9, showHidden: true })).not.toContain('hunter2');
    expect(JSON.stringify(store)).toBe('{}');
  });
});

describe('RedisNonceStore memory', () => {
  const KEY = 'countersign:nonces:0';
  const born = async (admin: Redis): Promise<string> => {
    await vi.waitFor(async () => expect(await admin.exists(KEY)).toBe(1), { timeout: 10_000 });
    const [state = ''] = await admin.zrange(KEY, '0', '0');
    return state.split(':')[0] as string;
  };

  it('begins when a server starts, before anybody calls', async () => {
    const { url, admin } = await startOwn();
    storeOn(url);
    expect(await born(admin)).toMatch(/^[\w-]{22}$/);
    expect(await admin.dbsize()).toBe(1);
  });

  it('stays as it is when another server starts', async () => {
    const { url, admin } = await startOwn();
    const first = storeOn(url);
    const epoch = await born(admin);
    const now = await nowOf(admin);
    const claim = claimOf(now, { epoch });
    expect(await first.claim(claim)).toEqual({ outcome: 'claimed', epoch });

    const second = storeOn(url);
    expect(await second.claim(claim)).toEqual({ outcome: 'replayed', epoch });
  });

  it('begins anew by itself once it is lost, before anybody calls', async () => {
    const { url, admin } = await startOwn();
    storeOn(url);
    const before = await born(admin);
    await admin.flushall();
    expect(await born(admin)).not.toBe(before);
  });

  it('is no other than its own: a key of another kind is an error', async () => {
    const { url, admin } = await startOwn();
    await admin.set(KEY, 'not a sorted set');
    const store = storeOn(url);
    await expect(store.claim(claimOf(0))).rejects.toThrow('WRONGTYPE');
    await admin.del(KEY);
    await vi.waitFor(() => store.claim(claimOf(0)), { timeout: 10_000 });
  });

  it('holds no more than live nonces', async () => {
    const { url, admin } = await startOwn();
    const store = storeOn(url);
    const now = await nowOf(admin);
    const epoch = await epochOf(store, now);
    await store.claim(claimOf(now, { epoch }));
    // As they are once time has passed: of nonces that can be forgotten, and of those that cannot.
    const expired = Array.from({ length: 2_500 }, (_, index) => [
      (now - 3 - index) * 1_000_000,
      `expired-${index}`,
    ]);
    const live = Array.from({ length: 100 }, (_, index) => [
      (now + 60 + index) * 1_000_000,
      `live-${index}`,
    ]);
    await admin.zadd(KEY, ...[...expired, ...live].flat().map(String));
    for (let claims = 0; claims < 3; claims++) await store.claim(claimOf(now, { epoch }));
    expect(await admin.zcard(KEY)).toBe(1 + 100 + 1 + 3);
    const held = await admin.zrange(KEY, '0', '-1');
    expect(held.filter((name) => name.startsWith('expired'))).toEqual([]);
  });

  it('remembers a nonce until its request is stale by a second and more, also one dated ahead', async () => {
    const redis = connect(inject('redisUrl'));
    const store = storeOn(inject('redisUrl'), { prefix: newPrefix() });
    const epoch = await epochOf(store, await nowOf(redis));
    const outcomes = new Set<string>();
    for (let claims = 0; claims < 100; claims++) {
      // About to go stale, or just gone.
      const acceptableUntil = (await seconds(redis)) - 1.25 + claims / 100;
      const claim = { ...claimOf(await nowOf(redis), { epoch }), acceptableUntil };
      const before = await seconds(redis);
      const { outcome } = await store.claim(claim);
      const again = await store.claim(claim);
      const after = await seconds(redis);
      outcomes.add(outcome);
      // A microsecond is what is lost of a time on its way.
      if (after < acceptableUntil + 1 - 1e-5)
        expect([outcome, again.outcome]).toEqual(['claimed', 'replayed']);
      if (before > acceptableUntil + 1 + 1e-5)
        expect([outcome, again.outcome]).toEqual(['stale', 'stale']);
      expect(again.outcome).not.toBe('claimed');
    }
    expect(outcomes).toEqual(new Set(['claimed', 'stale']));
  });
});

describe('RedisNonceStore failures', () => {
  it('rejects where Redis is down at the start, and works once it is there', async () => {
    const { port, url, stop } = await startRedis();
    await stop();
    const store = storeOn(url, { timeout: 0.5 });
    expect(await duration(store.claim(claimOf(0)))).toBeLessThan(2_000);
    await expect(store.claim(claimOf(0))).rejects.toThrow();
    const again = await startRedis({ port });
    onTestFinished(() => again.stop());
    await vi.waitFor(() => store.claim(claimOf(0)), { timeout: 10_000 });
  });

  it('rejects while Redis is gone, and accepts no replay when it is back without memory', async () => {
    const { port, url, pid, admin, stop } = await startOwn();
    const store = storeOn(url, { timeout: 0.5 });
    const now = await nowOf(admin);
    const before = await vi.waitFor(() => epochOf(store, now), { timeout: 10_000 });
    const captured = Array.from({ length: 20 }, () => claimOf(now, { epoch: before }));
    for (const claim of captured) expect((await store.claim(claim)).outcome).toBe('claimed');

    process.kill(pid, 'SIGKILL');
    await stop();
    for (const claim of captured.slice(0, 3)) await expect(store.claim(claim)).rejects.toThrow();
    expect(await duration(store.claim(claimOf(now)))).toBeLessThan(2_000);
    const again = await startRedis({ port });
    onTestFinished(() => again.stop());

    const first = await vi.waitFor(() => store.claim(claimOf(now)), { timeout: 10_000 });
    expect(first.outcome).toBe('uncertain');
    expect(first.epoch).not.toBe(before);
    for (const claim of captured) expect((await store.claim(claim)).outcome).toBe('uncertain');
    expect((await store.claim(claimOf(now, { epoch: first.epoch }))).outcome).toBe('claimed');
  });

  it('rejects within its timeout where Redis hangs, and works when it goes on', async () => {
    const { url, pid, admin } = await startOwn();
    const store = storeOn(url, { timeout: 0.5 });
    const now = await nowOf(admin);
    const epoch = await vi.waitFor(() => epochOf(store, now), { timeout: 10_000 });
    process.kill(pid, 'SIGSTOP');
    const waits = await Promise.all(
      Array.from({ length: 200 }, () => duration(store.claim(claimOf(now, { epoch })))),
    );
    expect(Math.max(...waits)).toBeLessThan(2_000);
    await expect(store.claim(claimOf(now, { epoch }))).rejects.toThrow();
    process.kill(pid, 'SIGCONT');
    const claim = claimOf(now, { epoch });
    await vi.waitFor(() => store.claim(claim), { timeout: 10_000 });
    expect((await store.claim(claim)).outcome).toBe('replayed');
  });

  it('gives a connection up that carries nothing any more', async () => {
    const { port, admin } = await startOwn();
    const proxy = await startProxy(port);
    const store = storeOn(`redis://127.0.0.1:${proxy.port}`, { timeout: 0.5 });
    const now = await nowOf(admin);
    const epoch = await vi.waitFor(() => epochOf(store, now), { timeout: 10_000 });
    proxy.mode = 'swallow';
    await expect(store.claim(claimOf(now, { epoch }))).rejects.toThrow();
    const back = await vi.waitFor(() => store.claim(claimOf(now, { epoch })), { timeout: 10_000 });
    expect(back).toEqual({ outcome: 'claimed', epoch });
  });

  it('never takes the first use of a nonce for a replay where a reply is lost, in 50 of 50', async () => {
    const { port, admin, url } = await startOwn();
    const proxy = await startProxy(port);
    const store = storeOn(`redis://127.0.0.1:${proxy.port}`);
    const other = storeOn(url);
    const now = await nowOf(admin);
    const epoch = await epochOf(store, now);
    for (let round = 1; round <= 50; round++) {
      proxy.mode = 'lose the next reply';
      const claim = claimOf(now, { epoch });
      await expect(store.claim(claim)).rejects.toThrow();
      expect(proxy.lost).toBe(round);
      // It was executed: its nonce is spent, whoever asks.
      expect((await other.claim(claim)).outcome).toBe('replayed');
      expect((await store.claim(claimOf(now, { epoch }))).outcome).toBe('claimed');
    }
  });

  it.each([
    ['an outcome that is none', list('maybe', 'e', '0', '9')],
    ['the answer to a watch', list('alive', 'e', '0', '9')],
    ['an outcome without an epoch', list('claimed')],
    ['an outcome without a tick', list('claimed', 'e', '0')],
    ['a tick that is none', list('claimed', 'e', '0', 'x')],
    ['an epoch that is none', `*4\r\n${bulk('claimed')}:1\r\n${bulk('0')}${bulk('9')}`],
    ['seconds that are none', list('uncertain', 'e', 'soon', '9')],
    ['that clocks are apart, by nobody knows what', list('apart', 'e', 'NaN', '9')],
    ['that it is a replica', list('replica', '', '0', '0')],
    ['that it hides what it is', list('hidden', '', '0', '0')],
    ['that nothing is born yet, again and again', list('pending', 'e', '0', '9')],
    ['an outcome in a list', `*4\r\n*1\r\n${bulk('claimed')}${bulk('e')}${bulk('0')}${bulk('9')}`],
    ['text', '+claimed\r\n'],
    ['a number', ':1\r\n'],
    ['nothing', '$-1\r\n'],
    ['an empty list', '*0\r\n'],
    ['what is not its protocol', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
    ['an error', '-ERR unknown command\r\n'],
    ['that it is loading', '-LOADING Redis is loading the dataset in memory\r\n'],
    ['that its cluster is down', '-CLUSTERDOWN Hash slot not served\r\n'],
    ['that its slot is elsewhere', '-MOVED 1 127.0.0.1:1\r\n'],
    ['that it is a replica without a master', '-MASTERDOWN Link with MASTER is down\r\n'],
    ['that it does not know the script, again and again', '-NOSCRIPT No matching script\r\n'],
  ])('rejects where Redis answers %s', async (_, reply) => {
    const port = await startFake(([name]) => (/^eval/i.test(name ?? '') ? reply : undefined));
    const store = storeOn(`redis://127.0.0.1:${port}`, { timeout: 0.5 });
    for (let claims = 0; claims < 3; claims++)
      await expect(store.claim(claimOf(0))).rejects.toThrow();
  });

  it.each([
    ['loads its data', '$9\r\nloading:1\r\n'],
    ['wants a password', '-NOAUTH Authentication required.\r\n'],
    ['says nothing', ''],
  ])('rejects where Redis %s when it is connected to', async (_, info) => {
    const port = await startFake(([name]) => (/^info$/i.test(name ?? '') ? info : undefined));
    const store = storeOn(`redis://127.0.0.1:${port}`, { timeout: 0.2 });
    expect(await duration(store.claim(claimOf(0)))).toBeLessThan(2_000);
    await expect(store.claim(claimOf(0))).rejects.toThrow();
  });

  it('rejects while Redis has no memory left, and works when it has', async () => {
    const { url, admin } = await startOwn();
    const store = storeOn(url);
    const now = await nowOf(admin);
    const epoch = await epochOf(store, now);
    const claim = claimOf(now, { epoch });
    await admin.config('SET', 'maxmemory', '1');
    await expect(store.claim(claim)).rejects.toThrow('OOM');
    await admin.config('SET', 'maxmemory', '0');
    expect(await store.claim(claim)).toEqual({ outcome: 'claimed', epoch });
  });

  it('rejects while Redis may not be written to, and works when it may', async () => {
    const { url, admin } = await startOwn();
    const store = storeOn(url, { timeout: 0.5 });
    const now = await nowOf(admin);
    const epoch = await vi.waitFor(() => epochOf(store, now), { timeout: 10_000 });
    const claim = claimOf(now, { epoch });
    await admin.replicaof('127.0.0.1', 1);
    await expect(store.claim(claim)).rejects.toThrow('is a replica');
    await admin.replicaof('NO', 'ONE');
    const back = await vi.waitFor(() => store.claim(claim), { timeout: 10_000 });
    // What it lacks of what its master had, nobody can tell.
    expect(back).toMatchObject({ outcome: 'uncertain' });
    expect(back.epoch).not.toBe(epoch);
    expect((await store.claim({ ...claim, epoch: back.epoch })).outcome).toBe('claimed');
  });

  it('rejects where Redis wants a password that the connection does not have', async () => {
    const { url, admin } = await startOwn();
    await admin.config('SET', 'requirepass', 'hunter2-hunter2');
    const store = storeOn(url, { timeout: 0.5 });
    await expect(store.claim(claimOf(0))).rejects.toThrow();
    const knowing = storeOn(url.replace('//', '//:hunter2-hunter2@'));
    expect((await knowing.claim(claimOf(0))).outcome).toBe('stale');
  });

  it('goes on where the script was flushed', async () => {
    const { url, admin } = await startOwn();
    const store = storeOn(url);
    const now = await nowOf(admin);
    const epoch = await epochOf(store, now);
    for (let flushes = 0; flushes < 3; flushes++) {
      await admin.script('FLUSH');
      const claim = claimOf(now, { epoch });
      expect((await store.claim(claim)).outcome).toBe('claimed');
      expect((await store.claim(claim)).outcome).toBe('replayed');
    }
  });

  it('refuses everything that was captured, also where only its epoch was removed', async () => {
    const { url, admin } = await startOwn();
    const store = storeOn(url);
    const now = await nowOf(admin);
    const epoch = await epochOf(store, now);
    const claim = claimOf(now, { epoch });
    await store.claim(claim);
    await admin.zpopmin('countersign:nonces:0');
    expect((await store.claim(claim)).outcome).toBe('uncertain');
    expect((await store.claim(claimOf(0))).epoch).not.toBe(epoch);
  });
});

describe('RedisNonceStore close()', () => {
  it('ends its own connection, and what is claimed then is rejected', async () => {
    const { url, admin } = await startOwn();
    const redis = connect(url);
    const store = new RedisNonceStore({ redis, timeout: PATIENT });
    await store.claim(claimOf(0));
    const connections = async () =>
      Number(/connected_clients:(\d+)/.exec(await admin.info('clients'))?.[1]);
    expect(await connections()).toBe(3);
    await store.close();
    await vi.waitFor(async () => expect(await connections()).toBe(2), { timeout: 10_000 });
    await expect(store.claim(claimOf(0))).rejects.toThrow('closed');
    await store.close();
    expect(await connections()).toBe(2);
    expect(await redis.ping()).toBe('PONG');
  });
});
