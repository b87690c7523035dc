import { inspect } from 'node:util';
import { Redis, type RedisOptions } from 'ioredis';
import { afterEach, beforeEach, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { type RedisServer, startRedis } from '../../../test/support/redis.ts';
import { RedisNonceStore, type RedisNonceStoreOptions } from '../src/redis.ts';
import { claimOf, epochOf, nonceStoreContract } from './nonce-store-contract.ts';
import { startFake, startProxy } from './redis-faults.ts';

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
  return { servers, now: () => seconds(admin), lose };
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
      commandTimeout: 500,
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
    await redis.del(
      ...Array.from({ length: 64 }, (_, partition) => `countersign:nonces:${partition}`),
    );
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

describe('RedisNonceStore partitions', () => {
  const epochsOf = async (admin: Redis): Promise<Record<string, string | undefined>> => {
    const entries = (await admin.keys('countersign:nonces:*')).toSorted().map(async (key) => {
      const [last] = await admin.zrange(key, '-1', '-1');
      return [key, last] as const;
    });
    return Object.fromEntries(await Promise.all(entries));
  };
  const allBorn = (admin: Redis) =>
    vi.waitFor(async () => expect(await admin.dbsize()).toBe(64), { timeout: 10_000 });

  it('are born together when a server starts, before anybody calls', async () => {
    const { url, admin } = await startOwn();
    storeOn(url);
    await allBorn(admin);
    const births = Object.values(await epochsOf(admin)).map(
      (last = '') => /^epoch:([\w-]{22}):([\d.]+)$/.exec(last) ?? [],
    );
    expect(new Set(births.map(([, epoch]) => epoch)).size).toBe(64);
    const times = births.map(([, , birth]) => Number(birth));
    expect(Math.max(...times) - Math.min(...times)).toBeLessThan(1);
  });

  it('stay as they are when another server starts', async () => {
    const { url, admin } = await startOwn();
    const first = storeOn(url);
    await allBorn(admin);
    const before = await epochsOf(admin);
    const now = await nowOf(admin);
    const claim = claimOf(now, { epoch: await epochOf(first, now) });
    expect((await first.claim(claim)).outcome).toBe('claimed');

    const second = storeOn(url);
    expect((await second.claim(claim)).outcome).toBe('replayed');
    // In the order in which they were sent, so that those before it were answered.
    expect(await epochsOf(admin)).toEqual(before);
  });

  it('are born anew together once one of them is found to have lost its memory', async () => {
    const { url, admin } = await startOwn();
    const store = storeOn(url);
    await allBorn(admin);
    const before = await epochsOf(admin);
    await admin.flushall();
    await store.claim(claimOf(0));
    await allBorn(admin);
    const after = await epochsOf(admin);
    for (const [key, last] of Object.entries(before)) expect(after[key]).not.toBe(last);
  });

  it('fail alone: one that cannot be used does not stop the others', async () => {
    const { url, admin } = await startOwn();
    const other = claimOf(await nowOf(admin), { accessKeyId: 'CSAK1' });
    const scout = storeOn(url);
    await scout.claim(other);
    await allBorn(admin);
    const epochs = await epochsOf(admin);
    const { epoch } = await scout.claim(claimOf(0));
    const key = Object.keys(epochs).find((name) => epochs[name]?.includes(epoch)) as string;
    await admin.set(key, 'not a sorted set');

    const store = storeOn(url);
    await expect(store.claim(claimOf(0))).rejects.toThrow('WRONGTYPE');
    const { epoch: echoed } = await store.claim(other);
    expect((await store.claim({ ...other, epoch: echoed })).outcome).toBe('claimed');
    await expect(store.claim(claimOf(0))).rejects.toThrow('WRONGTYPE');
    await admin.del(key);
    expect((await store.claim(claimOf(0))).outcome).toBe('stale');
  });

  it('hold no more than live nonces', async () => {
    const redis = connect(inject('redisUrl'));
    const prefix = newPrefix();
    const store = storeOn(inject('redisUrl'), { prefix });
    const now = await nowOf(redis);
    const epoch = await epochOf(store, now);
    await store.claim(claimOf(now, { epoch }));
    const sizes = async () => {
      const keys = await redis.keys(`${prefix}:*`);
      return Promise.all(keys.map((key) => redis.zcard(key)));
    };
    const [key] = (
      await Promise.all(
        (
          await redis.keys(`${prefix}:*`)
        ).map(async (name) => [name, await redis.zcard(name)] as const),
      )
    )
      .filter(([, size]) => size > 1)
      .map(([name]) => name);
    // As they are once time has passed: of nonces that can be forgotten, and of those that cannot.
    const expired = Array.from({ length: 2_500 }, (_, index) => [
      now - 3 - index,
      `expired-${index}`,
    ]);
    const live = Array.from({ length: 100 }, (_, index) => [now + 5 + index, `live-${index}`]);
    await redis.zadd(key as string, ...[...expired, ...live].flat().map(String));
    for (let claims = 0; claims < 3; claims++) await store.claim(claimOf(now, { epoch }));
    expect(await redis.zcard(key as string)).toBe(1 + 100 + 1 + 3);
    expect(Math.max(...(await sizes()))).toBe(1 + 100 + 1 + 3);
    expect(
      (await redis.zrange(key as string, '0', '-1')).filter((name) => name.startsWith('expired')),
    ).toEqual([]);
  });

  it('remember a nonce until its request is stale by a second and more, also one dated ahead', async () => {
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
    ['an outcome that is none', '*3\r\n$5\r\nmaybe\r\n$1\r\ne\r\n:0\r\n'],
    ['the answer to a birth', '*3\r\n$4\r\nborn\r\n$1\r\ne\r\n:0\r\n'],
    ['an outcome without an epoch', '*1\r\n$7\r\nclaimed\r\n'],
    ['an epoch that is none', '*3\r\n$7\r\nclaimed\r\n:1\r\n:0\r\n'],
    ['an outcome in a list', '*3\r\n*1\r\n$7\r\nclaimed\r\n$1\r\ne\r\n:0\r\n'],
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
    await expect(store.claim(claim)).rejects.toThrow('READONLY');
    await admin.replicaof('NO', 'ONE');
    const back = await vi.waitFor(() => store.claim(claim), { timeout: 10_000 });
    expect(back).toEqual({ outcome: 'claimed', epoch });
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

  it('refuses everything that was captured, also where only the epoch was removed', async () => {
    const { url, admin } = await startOwn();
    const store = storeOn(url);
    const now = await nowOf(admin);
    const epoch = await epochOf(store, now);
    const claim = claimOf(now, { epoch });
    await store.claim(claim);
    for (const key of await admin.keys('*')) await admin.zpopmax(key);
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
