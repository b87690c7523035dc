import { setTimeout as sleep } from 'node:timers/promises';
import { createOnce, MemoryOnceStore } from '@countersign/server/callbacks';
import { RedisOnceStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { startRedis } from '../../../test/support/redis.ts';
import { callback } from './once-callback.ts';
import { onceStoreContract } from './once-store-contract.ts';
import { startFake, startProxy } from './redis-faults.ts';

let count = 0;

function redisStore(url: string, prefix = `once-${process.pid}-${++count}`): RedisOnceStore {
  const redis = new Redis(url, { lazyConnect: true });
  const store = new RedisOnceStore({ redis, prefix });
  redis.disconnect();
  onTestFinished(() => store.close());
  return store;
}

onceStoreContract('MemoryOnceStore', () => {
  let now = 1_795_300_000;
  const store = new MemoryOnceStore({ clock: () => now });
  return {
    servers: [store, store],
    pass: (seconds) => {
      now += seconds;
    },
  };
});

onceStoreContract('RedisOnceStore', () => {
  const prefix = `once-${process.pid}-${++count}`;
  const url = inject('redisUrl');
  // Only Redis tells its time.
  return {
    servers: [redisStore(url, prefix), redisStore(url, prefix)],
    pass: (seconds) => sleep(seconds * 1000),
  };
});

describe('MemoryOnceStore', () => {
  it('forgets what has expired, and rather begins nothing than forget what is done', async () => {
    let now = 0;
    const store = new MemoryOnceStore({ clock: () => now, maxEntries: 2 });
    await store.begin('one', 'run', 10);
    await store.finish('one', 10);
    await store.begin('two', 'run', 20);
    await expect(store.begin('three', 'run', 10)).rejects.toThrow(
      'Cannot remember more than 2 callbacks',
    );
    expect(await store.begin('two', 'run', 20)).toMatchObject({ state: 'begun' });
    now = 15;
    expect(await store.begin('three', 'run', 10)).toMatchObject({ state: 'begun' });
    expect(store.size).toBe(2);
  });

  it('ends no lease because somebody sets the clock', async () => {
    const store = new MemoryOnceStore();
    await store.begin('key', 'run', 30);
    const now = Date.now();
    const set = vi.spyOn(Date, 'now').mockReturnValue(now + 60_000);
    onTestFinished(() => set.mockRestore());
    expect(await store.begin('key', 'another run', 30)).toMatchObject({ state: 'in-progress' });
  });

  it('refuses options that it cannot use', () => {
    expect(() => new MemoryOnceStore({ maxEntries: 0 })).toThrow(
      'Cannot build MemoryOnceStore: option "maxEntries" is 0: expected number to be >=1',
    );
    expect(() => new MemoryOnceStore({ clock: 5 as never })).toThrow(
      'option "clock" is 5: expected a function that returns Unix seconds',
    );
  });
});

describe('RedisOnceStore', () => {
  it('rejects what is no answer', async () => {
    const port = await startFake(([name]) => (/^eval/i.test(name ?? '') ? '+OK\r\n' : undefined));
    await expect(redisStore(`redis://127.0.0.1:${port}`).begin('key', 'run', 1)).rejects.toThrow(
      'Cannot read the reply of Redis',
    );
  });

  it('refuses options that it cannot use, and shows no connection', () => {
    expect(() => new RedisOnceStore({ redis: 'redis://:secret@host' as never })).toThrow(
      /^(?!.*secret@).*of type string/,
    );
  });

  it('lets a run begin anew at once where the answer to the first was lost', async () => {
    const { port: target } = new URL(inject('redisUrl'));
    const proxy = await startProxy(Number(target));
    const once = createOnce({ store: redisStore(`redis://127.0.0.1:${proxy.port}`) });
    const given = callback();
    await once(callback(), () => undefined);
    proxy.mode = 'lose the next reply';
    await expect(once(given, () => undefined)).rejects.toMatchObject({ status: 503 });
    expect(proxy.lost).toBe(1);
    // What it had begun is given up on a connection that comes first.
    await expect
      .poll(() => once(given, () => 'ran').catch(() => undefined))
      .toMatchObject({
        outcome: 'completed',
        value: 'ran',
      });
  });

  it('notes what has completed once a Redis that was gone is back', async () => {
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
