import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Redis, type RedisOptions } from 'ioredis';
import { afterEach, beforeEach, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { type RedisServer, startRedis } from '../../../../../test/support/redis.ts';
import { RedisNonceStore, type RedisNonceStoreOptions } from '../../../src/redis.ts';
import { bulk, startFake, startProxy } from '../../lib/redis/redis-faults.ts';
import { nonceBudgetContract } from '../nonce-budget-contract.ts';
import { claimOf, epochOf, nonceStoreContract } from '../nonce-store-contract.ts';

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

/** A list as Redis writes it. */
const list = (...items: (string | number)[]): string => {
  const written = items.map((it) => (typeof it === 'number' ? `:${it}\r\n` : bulk(it)));
  return `*${items.length}\r\n${written.join('')}`;
};

const printed = vi.spyOn(console, 'error');
beforeEach(() => void printed.mockClear());
// What ioredis prints of errors that nobody listens for.
afterEach(() => expect(printed.mock.calls).toEqual([]));

nonceStoreContract('RedisNonceStore', async () => {
  const url = inject('redisUrl');
  const prefix = newPrefix();
  const admin = connect(url);
  const slack = 0.2;
  const servers = [storeOn(url, { prefix, slack }), storeOn(url, { prefix, slack })] as const;
  const lose = async () => {
    await admin.del(...(await admin.keys(`${prefix}:*`)));
    return servers[0];
  };
  const until = async (time: number) => {
    while ((await seconds(admin)) < time) await sleep(20);
  };
  return { servers, now: () => seconds(admin), until, lose, slack };
});

nonceBudgetContract('RedisNonceStore', async (perSubject) => {
  const url = inject('redisUrl');
  const prefix = newPrefix();
  const admin = connect(url);
  const servers = [
    storeOn(url, { prefix, perSubject }),
    storeOn(url, { prefix, perSubject }),
  ] as const;
  const expire = async () => {
    const soon = (await seconds(admin)) + 40;
    for (const owner of await admin.keys(`${prefix}:*:*`))
      for (const end of await admin.hkeys(owner))
        if (Number(end) < soon) await admin.hdel(owner, end);
  };
  return { servers, now: () => seconds(admin), expire };
});

describe('RedisNonceStore budgets', () => {
  /**
   * Claims with one key until `refusals` were exhausted; gives how many were claimed, and the last
   * refusal.
   */
  async function exhaust(stores: readonly RedisNonceStore[], now: number) {
    const [store] = stores as [RedisNonceStore];
    const epoch = await epochOf(store, now);
    const refused: unknown[] = [];
    let claimed = 0;
    let made = 0;
    const work = async () => {
      while (refused.length < 50) {
        const answer = await (stores[made++ % stores.length] ?? store).claim(
          claimOf(now, { epoch }),
        );
        if (answer.outcome === 'claimed') claimed++;
        else refused.push(answer);
      }
    };
    await Promise.all(Array.from({ length: 8 }, work));
    return { claimed, last: refused.at(-1) };
  }

  it('hold for all servers together, but for a thousandth on each', async () => {
    const url = inject('redisUrl');
    const options = { prefix: newPrefix(), perSubject: 6_000 };
    const stores = [storeOn(url, options), storeOn(url, options), storeOn(url, options)];
    const { claimed, last } = await exhaust(stores, await nowOf(connect(url)));
    expect(last).toMatchObject({ outcome: 'exhausted', limit: 6_000 });
    expect(claimed).toBeGreaterThan(6_000 - 3 * 6);
    // Of each server less than a step is not counted yet, and eight claims are on their way.
    expect(claimed).toBeLessThan(6_000 + 3 * 6 + 8);
  });

  it('are smaller where Redis has little memory', async () => {
    const { url, admin } = await startOwn();
    await admin.config('SET', 'maxmemory', String(4 * 2 ** 20));
    const store = storeOn(url);
    await store.ready();
    const { claimed, last } = await exhaust([store], await nowOf(admin));
    const limit = Math.floor((4 * 2 ** 20) / 8 / 192);
    expect(last).toMatchObject({ outcome: 'exhausted', limit });
    // Eight claims are on their way.
    expect(claimed).toBeLessThan(limit + 2 + 8);
    expect(claimed).toBeGreaterThan(limit - 10);
    // Another has as much.
    const now = await nowOf(admin);
    const epoch = await epochOf(store, now, 'alice');
    expect((await store.claim(claimOf(now, { accessKeyId: 'alice', epoch }))).outcome).toBe(
      'claimed',
    );
  });

  it.each([
    ['requests', { acceptableUntil: 120 }],
    ['presigned URLs', { acceptableUntil: 3_600, presigned: true }],
  ])('remember %s that live for long, though the one after each is over soon', async (_, long) => {
    const url = inject('redisUrl');
    const admin = connect(url);
    const prefix = newPrefix();
    // Two at a time are counted.
    const store = storeOn(url, { prefix, perSubject: 2_000 });
    const now = await nowOf(admin);
    const epoch = await epochOf(store, now);
    const claim = (seconds: number) => {
      const signedAt = now + Math.min(seconds, 120) - 120;
      return store.claim(claimOf(signedAt, { ...long, epoch, acceptableUntil: now + seconds }));
    };
    for (let pairs = 0; pairs < 500; pairs++) {
      expect((await claim(long.acceptableUntil)).outcome).toBe('claimed');
      expect((await claim(20)).outcome).toBe('claimed');
    }
    let held = 0;
    for (const owner of await admin.keys(`${prefix}:*:*`))
      for (const [end, count] of Object.entries(await admin.hgetall(owner)))
        if (Number(end) > now + long.acceptableUntil) held += Number(count);
    expect(held).toBeGreaterThanOrEqual(500);
  });

  it('count a presigned URL that lives for long after a replay of one that is over soon', async () => {
    const url = inject('redisUrl');
    const admin = connect(url);
    const prefix = newPrefix();
    const store = storeOn(url, { prefix, perSubject: 3 });
    const now = await nowOf(admin);
    const epoch = await epochOf(store, now);
    const urlOf = (seconds: number) =>
      claimOf(now - 100, { epoch, presigned: true, acceptableUntil: now + seconds });
    const short = urlOf(20);
    expect((await store.claim(short)).outcome).toBe('claimed');
    for (let count = 0; count < 2; count++) {
      expect((await store.claim(short)).outcome).toBe('replayed');
      expect((await store.claim(urlOf(3_600))).outcome).toBe('claimed');
    }
    const [owner = ''] = await admin.keys(`${prefix}:presigned:*`);
    const counts = Object.entries(await admin.hgetall(owner));
    expect(counts.map(([end, held]) => [Number(end) > now + 60, held])).toEqual(
      expect.arrayContaining([
        [false, '1'],
        [true, '2'],
      ]),
    );
    expect((await store.claim(urlOf(3_600))).outcome).toBe('exhausted');
  });

  it('leave nothing behind in Redis of an owner whose nonces have expired', async () => {
    const { url, admin } = await startOwn();
    const store = storeOn(url, { perSubject: 3 });
    await exhaust([store], await nowOf(admin));
    const [owner = '', ...others] = await admin.keys('countersign:nonces:*:*');
    expect(others).toEqual([]);
    expect(owner).toMatch(/^countersign:nonces:requests:[\w-]{22}$/);
    const left = await admin.pttl(owner);
    expect(left).toBeGreaterThan(100_000);
    expect(left).toBeLessThanOrEqual(140_000);
  });
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
    expect(build({ waitForReplicas: -1 })).toThrow(RangeError);
    expect(build({ waitForReplicas: 0.5 })).toThrow(TypeError);
    expect(build({ perSubject: 0 })).toThrow(RangeError);
    expect(build({ slack: 0 })).toThrow(RangeError);
    expect(build({ slack: Number.NaN })).toThrow(TypeError);
    expect(build({ clock: 0 })).toThrow('a function that returns Unix seconds');
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
    const [state = ''] = await admin.zrange(KEY, '-1', '-1');
    return state.split(':')[0] as string;
  };

  it('begins when a server starts, before anybody calls', async () => {
    const { url, admin } = await startOwn();
    storeOn(url);
    expect(await born(admin)).toMatch(/^[\w-]{22}$/);
    expect(await admin.dbsize()).toBe(1);
  });

  it('X2: is one memory with servers of the version before: an update begins no epoch', async () => {
    const { url, admin } = await startOwn();
    const [, replid] = /master_replid:(\w+)/.exec(await admin.info('replication')) ?? [];
    const [epoch, birth] = ['AAAAAAAAAAAAAAAA000001', ((await seconds(admin)) - 60) * 1e6];
    await admin.zadd(KEY, 4e15 + birth, `${epoch}:${birth.toFixed()}:${replid}`);
    const store = storeOn(url);
    await store.ready();
    const claim = claimOf(await nowOf(admin));
    expect(await store.claim(claim)).toEqual({ outcome: 'claimed', epoch });
    expect(await store.claim(claim)).toEqual({ outcome: 'replayed', epoch });
    // What it begins itself the version before reads, too: by this pattern, or it would delete all.
    await admin.del(KEY);
    await born(admin);
    const [state] = await admin.zrange(KEY, '-1', '-1');
    expect(state).toMatch(/^[\w-]+:\w+:\w+$/);
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
    // Some at a time, so that nobody has to wait for all.
    await vi.waitFor(
      async () => {
        await store.claim(claimOf(0));
        // The nonce, those that live, the state, why it began, and the limits.
        expect(await admin.zcard(KEY)).toBe(1 + 100 + 1 + 1 + 1);
      },
      { timeout: 10_000 },
    );
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

  it('never takes the first use of a nonce for a replay where a reply is lost, in 500 of 500', async () => {
    const { port, admin, url } = await startOwn();
    // So much room that nothing is counted meanwhile: the reply that is lost is the claim's.
    const perSubject = 1_000_000_000;
    const other = storeOn(url, { perSubject });
    const now = await nowOf(admin);
    const epoch = await epochOf(other, now);
    // The store waits before it connects again: ten stores wait at the same time.
    const rounds = Array.from({ length: 10 }, async () => {
      const proxy = await startProxy(port);
      const store = storeOn(`redis://127.0.0.1:${proxy.port}`, { perSubject });
      await store.ready();
      for (let round = 1; round <= 50; round++) {
        proxy.mode = 'lose the next reply';
        const claim = claimOf(now, { epoch });
        await expect(store.claim(claim)).rejects.toThrow('Reached the max retries per request');
        expect(proxy.lost).toBe(round);
        // It was executed: its nonce is spent, whoever asks.
        expect((await other.claim(claim)).outcome).toBe('replayed');
        expect((await store.claim(claimOf(now, { epoch }))).outcome).toBe('claimed');
      }
    });
    await Promise.all(rounds);
  }, 180_000);

  it.each([
    ['an outcome that is none', list('maybe', 'e', 0, 9)],
    ['the answer to a watch', list('alive', 'e', 0, 9)],
    ['an outcome without an epoch', list('claimed')],
    ['an outcome without a tick', list('claimed', 'e', 0)],
    ['a tick that is none', list('claimed', 'e', 0, 'x')],
    ['an epoch that is none', list('claimed', 1, 0, 9)],
    ['seconds that are none', list('uncertain', 'e', 'soon', 9)],
    ['that clocks are apart, by nobody knows what', list('apart', 'e', 'NaN', 9)],
    ['that it is a replica', list('replica', '', 0, 0)],
    ['that it hides what it is', list('hidden', '', 0, 0)],
    ['that nothing is born yet, again and again', list('pending', 'e', 0, 9)],
    ['an outcome in a list', `*4\r\n*1\r\n${bulk('claimed')}${bulk('e')}:0\r\n:9\r\n`],
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
    await admin.zpopmax('countersign:nonces:0');
    expect((await store.claim(claim)).outcome).toBe('uncertain');
    expect((await store.claim(claimOf(0))).epoch).not.toBe(epoch);
  });
});

describe('RedisNonceStore ready()', () => {
  const info = (changes: Record<string, string | undefined>): string => {
    const fields: Record<string, string | undefined> = {
      redis_version: '7.0.15',
      role: 'master',
      connected_slaves: '0',
      master_replid: '8371445ee34de4be9b1cd2a72c5c1ad1cb1b7b0d',
      maxmemory_policy: 'noeviction',
      ...changes,
    };
    const lines = Object.entries(fields).filter(([, value]) => value !== undefined);
    return bulk(lines.map(([name, value]) => `${name}:${value}`).join('\r\n'));
  };
  const storeThatIsTold = async (answer: string): Promise<RedisNonceStore> => {
    const port = await startFake(([name = '']) => {
      if (/^info$/i.test(name)) return answer;
      return /^eval/i.test(name) ? list('alive', 'e', 0, 9) : undefined;
    });
    return storeOn(`redis://127.0.0.1:${port}`);
  };
  const warnings: (Error & { code?: string })[] = [];
  const note = (warning: Error): void => void warnings.push(warning);
  beforeEach(() => {
    warnings.length = 0;
    process.on('warning', note);
  });
  afterEach(() => void process.off('warning', note));

  it('waits until Redis is connected to, tested, and has been asked', async () => {
    const { url, admin } = await startOwn();
    await storeOn(url).ready();
    expect(await admin.exists('countersign:nonces:0')).toBe(1);
  });

  it.each<[string, Record<string, string>]>([
    ['Redis 6.2', { redis_version: '6.2.0' }],
    ['Redis 8', { redis_version: '8.4.0' }],
    ['Valkey', { redis_version: '7.2.4', server_name: 'valkey', valkey_version: '8.1.1' }],
    ...['lru', 'lfu', 'random', 'ttl'].map((how): [string, Record<string, string>] => [
      `volatile-${how}`,
      { maxmemory_policy: `volatile-${how}` },
    ]),
  ])('takes %s', async (_, changes) => {
    await (await storeThatIsTold(info(changes))).ready();
    expect(warnings).toEqual([]);
  });

  it.each<[string, Record<string, string | undefined>, string]>([
    ['is older than 6.2', { redis_version: '6.0.16' }, 'it is version 6.0.16: at least 6.2'],
    ['is older than 6', { redis_version: '5.9.9' }, 'it is version 5.9.9: at least 6.2'],
    ['is of no version', { redis_version: 'new' }, 'it is version new: at least 6.2'],
    ['does not tell its version', { redis_version: undefined }, 'does not tell "redis_version"'],
    ['is a replica', { role: 'slave' }, 'its role is "slave": connect to the master'],
    ['does not tell its role', { role: undefined }, 'INFO does not tell "role"'],
    ['does not tell who it is', { master_replid: undefined }, 'does not tell "master_replid"'],
    ['hides its policy', { maxmemory_policy: undefined }, 'does not tell "maxmemory_policy"'],
    ...['lru', 'lfu', 'random'].map((how): [string, Record<string, string>, string] => [
      `forgets by allkeys-${how}`,
      { maxmemory_policy: `allkeys-${how}` },
      `its maxmemory-policy is "allkeys-${how}", with which it forgets what it must keep: set it to noeviction`,
    ]),
  ])(
    'says what is wrong where Redis %s, warns of it once, and claims nothing',
    async (_, changes, message) => {
      const store = await storeThatIsTold(info(changes));
      await expect(store.ready()).rejects.toThrow(message);
      await expect(store.claim(claimOf(0))).rejects.toThrow(message);
      await expect(store.ready()).rejects.toThrow(message);
      await vi.waitFor(() => expect(warnings).toHaveLength(1));
      expect(warnings[0]).toMatchObject({ code: 'COUNTERSIGN_NONCE_STORE_UNFIT' });
      expect(warnings[0]?.message).toContain('Redis is not fit for nonces');
    },
  );

  it('says that INFO is forbidden, and works once it is not', async () => {
    const { url, admin } = await startOwn();
    await admin.acl('SETUSER', 'default', '-info');
    // Of its own readiness check ioredis says so by itself.
    printed.mockImplementation(() => undefined);
    const warned = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const store = storeOn(url, { timeout: 0.5 });
    await expect(store.ready()).rejects.toThrow('run ACL SETUSER default +info');
    await expect(store.claim(claimOf(0))).rejects.toThrow('run ACL SETUSER default +info');
    expect(warned).toHaveBeenCalled();
    warned.mockRestore();
    await admin.acl('SETUSER', 'default', '+info');
    await vi.waitFor(() => store.ready(), { timeout: 10_000 });
    expect((await store.claim(claimOf(0))).outcome).toBe('stale');
  });

  it('finds that a policy was mended, by itself', async () => {
    const { url, admin } = await startOwn();
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const store = storeOn(url);
    await expect(store.ready()).rejects.toThrow('allkeys-lru');
    await admin.config('SET', 'maxmemory-policy', 'noeviction');
    await vi.waitFor(() => store.ready(), { timeout: 10_000 });
  });

  it.each([
    [-3, '3.0 s ahead of'],
    [-600, '600.0 s ahead of'],
    [2, '2.0 s behind'],
    [600, '600.0 s behind'],
  ])('says by how much clocks are apart: %d s', async (offset, how) => {
    const { url, admin } = await startOwn();
    const store = storeOn(url, { timeout: 0.5, clock: () => Date.now() / 1000 + offset });
    const error = await store.ready().then(
      () => new Error('ready'),
      (reason: Error) => reason,
    );
    // A call takes its time.
    const apart = /is (\d+\.\d) s (ahead of|behind)/.exec(error.message) ?? [];
    expect(Math.abs(Number(apart[1]) - Number.parseFloat(how))).toBeLessThan(0.5);
    expect(how).toContain(apart[2]);
    await expect(store.claim(claimOf(await nowOf(admin)))).rejects.toThrow('set the clocks right');
    expect(await admin.dbsize()).toBe(0);
  });

  it('fails within its time where nobody answers', async () => {
    const store = storeOn('redis://127.0.0.1:1', { timeout: 0.1 });
    expect(await duration(store.ready(0.1))).toBeLessThan(2_000);
    await expect(store.ready(0.1)).rejects.toThrow(/ECONNREFUSED|did not answer within 100 ms/);
  });
});

describe('RedisNonceStore in a process that was held up', () => {
  it('takes the answers that came meanwhile', async () => {
    const { url, admin } = await startOwn();
    const store = storeOn(url, { timeout: 0.4 });
    const now = await nowOf(admin);
    const epoch = await vi.waitFor(() => epochOf(store, now), { timeout: 10_000 });
    const claims = Array.from({ length: 20 }, () => store.claim(claimOf(now, { epoch })));
    // Sent, and then nothing is read for longer than anybody waits.
    await new Promise((resolve) => setImmediate(resolve));
    const until = performance.now() + 450;
    while (performance.now() < until);
    for (const answer of await Promise.all(claims)) expect(answer.outcome).toBe('claimed');
  });
});

describe('RedisNonceStore circuit', () => {
  it('asks a Redis that is dead for nothing, and is back by itself', async () => {
    const { url, pid, admin } = await startOwn();
    const store = storeOn(url, { timeout: 0.2 });
    const now = await nowOf(admin);
    const epoch = await vi.waitFor(() => epochOf(store, now), { timeout: 10_000 });
    process.kill(pid, 'SIGSTOP');
    for (let claims = 0; claims < 3; claims++)
      await expect(store.claim(claimOf(now, { epoch }))).rejects.toThrow();
    // From now on nobody waits. A second's worth of claims takes as long as one.
    const spent = await duration(
      Promise.all(
        Array.from({ length: 1_000 }, () =>
          expect(store.claim(claimOf(now, { epoch }))).rejects.toThrow(
            'Claims fail at once until Redis answers again. Last error: ',
          ),
        ),
      ),
    );
    expect(spent).toBeLessThan(1_000);
    process.kill(pid, 'SIGCONT');
    const claim = claimOf(now, { epoch });
    expect(await vi.waitFor(() => store.claim(claim), { timeout: 10_000 })).toEqual({
      outcome: 'claimed',
      epoch,
    });
  });
});

describe('RedisNonceStore and replicas', () => {
  async function startPair() {
    const [master, replica] = [await startOwn(), await startOwn()];
    await master.admin.config('SET', 'repl-diskless-sync-delay', '0');
    await replica.admin.replicaof('127.0.0.1', master.port);
    // Online is not enough: it is in step when it acknowledges.
    await vi.waitFor(
      async () => {
        await master.admin.set('written', 'before');
        expect(await master.admin.wait(1, 200)).toBe(1);
      },
      { timeout: 10_000 },
    );
    return { master, replica };
  }
  /** Until the first epoch is confirmed. */
  const bornEpoch = async (store: RedisNonceStore, now: number): Promise<string> =>
    vi.waitFor(() => epochOf(store, now), { timeout: 10_000 });

  it('claims what a replica has, without being told that there is one', async () => {
    const { master, replica } = await startPair();
    const store = storeOn(master.url, { timeout: 2 });
    const now = await nowOf(master.admin);
    const epoch = await bornEpoch(store, now);
    for (let claims = 0; claims < 20; claims++) {
      const claim = claimOf(now, { epoch });
      expect(await store.claim(claim)).toEqual({ outcome: 'claimed', epoch });
      expect(await replica.admin.zcard('countersign:nonces:0')).toBe(claims + 5);
      expect(await store.claim(claim)).toEqual({ outcome: 'replayed', epoch });
    }
  });

  it('claims nothing that no replica has, and begins anew once one is back', async () => {
    const { master, replica } = await startPair();
    const store = storeOn(master.url, { timeout: 0.5, waitForReplicas: 1, slack: 0.2 });
    const now = await nowOf(master.admin);
    const epoch = await bornEpoch(store, now);
    const captured = claimOf(now, { epoch });
    expect((await store.claim(captured)).outcome).toBe('claimed');

    await replica.admin.replicaof('NO', 'ONE');
    for (let claims = 0; claims < 5; claims++)
      await expect(store.claim(claimOf(now, { epoch }))).rejects.toThrow();
    // Longer than the lease: another master may have had the replica meanwhile.
    await sleep(400);
    await replica.admin.replicaof('127.0.0.1', master.port);
    const back = await vi.waitFor(() => store.claim(claimOf(now, { epoch })), { timeout: 10_000 });
    expect(back.outcome).toBe('uncertain');
    expect(back.epoch).not.toBe(epoch);
    expect((await store.claim(captured)).outcome).toBe('replayed');
    const again = claimOf(now, { epoch: back.epoch });
    expect(await store.claim(again)).toEqual({ outcome: 'claimed', epoch: back.epoch });
  });

  it('waits for replicas that came later, too', async () => {
    const [master, replica] = [await startOwn(), await startOwn()];
    await master.admin.config('SET', 'repl-diskless-sync-delay', '0');
    const store = storeOn(master.url, { timeout: 0.5 });
    await store.ready();
    await replica.admin.replicaof('127.0.0.1', master.port);
    const now = await nowOf(master.admin);
    // With nobody to acknowledge them, claims are rejected: it has seen that there was somebody.
    await vi.waitFor(
      async () => {
        expect((await master.admin.zrange('countersign:nonces:0', '-2', '-2'))[0]).toBe('acked');
      },
      { timeout: 10_000 },
    );
    await replica.admin.replicaof('NO', 'ONE');
    await expect(store.claim(claimOf(now))).rejects.toThrow();
  });

  it('asks for more replicas than there are in vain', async () => {
    const { master } = await startPair();
    const store = storeOn(master.url, { timeout: 3, waitForReplicas: 2 });
    await expect(store.claim(claimOf(0))).rejects.toThrow(
      '1 replica of Redis acknowledged the claim; 2 are required',
    );
  });

  it('claims nothing where it may not ask for replicas, and says why', async () => {
    const { master } = await startPair();
    await master.admin.acl('SETUSER', 'app', 'on', '>pw', '~*', '&*', '+@all', '-wait');
    const store = storeOn(master.url.replace('//', '//app:pw@'), { waitForReplicas: 1 });
    await expect(store.claim(claimOf(0))).rejects.toThrow(
      'Redis is not fit for nonces: the rule of its user "app" lacks +wait',
    );
  });

  it('waits for none where it is told so, also for what began by waiting', async () => {
    const { master, replica } = await startPair();
    const waiting = storeOn(master.url, { timeout: 0.5, waitForReplicas: 1 });
    await replica.admin.replicaof('NO', 'ONE');
    await expect(waiting.claim(claimOf(0))).rejects.toThrow();
    await waiting.close();
    const store = storeOn(master.url, { waitForReplicas: 0 });
    const now = await nowOf(master.admin);
    const { epoch } = await store.claim(claimOf(now));
    expect((await store.claim(claimOf(now, { epoch }))).outcome).toBe('claimed');
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
