import { setTimeout as sleep } from 'node:timers/promises';
import {
  createCallbackVerifier,
  createOnce,
  MemoryOnceStore,
  type OnceScope,
} from '@countersign/server/callbacks';
import { RedisOnceStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { startRedis } from '../../../../../test/support/redis.ts';
import { startFake, startProxy } from '../../lib/redis/redis-faults.ts';
import { NOW, newSecret, signCallback } from '../receive/callbacks-sender.ts';
import { callback } from './once-callback.ts';
import { onceStoreContract, sender } from './once-store-contract.ts';

let count = 0;

function redisStore(
  url: string,
  options: Partial<ConstructorParameters<typeof RedisOnceStore>[0]> = {},
): RedisOnceStore {
  const redis = new Redis(url, { lazyConnect: true });
  const store = new RedisOnceStore({
    redis,
    prefix: `once-${process.pid}-${++count}`,
    ...options,
  });
  redis.disconnect();
  onTestFinished(() => store.close());
  return store;
}

function connect(url: string): Redis {
  const redis = new Redis(url);
  onTestFinished(() => redis.disconnect());
  return redis;
}

/** Collects the process warnings from now on. */
function recordWarnings(): Error[] {
  const warnings: Error[] = [];
  const record = (warning: Error) => void warnings.push(warning);
  process.on('warning', record);
  onTestFinished(() => void process.off('warning', record));
  return warnings;
}

onceStoreContract('MemoryOnceStore', (perSender) => {
  let now = 1_795_300_000;
  const store = new MemoryOnceStore({ clock: () => now, perSender });
  return {
    servers: [store, store],
    pass: (seconds) => {
      now += seconds;
    },
  };
});

onceStoreContract('RedisOnceStore', (perSender) => {
  const prefix = `once-${process.pid}-${++count}`;
  const url = inject('redisUrl');
  // The clock of this store is the time of Redis.
  return {
    servers: [redisStore(url, { prefix, perSender }), redisStore(url, { prefix, perSender })],
    pass: (seconds) => sleep(seconds * 1000),
  };
});

describe('MemoryOnceStore', () => {
  it('forgets what has expired, and begins nothing if it would have to forget what is done', async () => {
    let now = 0;
    const store = new MemoryOnceStore({ clock: () => now, maxEntries: 2 });
    const [alice, bob, carol] = ['alice', 'bob', 'carol'].map(sender) as [
      OnceScope,
      OnceScope,
      OnceScope,
    ];
    await store.begin('one', 'run', 10, alice);
    await store.finish('one', 10, alice);
    await store.begin('two', 'run', 20, bob);
    expect(await store.begin('three', 'run', 10, carol)).toEqual({
      state: 'full',
      of: 'store',
      option: 'maxEntries',
      most: 2,
      seconds: 10,
    });
    expect(await store.begin('two', 'run', 20, bob)).toMatchObject({ state: 'begun' });
    now = 15;
    expect(await store.begin('three', 'run', 10, carol)).toMatchObject({ state: 'begun' });
    expect(store.size).toBe(2);
  });

  it('X11: one sender takes a quarter, and the store is not full before four have theirs', async () => {
    let now = 1_795_300_000;
    const once = createOnce({
      store: new MemoryOnceStore({ clock: () => now, maxEntries: 400 }),
    });
    const deliver = (sender: string, id: number | string) =>
      once(callback({ sender, id: `${id}` }), () => undefined).then(
        ({ outcome }) => outcome,
        ({ code, status, message, retryAfter }) => ({ code, status, message, retryAfter }),
      );
    for (const name of ['mallory', 'moriarty', 'milady']) {
      for (let id = 0; id < 100; id++) expect(await deliver(name, id)).toBe('completed');
      expect(await deliver(name, 'one more')).toEqual({
        code: 'ERR_TOO_MANY_CALLBACKS',
        status: 429,
        message: `Cannot remember another callback of sender "${name}": it has 100 of 100; raise "perSender" of the store, or lower "remember" of createOnce()`,
        retryAfter: 3_600,
      });
      expect(await deliver(name, 0), 'what is done').toBe('done');
    }
    for (let id = 0; id < 100; id++) expect(await deliver('bank', id)).toBe('completed');
    expect(await deliver('fifth', 0)).toEqual({
      code: 'ERR_NONCE_STORE_FAILED',
      status: 503,
      message:
        'The store of handled callbacks is full: 400 of 400; raise "maxEntries" of the store, or lower "remember" of createOnce()',
      retryAfter: 3_600,
    });
    now += 604_800 - 90;
    expect(await deliver('mallory', 'one more')).toMatchObject({ retryAfter: 90 });
    now += 90;
    expect(await deliver('mallory', 'one more')).toBe('completed');
  });

  it('X11: refuses without a scan, and forgets a week of callbacks without making others wait', async () => {
    let now = 1_795_300_000;
    const store = new MemoryOnceStore({ clock: () => now, maxEntries: 20_000 });
    const senders = ['a', 'b', 'c', 'd'].map(sender);
    // The callbacks of the last sender expire last.
    for (const [index, scope] of senders.entries())
      for (let id = 0; id < 5_000; id++) {
        await store.begin(scope.id + id, 'run', 30, scope);
        await store.finish(scope.id + id, 604_800 + index, scope);
      }
    const last = senders[3] as OnceScope;
    const walks = ([Symbol.iterator, 'entries', 'keys', 'values', 'forEach'] as const).map((how) =>
      vi.spyOn(Map.prototype, how as 'forEach'),
    );
    const refused = store.begin('more', 'run', 30, last);
    const walked = walks.map((walk) => walk.mock.calls.length);
    for (const walk of walks) walk.mockRestore();
    expect(walked).toEqual([0, 0, 0, 0, 0]);
    expect(await refused).toMatchObject({ state: 'full' });

    now += 604_810;
    const sizes = [store.size];
    let isOver = false;
    const begun = store.begin('more', 'run', 30, last).finally(() => {
      isOver = true;
    });
    while (!isOver) {
      sizes.push(store.size);
      await new Promise(setImmediate);
    }
    expect(await begun).toMatchObject({ state: 'begun' });
    const steps = sizes.slice(1).map((size, index) => (sizes[index] as number) - size);
    expect(Math.max(...steps)).toBeLessThanOrEqual(1_000);
    expect(sizes.length).toBeGreaterThan(10);
  });

  it('ends no lease if the system clock is set', async () => {
    const store = new MemoryOnceStore();
    await store.begin('key', 'run', 30);
    const now = Date.now();
    const set = vi.spyOn(Date, 'now').mockReturnValue(now + 60_000);
    onTestFinished(() => set.mockRestore());
    expect(await store.begin('key', 'another run', 30)).toMatchObject({ state: 'in-progress' });
  });

  it('refuses options that it cannot use', () => {
    expect(() => new MemoryOnceStore({ maxEntries: 0 })).toThrow(
      'Cannot build MemoryOnceStore: option "maxEntries" is 0: expected at least 1',
    );
    expect(() => new MemoryOnceStore({ clock: 5 as never })).toThrow(
      'option "clock" is 5: expected a function that returns Unix seconds',
    );
    for (const perSender of [0, 1.5, Number.NaN, '5' as never])
      expect(() => new MemoryOnceStore({ perSender })).toThrow('option "perSender" is');
    expect(() => new MemoryOnceStore({ maxEntries: 5, perSender: 6 })).toThrow(
      new RangeError(
        'Cannot build MemoryOnceStore: option "perSender" is 6: expected at most "maxEntries", which is 5',
      ),
    );
    expect(new MemoryOnceStore({ maxEntries: 5, perSender: 5 }).size).toBe(0);
  });
});

describe('RedisOnceStore', () => {
  it('rejects if Redis gives an unexpected answer', async () => {
    const port = await startFake(([name]) => (/^eval/i.test(name ?? '') ? '+OK\r\n' : undefined));
    await expect(redisStore(`redis://127.0.0.1:${port}`).begin('key', 'run', 1)).rejects.toThrow(
      'Cannot read the reply of Redis',
    );
  });

  it('refuses options that it cannot use, and does not show the connection', () => {
    expect(() => new RedisOnceStore({ redis: 'redis://:secret@host' as never })).toThrow(
      /^(?!.*secret@).*of type string/,
    );
  });

  it('remembers a done callback for a week, even if the lease is half a minute', async () => {
    const prefix = `once-${process.pid}-${++count}`;
    const url = inject('redisUrl');
    const once = createOnce({ store: redisStore(url, { prefix }) });
    const admin = connect(url);
    const lives = async () =>
      Promise.all((await admin.keys(`${prefix}:*`)).map((it) => admin.pttl(it)));
    await once(callback(), async () => {
      expect(Math.max(...(await lives()))).toBeLessThanOrEqual(30_001);
    });
    // The run has left nothing else in Redis.
    const [life, ...others] = await lives();
    expect(others).toEqual([]);
    expect(life).toBeGreaterThan(604_700_000);
    expect(life).toBeLessThanOrEqual(604_800_001);
  });

  it('X11: refuses a Redis that evicts, warns, and works when that is corrected', async () => {
    const server = await startRedis({ args: ['--maxmemory-policy', 'volatile-lru'] });
    onTestFinished(() => server.stop());
    const warnings = recordWarnings();
    const store = redisStore(server.url);
    const once = createOnce({ store });
    let runs = 0;
    const deliver = () => once(callback({ id: 'msg_1' }), () => ++runs);
    const message =
      'Redis is not fit for handled callbacks: its maxmemory-policy is "volatile-lru", with which it forgets what it must keep: set it to noeviction';
    for (let time = 0; time < 2; time++)
      await expect(deliver()).rejects.toMatchObject({
        code: 'ERR_NONCE_STORE_FAILED',
        status: 503,
        message: expect.stringContaining(message.replaceAll('"', '\\"')),
      });
    expect(runs).toBe(0);
    await vi.waitFor(() =>
      expect(warnings).toMatchObject([{ code: 'COUNTERSIGN_ONCE_STORE_UNFIT', message }]),
    );
    await connect(server.url).config('SET', 'maxmemory-policy', 'noeviction');
    // A check of Redis that began before the change may still be running.
    await vi.waitFor(async () => expect(await deliver()).toMatchObject({ outcome: 'completed' }));
    expect(runs).toBe(1);
  });

  it('X11: refuses one sender more than its bound, over a real verifier, and no other', async () => {
    const once = createOnce({ store: redisStore(inject('redisUrl'), { perSender: 3 }) });
    const [mallory, bank] = [newSecret(), newSecret()];
    const deliver = async (secret: string, secrets: string[], id: string) => {
      const verifier = createCallbackVerifier({ secrets, clock: () => NOW });
      const body = Buffer.from('{}');
      const headers = signCallback(body, { secrets: [secret], id });
      return once(await verifier.verify({ headers, body }), () => undefined).then(
        ({ outcome }) => outcome,
        ({ code, status }) => `${status} ${code}`,
      );
    };
    // The bound also holds behind one route that knows the secrets of both.
    for (const secrets of [[mallory], [mallory, bank]]) {
      const before = secrets.length;
      for (let id = before; id < 5; id++) await deliver(mallory, secrets, `m${id}`);
      expect(await deliver(mallory, secrets, 'more')).toBe('429 ERR_TOO_MANY_CALLBACKS');
      expect(await deliver(mallory, secrets, 'm1')).toBe('done');
    }
    for (const id of ['1', '2', '3'])
      expect(await deliver(bank, [mallory, bank], id)).toBe('completed');
    expect(await deliver(bank, [mallory, bank], '4')).toBe('429 ERR_TOO_MANY_CALLBACKS');
    expect(await deliver(bank, [bank], '1')).toBe('done');
  });

  it('removes what has expired when the next callback comes', async () => {
    const prefix = `once-${process.pid}-${++count}`;
    const url = inject('redisUrl');
    const store = redisStore(url, { prefix });
    const scope = sender('alice');
    for (const key of ['one', 'two']) await store.begin(key, 'run', 0.1, scope);
    await sleep(200);
    await store.begin('three', 'run', 60, scope);
    const admin = connect(url);
    expect((await admin.keys(`${prefix}:*`)).sort()).toEqual([
      `${prefix}:{alice}`,
      `${prefix}:{alice}:three`,
    ]);
    expect(await admin.zrange(`${prefix}:{alice}`, '0', '-1')).toEqual(['three']);
  });

  it('lets a run begin again at once if the answer to its first try was lost', async () => {
    const { port: target } = new URL(inject('redisUrl'));
    const proxy = await startProxy(Number(target));
    const once = createOnce({ store: redisStore(`redis://127.0.0.1:${proxy.port}`) });
    const given = callback();
    await once(callback(), () => undefined);
    proxy.mode = 'lose the next reply';
    await expect(once(given, () => undefined)).rejects.toMatchObject({ status: 503 });
    expect(proxy.lost).toBe(1);
    // The run is released first, on another connection.
    await expect
      .poll(() => once(given, () => 'ran').catch(() => undefined))
      .toMatchObject({
        outcome: 'completed',
        value: 'ran',
      });
  });

  it('records what has completed when a Redis that was down is back', async () => {
    const server = await startRedis();
    const store = redisStore(server.url);
    const once = createOnce({ store });
    const given = callback();
    let port = server.port;
    const outcome = await once(given, async () => {
      await server.stop();
      void startRedis({ port: server.port }).then((again) => {
        port = again.port;
        onTestFinished(() => again.stop());
      });
    });
    expect(outcome).toMatchObject({ outcome: 'completed' });
    expect(port).toBe(server.port);
    expect(await once(given, () => undefined)).toMatchObject({ outcome: 'done' });
  });
});
