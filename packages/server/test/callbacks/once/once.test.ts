import { type ChildProcess, fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once as event } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createOnce, MemoryOnceStore, type OnceStore } from '@countersign/server/callbacks';
import { RedisOnceStore } from '@countersign/server/redis';
import { build } from 'esbuild';
import { Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { within } from '../../../../../test/support/deadline.ts';
import { callback } from './once-callback.ts';

const clock = () => 1_795_300_000;

describe('createOnce()', () => {
  it('runs a handler once, tells its value, and then that it is done', async () => {
    const once = createOnce({ store: new MemoryOnceStore({ clock }) });
    const given = callback();
    let runs = 0;
    const run = () => once(given, ({ id }) => `${id} ${++runs}`);
    expect(await run()).toEqual({
      outcome: 'completed',
      value: `${given.id} 1`,
      status: 200,
      headers: {},
    });
    expect(await run()).toEqual({ outcome: 'done', status: 200, headers: {} });
    expect(runs).toBe(1);
  });

  it('asks a sender that delivers again meanwhile to come back later', async () => {
    const once = createOnce({ store: new MemoryOnceStore({ clock }), lease: 30 });
    const given = callback();
    const { promise, resolve } = withResolvers();
    const first = once(given, () => promise);
    expect(await once(given, () => 'never')).toEqual({
      outcome: 'in-progress',
      status: 503,
      headers: { 'retry-after': '30' },
    });
    resolve('ran');
    expect(await first).toMatchObject({ outcome: 'completed', value: 'ran' });
    expect(await once(given, () => 'never')).toMatchObject({ outcome: 'done' });
  });

  it('throws what a handler throws, and runs the next delivery', async () => {
    const once = createOnce({ store: new MemoryOnceStore({ clock }) });
    const given = callback();
    for (const handler of [
      () => Promise.reject(new Error('no')),
      () => {
        throw new Error('no');
      },
    ])
      await expect(once(given, handler)).rejects.toThrow('no');
    expect(await once(given, () => 'ran')).toMatchObject({ outcome: 'completed' });
  });

  it('runs each of many callbacks once, however often and however wildly they are delivered', async () => {
    const once = createOnce({ store: new MemoryOnceStore({ clock }) });
    const completed = new Map<string, number>();
    const deliveries = Array.from({ length: 500 }, (_, index) => `msg_${index % 50}`);
    const left = new Set(deliveries);
    let tries = 0;
    while (left.size > 0 && tries++ < 100) {
      await Promise.allSettled(
        deliveries.map(async (id) => {
          const { status } = await once(callback({ id }), async () => {
            await null;
            if ((tries + id.length) % 3 === 0) throw new Error('not now');
            completed.set(id, (completed.get(id) ?? 0) + 1);
          });
          if (status === 200) left.delete(id);
        }),
      );
    }
    expect(completed.size).toBe(50);
    expect([...completed.values()].every((times) => times === 1)).toBe(true);
  });

  it('keeps the ids of two senders apart, and ids that look alike', async () => {
    const once = createOnce({ store: new MemoryOnceStore({ clock }) });
    for (const [sender, id] of [
      ['a', 'b'],
      ['b', 'b'],
      ['a', 'a'],
      ['ab', ''],
      ['', 'ab'],
    ] as const)
      expect(await once(callback({ sender, id }), () => 1)).toMatchObject({ outcome: 'completed' });
  });

  it('renews the lease while a run continues, and aborts the run if another has taken over', async () => {
    let calls = 0;
    const goOn = async () => {
      calls++;
      if (calls === 2) throw new Error('not reached');
      return calls < 4;
    };
    const store: OnceStore = Object.assign(new MemoryOnceStore({ clock }), { goOn });
    const once = createOnce({ store, lease: 0.1 });
    const outcome = await once(callback(), (_, signal) =>
      within(event(signal, 'abort'), 'the run is told that another has taken over'),
    );
    expect(outcome).toMatchObject({ outcome: 'completed' });
    expect(calls).toBe(4);
  });

  it.each([
    ['rejects', () => Promise.reject(new Error('gone'))],
    ['answers nothing of sense', async () => ({ state: 'fine' }) as never],
  ])('runs nothing if the store %s', async (_, begin) => {
    const store = Object.assign(new MemoryOnceStore({ clock }), { begin });
    let ran = false;
    const failed = createOnce({ store })(callback(), () => {
      ran = true;
    });
    await expect(failed).rejects.toMatchObject({ code: 'ERR_NONCE_STORE_FAILED', status: 503 });
    expect(ran).toBe(false);
  });

  it.each(['before', 'after'] as const)(
    'does not make senders wait for the end of the lease if the store failed %s the handler and comes back',
    async (when) => {
      let isDown = when === 'before';
      const ifUp = <T>(value: T): T => {
        if (isDown) throw new Error('gone');
        return value;
      };
      // If it is down, it begins the run and only the answer is lost. It does not release the run.
      class FailingStore extends MemoryOnceStore {
        override async begin(...args: Parameters<MemoryOnceStore['begin']>) {
          return ifUp(await super.begin(...args));
        }
        override async release(...args: Parameters<MemoryOnceStore['release']>) {
          ifUp(undefined);
          return super.release(...args);
        }
      }
      // The clock stands still, so the lease never ends by itself.
      const once = createOnce({ store: new FailingStore({ clock }), lease: 60 });
      const given = callback();
      const failed = once(given, () => {
        isDown = true;
        throw new Error('no');
      });
      await expect(failed).rejects.toThrow(when === 'before' ? 'gone' : 'no');
      isDown = false;
      await expect.poll(() => once(given, () => 'ran')).toMatchObject({ outcome: 'completed' });
    },
  );

  it('throws what a handler throws, even if the store fails to release the callback', async () => {
    const release = (): never => {
      throw new Error('gone');
    };
    const store = Object.assign(new MemoryOnceStore({ clock }), { release });
    const once = createOnce({ store, lease: 0.1 });
    await expect(once(callback(), () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  });

  it('releases at most 1,000 missed callbacks at a time in a store that comes back', async () => {
    const asked = new Set<string>();
    let again = 0;
    let settle = (): void => undefined;
    const back = new Promise<void>((resolve) => {
      settle = resolve;
    });
    const store = Object.assign(new MemoryOnceStore({ clock }), {
      begin: () => Promise.reject(new Error('gone')),
      release: (_key: string, token: string) => {
        if (asked.has(token)) {
          again++;
          return back;
        }
        asked.add(token);
        return Promise.reject(new Error('gone'));
      },
    });
    const once = createOnce({ store, lease: 60 });
    const runs = Array.from({ length: 3_000 }, (_, index) =>
      once(callback({ id: `msg_${index}` }), () => undefined),
    );
    const ends = await Promise.allSettled(runs);
    expect(ends.every(({ status }) => status === 'rejected')).toBe(true);
    await vi.waitFor(() => expect(asked.size).toBe(3_000));
    expect(again).toBe(1_000);
    settle();
  });

  it('rejects with 503 if it cannot record that a handler has completed', async () => {
    const finish = () => Promise.reject(new Error('gone'));
    const store = Object.assign(new MemoryOnceStore({ clock }), { finish });
    await expect(
      createOnce({ store, lease: 0.1 })(callback(), () => undefined),
    ).rejects.toMatchObject({ code: 'ERR_NONCE_STORE_FAILED', status: 503 });
  });

  it('refuses requests that no verifier has accepted, and options that it cannot use', async () => {
    const once = createOnce({ store: new MemoryOnceStore() });
    await expect(once({ url: '/x' }, () => undefined)).rejects.toThrow(
      'Cannot tell the callback of "/x": mount requireCallback() above this route',
    );
    expect(() => createOnce({ store: {} as never })).toThrow('option "store" is of type object');
    expect(() => createOnce({ store: new MemoryOnceStore(), lease: 0 })).toThrow(
      'option "lease" is 0',
    );
    expect(() => createOnce({ store: new MemoryOnceStore(), remember: Number.NaN })).toThrow(
      'option "remember" is NaN',
    );
  });
});

describe('a process that is killed while its handler runs', () => {
  it('leaves the callback to the next delivery, once its lease is over', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'countersign-'));
    onTestFinished(() => rm(folder, { recursive: true, force: true }));
    const source = (path: string) => new URL(`../../../../${path}.ts`, import.meta.url).pathname;
    const outfile = join(folder, 'victim.cjs');
    await build({
      entryPoints: [source('server/test/callbacks/once/once-victim')],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'cjs',
      logLevel: 'silent',
      alias: {
        '@countersign/shared': source('shared/src/index'),
        '@countersign/server/callbacks': source('server/src/callbacks'),
        '@countersign/server/redis': source('server/src/redis'),
        '#digest': source('shared/src/digest.node'),
        '#private-key': source('shared/src/private-key.node'),
      },
    });
    const url = inject('redisUrl');
    const prefix = `once-${process.pid}-${Date.now()}`;
    const id = randomUUID();
    const victim: ChildProcess = fork(outfile, [JSON.stringify({ url, prefix, id, lease: 1 })], {
      execArgv: [],
    });
    await event(victim, 'message');

    const redis = new Redis(url);
    const store = new RedisOnceStore({ redis, prefix });
    onTestFinished(() => {
      store.close();
      redis.disconnect();
    });
    const once = createOnce({ store, lease: 1 });
    const deliver = () => once(callback({ id }), () => 'ran');
    // The process runs for longer than its lease.
    const start = performance.now();
    while (performance.now() - start < 1_500)
      expect(await deliver()).toMatchObject({ outcome: 'in-progress', status: 503 });

    victim.kill('SIGKILL');
    await event(victim, 'exit');
    expect(await deliver()).toMatchObject({ outcome: 'in-progress' });
    await expect
      .poll(deliver, { timeout: 5_000 })
      .toMatchObject({ outcome: 'completed', value: 'ran' });
    expect(await deliver()).toMatchObject({ outcome: 'done' });
  });
});

function withResolvers(): { promise: Promise<unknown>; resolve: (value: unknown) => void } {
  let resolve: (value: unknown) => void = () => undefined;
  const promise = new Promise((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
