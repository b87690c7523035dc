import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  generateMasterKey,
  type NonceClaim,
  type OperatorWarning,
  type WarningCode,
} from '@countersign/server';
import { BullmqCallbackQueue } from '@countersign/server/bullmq';
import { RedisKeyStore, RedisNonceStore, RedisOnceStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { until } from '../../../../../test/support/deadline.ts';
import { type RedisServer, startRedis } from '../../../../../test/support/redis.ts';

import { OperatorWarnings } from '../../../src/lib/operator-warning.ts';
import { CheckedRedis } from '../../../src/lib/redis/checked-redis.ts';

const masterKey = generateMasterKey();

function connect(url: string): Redis {
  const redis = new Redis(url);
  redis.on('error', () => undefined);
  onTestFinished(() => redis.disconnect());
  return redis;
}

/** A Redis that a test stops and starts again where it was. */
async function startOwn(args: string[] = []) {
  const running = { server: await startRedis({ args }) };
  onTestFinished(() => running.server.stop());
  const { port, url } = running.server;
  return {
    url,
    admin: connect(url),
    stop: () => running.server.stop(),
    start: async (more: string[] = args): Promise<RedisServer> => {
      running.server = await startRedis({ port, args: more });
      return running.server;
    },
    signal: (name: 'SIGSTOP' | 'SIGCONT') => process.kill(running.server.pid, name),
  };
}

/** Moves the clock that no administrator sets. */
function movedClock(): (seconds: number) => void {
  const real = performance.now.bind(performance);
  let ahead = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => real() + ahead);
  return (seconds) => {
    ahead += seconds * 1000;
  };
}

afterEach(() => void vi.restoreAllMocks());

/** What a store told, and how to wait for it. */
function hook() {
  const told: OperatorWarning[] = [];
  const of = (code: WarningCode) => told.filter((it) => it.code === code);
  return {
    told,
    of,
    onWarning: (warning: OperatorWarning) => void told.push(warning),
    come: (code: WarningCode, count: number) =>
      until(() => of(code).length >= count, `${code} did not come ${count} times`),
  };
}

let claims = 0;
function claimOf(changes: Partial<NonceClaim> = {}): NonceClaim {
  const now = Date.now() / 1000;
  return {
    accessKeyId: 'CSAK1',
    audience: 'video-api',
    nonce: String(++claims).padStart(22, 'n'),
    signedAt: now,
    acceptableFrom: now - 5,
    acceptableUntil: now + 120,
    ...changes,
  };
}

interface Opened {
  readonly ready: () => Promise<unknown>;
  /** Rejects if Redis cannot be relied on. */
  readonly ask: () => Promise<unknown>;
}

type Open = (redis: Redis, onWarning: (warning: OperatorWarning) => void) => Opened;

const STORES: [name: string, open: Open][] = [
  [
    'NONCE_STORE',
    (redis, onWarning) => {
      const store = new RedisNonceStore({ redis, onWarning });
      onTestFinished(() => store.close());
      return { ready: () => store.ready(), ask: () => store.claim(claimOf()) };
    },
  ],
  [
    'KEY_STORE',
    (redis, onWarning) => {
      const store = new RedisKeyStore({ redis, masterKey, onWarning });
      onTestFinished(() => store.close());
      const ask = async () => {
        // The first key makes the store.
        await store.ready(0.3);
        return store.create();
      };
      return { ready: () => store.ready(), ask };
    },
  ],
  [
    'ONCE_STORE',
    (redis, onWarning) => {
      const store = new RedisOnceStore({ redis, onWarning });
      onTestFinished(() => store.close());
      const ask = () => store.begin(randomBytes(16).toString('base64url'), 'token', 60);
      return { ready: () => store.ready(), ask };
    },
  ],
  [
    'CALLBACK_QUEUE',
    (redis, onWarning) => {
      const queue = new BullmqCallbackQueue({ redis, timeout: 0.5, onWarning });
      onTestFinished(() => queue.close());
      const callback = { contentType: 'application/json', body: new Uint8Array(), createdAt: 0 };
      const ask = () => {
        const id = randomBytes(16).toString('base64url');
        return queue.add({ ...callback, id, endpointId: 'alice', eventId: id });
      };
      return { ready: () => queue.ready(), ask };
    },
  ],
];

/** Many requests at once, and then one more, whatever becomes of them. */
async function askOften(ask: () => Promise<unknown>, times = 5): Promise<void> {
  await Promise.allSettled(Array.from({ length: times - 1 }, ask));
  await ask().catch(() => undefined);
}

describe.each(STORES)('of %s', (store, open) => {
  const UNFIT = `COUNTERSIGN_${store}_UNFIT` as WarningCode;
  const UNREACHABLE = `COUNTERSIGN_${store}_UNREACHABLE` as WarningCode;

  it('an unfit Redis is reported once, and again after it was fit', async () => {
    const move = movedClock();
    const { url, admin } = await startOwn();
    const { of, come, onWarning } = hook();
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const { ask, ready } = open(connect(url), onWarning);
    await come(UNFIT, 1);
    await askOften(ask);
    expect(of(UNFIT)).toEqual([
      { code: UNFIT, message: expect.stringContaining('its maxmemory-policy is "allkeys-lru"') },
    ]);
    await admin.config('SET', 'maxmemory-policy', 'noeviction');
    await until(
      () =>
        ready().then(
          () => true,
          () => false,
        ),
      'the store is not ready',
    );
    move(61);
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lfu');
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await come(UNFIT, 2);
    await askOften(ask);
    expect(of(UNFIT)).toHaveLength(2);
  });

  it('a Redis that is stopped is reported once without a request, and again', async () => {
    const move = movedClock();
    const { url, stop, start } = await startOwn();
    const { of, come, told, onWarning } = hook();
    const { ask, ready } = open(connect(url), onWarning);
    await ready();
    await stop();
    await come(UNREACHABLE, 1);
    await askOften(ask);
    expect(of(UNREACHABLE)).toHaveLength(1);
    expect(of(UNREACHABLE)[0]?.message).toContain('connect ECONNREFUSED 127.0.0.1:');
    await start();
    await until(
      () =>
        ask().then(
          () => true,
          () => false,
        ),
      'the store did not come back',
    );
    move(61);
    await stop();
    await come(UNREACHABLE, 2);
    await askOften(ask);
    expect(of(UNREACHABLE)).toHaveLength(2);
    expect(told.filter(({ code }) => code.endsWith('_FAILED'))).toEqual([]);
  });

  it('a Redis that was never there is reported', async () => {
    const { of, come, onWarning } = hook();
    open(connect('redis://127.0.0.1:1'), onWarning);
    await come(UNREACHABLE, 1);
    expect(of(UNREACHABLE)).toMatchObject([{ cause: 'connect ECONNREFUSED 127.0.0.1:1' }]);
  });

  it('a Redis that hangs is reported once, as one that gives no answer', async () => {
    const { url, signal } = await startOwn();
    const { of, come, told, onWarning } = hook();
    const { ask, ready } = open(connect(url), onWarning);
    await ready();
    signal('SIGSTOP');
    // What is sent over a connection that carries nothing any more tells that it does not.
    await askOften(ask, 8);
    await come(UNREACHABLE, 1);
    await askOften(ask, 2);
    expect(of(UNREACHABLE)).toMatchObject([{ cause: 'no answer' }]);
    expect(told.filter(({ code }) => code.endsWith('_FAILED'))).toEqual([]);
    signal('SIGCONT');
    await until(
      () =>
        ask().then(
          () => true,
          () => false,
        ),
      'the store did not come back',
    );
  });

  it('a wrong password is reported once, and not shown', async () => {
    const { url, admin } = await startOwn();
    await admin.config('SET', 'requirepass', 'right');
    const { of, come, told, onWarning } = hook();
    const { ask } = open(connect(url.replace('//', '//:hunter2@')), onWarning);
    await come(UNREACHABLE, 1);
    await askOften(ask);
    expect(of(UNREACHABLE)).toHaveLength(1);
    expect(of(UNREACHABLE)[0]?.message).toContain('WRONGPASS');
    expect(JSON.stringify(told)).not.toContain('hunter2');
  });

  it('a connection that is made again at once is not reported', async () => {
    const { url, admin } = await startOwn();
    const { told, onWarning } = hook();
    const { ask, ready } = open(connect(url), onWarning);
    await ready();
    for (let times = 0; times < 3; times++) {
      await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await until(
        () =>
          ask().then(
            () => true,
            () => false,
          ),
        'the store did not come back',
      );
    }
    expect(told.filter(({ code }) => code !== 'COUNTERSIGN_NONCE_EPOCH')).toEqual([]);
  });

  it('nothing is reported once it is closed', async () => {
    const { url, stop } = await startOwn();
    const { told, onWarning } = hook();
    const { ready, ask } = open(connect(url), onWarning);
    await ready();
    const before = told.length;
    await stop();
    await askOften(ask, 1);
    expect(told.length).toBe(before);
  });
});

it('a connection that stays and carries nothing is reported, though nobody asks again', async () => {
  const { url, signal } = await startOwn();
  const { of, come, onWarning } = hook();
  const tested = new CheckedRedis(connect(url).duplicate({ commandTimeout: 200 }), {
    what: 'tests',
    store: 'ONCE_STORE',
    warnings: new OperatorWarnings(onWarning),
    consequence: 'Tests fail',
    timeout: 200,
    testEvery: 3_600_000,
    permissions: async () => undefined,
  });
  onTestFinished(() => tested.close());
  await tested.ready(10);
  signal('SIGSTOP');
  tested.doubt();
  await come('COUNTERSIGN_ONCE_STORE_UNREACHABLE', 1);
  expect(of('COUNTERSIGN_ONCE_STORE_UNREACHABLE')).toMatchObject([
    { message: expect.stringContaining('Cannot reach Redis for tests'), cause: 'no answer' },
  ]);
  signal('SIGCONT');
  await until(() => tested.isFit, 'Redis was not found to be back');
});

describe('RedisNonceStore', () => {
  const EPOCH = 'COUNTERSIGN_NONCE_EPOCH';

  async function begin(args: string[] = [], options = {}) {
    const own = await startOwn(args);
    const [first, second] = [hook(), hook()];
    const storeOf = (onWarning: (warning: OperatorWarning) => void, more = {}) => {
      const store = new RedisNonceStore({
        redis: connect(own.url),
        onWarning,
        ...options,
        ...more,
      });
      onTestFinished(() => store.close());
      return store;
    };
    const one = storeOf(first.onWarning);
    await one.ready();
    const other = storeOf(second.onWarning);
    await other.ready();
    const claimed = async () => (await one.claim(claimOf())).epoch;
    return { ...own, one, other, first, second, storeOf, claimed };
  }

  it('a new Redis is reported by the server that began the epoch, and by no other', async () => {
    const move = movedClock();
    const { first, second, one, other } = await begin();
    const { epoch } = await one.claim(claimOf());
    await other.claim(claimOf());
    move(61);
    // Each is told again why the epoch began, which is no news.
    await Promise.all([one.ready(), other.ready()]);
    expect(first.of(EPOCH)).toEqual([
      {
        code: EPOCH,
        message: expect.stringContaining('That is expected of a new Redis'),
        cause: 'empty',
        epoch,
      },
    ]);
    expect(second.told).toEqual([]);
  });

  it.each(['a flush', 'a restart without data'])('%s is reported by all, once', async (how) => {
    const { first, second, admin, stop, start, claimed, other } = await begin();
    const before = await claimed();
    if (how === 'a flush') await admin.flushall();
    else {
      await stop();
      await start();
    }
    await Promise.all([first.come(EPOCH, 2), second.come(EPOCH, 1)]);
    await until(
      () =>
        claimed().then(
          (it) => it !== before,
          () => false,
        ),
      'no new epoch came',
    );
    const epoch = await claimed();
    for (let times = 0; times < 5; times++) await other.claim(claimOf());
    const lost = { cause: 'lost', epoch, message: expect.stringContaining('replay-unknown') };
    expect(first.of(EPOCH).slice(1)).toMatchObject([lost]);
    expect(second.of(EPOCH)).toMatchObject([lost]);
  });

  it('a second flush is reported, too', async () => {
    const move = movedClock();
    const { second, admin } = await begin();
    await admin.flushall();
    await second.come(EPOCH, 1);
    move(61);
    await admin.flushall();
    await second.come(EPOCH, 2);
    expect(second.of(EPOCH).map(({ cause }) => cause)).toEqual(['lost', 'lost']);
    expect(new Set(second.of(EPOCH).map(({ epoch }) => epoch)).size).toBe(2);
  });

  it('a restart with its data is reported by all', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'countersign-warnings-'));
    onTestFinished(() => rm(dir, { recursive: true, force: true }));
    const keeps = ['--dir', dir, '--appendonly', 'yes', '--appendfsync', 'always'];
    const { first, second, stop, start, claimed } = await begin(keeps);
    await claimed();
    await stop();
    await start();
    await Promise.all([first.come(EPOCH, 2), second.come(EPOCH, 1)]);
    expect(first.of(EPOCH)[1]).toMatchObject({ cause: 'restarted' });
    expect(second.of(EPOCH)).toMatchObject([{ cause: 'restarted' }]);
  });

  it('a promotion is reported by all', async () => {
    const { first, second, admin, claimed } = await begin(['--enable-debug-command', 'yes']);
    await claimed();
    await admin.call('DEBUG', 'CHANGE-REPL-ID');
    await Promise.all([first.come(EPOCH, 2), second.come(EPOCH, 1)]);
    expect(second.of(EPOCH)).toMatchObject([{ cause: 'restarted' }]);
  });

  it('replicas that are not there are reported, as claims that are refused', async () => {
    const { url } = await startOwn();
    const { of, come, onWarning } = hook();
    const store = new RedisNonceStore({ redis: connect(url), waitForReplicas: 1, onWarning });
    onTestFinished(() => store.close());
    await come('COUNTERSIGN_NONCE_STORE_FAILED', 1);
    await askOften(() => store.claim(claimOf()));
    const message = expect.stringContaining('0 replicas of Redis acknowledged');
    expect(of('COUNTERSIGN_NONCE_STORE_FAILED')).toMatchObject([{ message }]);
  });

  it('an older state in place is reported as rolled back', async () => {
    const { second, admin, one } = await begin();
    await one.claim(claimOf());
    const key = 'countersign:nonces:0';
    const copy = (await admin.dumpBuffer(key)) as Buffer;
    const { tick } = { tick: await admin.zrange(key, '-1', '-1', 'WITHSCORES') };
    // Both servers have heard of a later tick.
    const later = async () =>
      Number((await admin.zrange(key, '-1', '-1', 'WITHSCORES'))[1]) > Number(tick[1]) + 2e6;
    await until(later, 'the tick did not go on');
    await admin.restore(key, 0, copy, 'REPLACE');
    await second.come(EPOCH, 1);
    expect(second.of(EPOCH)).toMatchObject([{ cause: 'rolled-back' }]);
  });

  it('a wider window is reported', async () => {
    const { first, second, one } = await begin();
    await one.claim(claimOf());
    const now = Date.now() / 1000;
    await one.claim(claimOf({ acceptableUntil: now + 600 }));
    await second.come(EPOCH, 1);
    expect(first.of(EPOCH)[1]).toMatchObject({ cause: 'wider-window' });
    expect(second.of(EPOCH)).toMatchObject([{ cause: 'wider-window' }]);
  });

  it.each([
    [10, 'behind'],
    [-10, 'ahead'],
  ])('clocks that are apart by %d s are reported once, and again', async (by, cause) => {
    const move = movedClock();
    let apart = by;
    const clock = () => Date.now() / 1000 + apart;
    const { storeOf } = await begin();
    const { of, come, onWarning } = hook();
    const store = storeOf(onWarning, { clock });
    await come('COUNTERSIGN_CLOCKS_APART', 1);
    await askOften(() => store.claim(claimOf()));
    const [warning] = of('COUNTERSIGN_CLOCKS_APART');
    expect(warning).toMatchObject({ cause, message: expect.stringContaining(`10.0 s ${cause}`) });
    expect(warning?.seconds).toBeCloseTo(10, 0);
    expect(of('COUNTERSIGN_CLOCKS_APART')).toHaveLength(1);
    apart = 0;
    await until(
      () =>
        store.claim(claimOf()).then(
          () => true,
          () => false,
        ),
      'nothing is claimed',
    );
    move(61);
    apart = by;
    await come('COUNTERSIGN_CLOCKS_APART', 2);
    await askOften(() => store.claim(claimOf()));
    expect(of('COUNTERSIGN_CLOCKS_APART')).toHaveLength(2);
    expect(of('COUNTERSIGN_NONCE_STORE_FAILED')).toEqual([]);
  });

  it('a Redis that refuses claims is reported once, and again', async () => {
    const FAILED = 'COUNTERSIGN_NONCE_STORE_FAILED';
    const move = movedClock();
    const { first, one, admin } = await begin();
    await one.claim(claimOf());
    await admin.config('SET', 'maxmemory', '1');
    await first.come(FAILED, 1);
    await askOften(() => one.claim(claimOf()));
    expect(first.of(FAILED)).toEqual([
      { code: FAILED, message: expect.stringContaining('OOM command not allowed') },
    ]);
    await admin.config('SET', 'maxmemory', '0');
    await until(
      () =>
        one.claim(claimOf()).then(
          () => true,
          () => false,
        ),
      'nothing is claimed',
    );
    move(61);
    await admin.config('SET', 'maxmemory', '1');
    await first.come(FAILED, 2);
    await askOften(() => one.claim(claimOf()));
    expect(first.of(FAILED)).toHaveLength(2);
  });
});

describe('RedisKeyStore', () => {
  async function begin() {
    const { url, admin } = await startOwn();
    const told = hook();
    const keys = new RedisKeyStore({ redis: connect(url), masterKey, onWarning: told.onWarning });
    onTestFinished(() => keys.close());
    await keys.ready();
    const key = await keys.create({ subject: 'alice' });
    const copy = await Promise.all(
      (await admin.keys('*')).map(async (it) => ({ it, dump: await admin.dumpBuffer(it) })),
    );
    const restore = async () => {
      for (const { it, dump } of copy) await admin.restore(it, 0, dump as Buffer, 'REPLACE');
      await until(
        () =>
          keys.list().then(
            () => true,
            () => false,
          ),
        'the store does not work',
      );
    };
    const record = (await admin.keys('*')).find((it) => it.includes(key.accessKeyId)) as string;
    return { ...told, admin, keys, key, restore, record };
  }

  it.each<[string, WarningCode]>([
    ['all records', 'COUNTERSIGN_KEY_STORE_EMPTY'],
    ['a record', 'COUNTERSIGN_KEY_STORE_RECORD_LOST'],
  ])('that has lost %s is reported once, and again', async (what, code) => {
    const move = movedClock();
    const { admin, keys, told, of, restore, record } = await begin();
    for (const round of [1, 2]) {
      if (what === 'all records') await admin.flushall();
      else await admin.del(record);
      // What was read a moment ago goes for a while.
      const ask = () => keys.rotate(record.slice(-24), { overlap: 0 }).catch(() => undefined);
      const isTold = async () => {
        await ask();
        return of(code).length >= round;
      };
      await until(isTold, `${code} did not come`);
      await askOften(ask);
      expect(of(code)).toHaveLength(round);
      await restore();
      await keys.show(record.slice(-24));
      move(61);
      await keys.show(record.slice(-24));
    }
    expect(told).toHaveLength(2);
  });

  it('that may not subscribe is reported once', async () => {
    const code = 'COUNTERSIGN_KEY_STORE_NOT_SUBSCRIBED';
    const { url, admin } = await startOwn();
    await admin.call('ACL', 'SETUSER', 'mute', 'on', '>p', '~*', 'resetchannels', '+@all');
    const { of, told, come, onWarning } = hook();
    const redis = connect(url.replace('//', '//mute:p@'));
    const keys = new RedisKeyStore({ redis, masterKey, onWarning });
    onTestFinished(() => keys.close());
    await come(code, 1);
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    const lack = /run ACL SETUSER mute &countersign:keys:changes$/;
    // A test that was under way over the connection that was ended fails for that.
    const saysWhy = () => keys.ready().then(Boolean, ({ message }: Error) => lack.test(message));
    await until(saysWhy, 'ready() does not say what lacks');
    expect(of(code)).toMatchObject([{ message: expect.stringContaining('NOPERM') }]);
    // It may not publish either.
    expect(told.map((it) => it.code).sort()).toEqual(['COUNTERSIGN_KEY_STORE_CHANGES_UNFIT', code]);
  });
});

it('BullmqCallbackQueue says once that Redis is nearly full, and again', async () => {
  const NEARLY_FULL = 'COUNTERSIGN_CALLBACK_QUEUE_NEARLY_FULL';
  const move = movedClock();
  const { url, admin } = await startOwn();
  const used = Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]);
  const { of, come, onWarning } = hook();
  await admin.config('SET', 'maxmemory', Math.round(used / 0.85));
  const queue = new BullmqCallbackQueue({ redis: connect(url), onWarning });
  onTestFinished(() => queue.close());
  await come(NEARLY_FULL, 1);
  const reconnect = async () => {
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await until(
      () =>
        queue.ready().then(
          () => true,
          () => false,
        ),
      'the queue is not ready',
    );
  };
  await reconnect();
  expect(of(NEARLY_FULL)).toHaveLength(1);
  await admin.config('SET', 'maxmemory', used * 10);
  await reconnect();
  move(61);
  await admin.config('SET', 'maxmemory', Math.round(used / 0.85));
  await reconnect();
  await come(NEARLY_FULL, 2);
  expect(of(NEARLY_FULL)).toHaveLength(2);
});
