import { createOnce, type OnceScope, type OnceStore } from '@countersign/server/callbacks';
import { describe, expect, it } from 'vitest';
import { NO_SCOPE } from '../../../src/callbacks/once/once-store.ts';
import { callback } from './once-callback.ts';

/** A sender with one secret. */
export const sender = (name: string): OnceScope => ({ id: name, countsFor: name });

/** The sender of every test that does not need two. */
const own = sender('alice'.padEnd(43, '-'));
const other = sender('bob'.padEnd(43, '-'));

/** A store to test, used by two servers. */
export interface OnceStoreUnderTest {
  readonly servers: readonly [OnceStore, OnceStore];
  /** Waits until so many seconds have passed by the clock of the store. */
  pass(seconds: number): void | Promise<void>;
}

/** What every store of handled callbacks must do. */
export function onceStoreContract(
  name: string,
  makeStore: (perSender?: number) => OnceStoreUnderTest | Promise<OnceStoreUnderTest>,
): void {
  describe(`${name} as a store of handled callbacks`, () => {
    it('lets one of many begin', async () => {
      const { servers } = await makeStore();
      const states = await Promise.all(
        Array.from({ length: 20 }, (_, run) =>
          (servers[run % 2] as OnceStore).begin('key', `run-${run}`, 60, own),
        ),
      );
      expect(states.filter(({ state }) => state === 'begun')).toHaveLength(1);
      for (const state of states) {
        if (state.state !== 'in-progress') continue;
        expect(state.seconds).toBeGreaterThan(50);
        expect(state.seconds).toBeLessThanOrEqual(60);
      }
    });

    it('gives the same answer if the same run asks again', async () => {
      const { servers } = await makeStore();
      for (let time = 0; time < 2; time++)
        expect(await servers[0].begin('key', 'run', 60, own)).toMatchObject({ state: 'begun' });
    });

    it('knows on every server what is done, and keeps keys apart', async () => {
      const { servers } = await makeStore();
      await servers[0].begin('key', 'one', 60, own);
      await servers[0].finish('key', 60, own);
      expect(await servers[1].begin('key', 'two', 60, own)).toMatchObject({ state: 'done' });
      expect(await servers[1].goOn('key', 'one', 60, own)).toBe(false);
      expect(await servers[1].begin('another', 'two', 60, own)).toMatchObject({ state: 'begun' });
    });

    it('knows a callback that has no scope', async () => {
      const { servers } = await makeStore();
      const [one, two] = servers;
      expect(await one.begin('key', 'one', 60, NO_SCOPE)).toEqual({ state: 'begun' });
      expect(await two.goOn('key', 'one', 60, NO_SCOPE)).toBe(true);
      await two.release('key', 'one', NO_SCOPE);
      expect(await two.begin('key', 'two', 60, NO_SCOPE)).toEqual({ state: 'begun' });
      await two.finish('key', 60, NO_SCOPE);
      expect(await one.begin('key', 'one', 60, NO_SCOPE)).toEqual({ state: 'done' });
    });

    it('lets the next one begin after a run has failed', async () => {
      const { servers } = await makeStore();
      await servers[0].begin('key', 'one', 60, own);
      await servers[0].release('key', 'one', own);
      expect(await servers[1].begin('key', 'two', 60, own)).toMatchObject({ state: 'begun' });
    });

    it('lets no other run release or renew a callback that a run has', async () => {
      const { servers } = await makeStore();
      await servers[0].begin('key', 'one', 60, own);
      await servers[1].release('key', 'two', own);
      expect(await servers[1].goOn('key', 'two', 60, own)).toBe(false);
      expect(await servers[0].goOn('key', 'one', 60, own)).toBe(true);
    });

    it('lets the next one begin when the lease is over, and tells the first one', async () => {
      const { servers, pass } = await makeStore();
      await servers[0].begin('key', 'one', 0.2, own);
      await pass(0.3);
      expect(await servers[1].begin('key', 'two', 60, own)).toMatchObject({ state: 'begun' });
      expect(await servers[0].goOn('key', 'one', 60, own)).toBe(false);
      await servers[0].release('key', 'one', own);
      expect(await servers[0].begin('key', 'three', 60, own)).toMatchObject({
        state: 'in-progress',
      });
    });

    it('continues a run whose lease was over, if no other run has begun', async () => {
      const { servers, pass } = await makeStore();
      await servers[0].begin('key', 'one', 0.2, own);
      await pass(0.3);
      expect(await servers[0].goOn('key', 'one', 60, own)).toBe(true);
      expect(await servers[1].begin('key', 'two', 60, own)).toMatchObject({ state: 'in-progress' });
    });

    it('keeps a callback as done once it has completed, even if another run had it by then', async () => {
      const { servers, pass } = await makeStore();
      await servers[0].begin('key', 'one', 0.2, own);
      await pass(0.3);
      await servers[1].begin('key', 'two', 60, own);
      await servers[0].finish('key', 60, own);
      await servers[1].release('key', 'two', own);
      expect(await servers[1].begin('key', 'three', 60, own)).toMatchObject({ state: 'done' });
    });

    it('forgets a done callback after its time', async () => {
      const { servers, pass } = await makeStore();
      await servers[0].begin('key', 'one', 60, own);
      await servers[0].finish('key', 0.2, own);
      await pass(0.3);
      expect(await servers[1].begin('key', 'two', 60, own)).toMatchObject({ state: 'begun' });
    });

    it('remembers what createOnce() has handled for its remember, not for its lease', async () => {
      const { servers, pass } = await makeStore();
      const once = createOnce({ store: servers[0], lease: 0.1, remember: 60 });
      const elsewhere = createOnce({ store: servers[1], lease: 0.1, remember: 60 });
      const given = callback();
      expect(await once(given, () => 'ran')).toMatchObject({ outcome: 'completed' });
      await pass(0.3);
      expect(await elsewhere(given, () => 'ran')).toMatchObject({ outcome: 'done' });
    });

    it('bounds the callbacks of one sender, and takes no room from another', async () => {
      const { servers } = await makeStore(2);
      await servers[0].begin('one', 'run', 60, own);
      await servers[0].finish('one', 60, own);
      await servers[1].begin('two', 'run', 30, own);
      for (const server of servers) {
        const refused = await server.begin('three', 'run', 60, own);
        expect(refused).toEqual({
          state: 'full',
          of: 'sender',
          option: 'perSender',
          most: 2,
          seconds: expect.any(Number),
        });
        // The wait ends when the first of them expires.
        const { seconds } = refused as Extract<typeof refused, { state: 'full' }>;
        expect(seconds).toBeGreaterThan(20);
        expect(seconds).toBeLessThanOrEqual(30);
      }
      for (const key of ['three', 'four'])
        expect(await servers[0].begin(key, 'run', 60, other)).toMatchObject({ state: 'begun' });
      expect(await servers[0].begin('five', 'run', 60, other)).toMatchObject({ state: 'full' });
    });

    it('still knows what is done or in progress if its sender has no room', async () => {
      const { servers } = await makeStore(2);
      await servers[0].begin('one', 'run', 60, own);
      await servers[0].finish('one', 60, own);
      await servers[0].begin('two', 'run', 60, own);
      expect(await servers[1].begin('one', 'another', 60, own)).toMatchObject({ state: 'done' });
      expect(await servers[1].begin('two', 'another', 60, own)).toMatchObject({
        state: 'in-progress',
      });
      expect(await servers[1].begin('two', 'run', 60, own)).toMatchObject({ state: 'begun' });
      expect(await servers[1].goOn('two', 'run', 60, own)).toBe(true);
      await servers[1].finish('two', 60, own);
      expect(await servers[0].begin('two', 'run', 60, own)).toMatchObject({ state: 'done' });
    });

    it('has room again for a sender when something expired or failed, and not before', async () => {
      const { servers, pass } = await makeStore(2);
      await servers[0].begin('one', 'run', 60, own);
      await servers[0].begin('two', 'run', 60, own);
      expect(await servers[0].begin('three', 'run', 60, own)).toMatchObject({ state: 'full' });
      await servers[0].release('one', 'run', own);
      expect(await servers[0].begin('three', 'run', 0.2, own)).toMatchObject({ state: 'begun' });
      await pass(0.3);
      expect(await servers[1].begin('four', 'run', 60, own)).toMatchObject({ state: 'begun' });
      expect(await servers[1].begin('five', 'run', 60, own)).toMatchObject({ state: 'full' });
    });

    it('records a completed callback even if its sender has no room left', async () => {
      const { servers, pass } = await makeStore(1);
      await servers[0].begin('one', 'run', 0.2, own);
      await pass(0.3);
      await servers[0].begin('two', 'run', 60, own);
      await servers[0].finish('one', 60, own);
      expect(await servers[1].begin('one', 'run', 60, own)).toMatchObject({ state: 'done' });
    });

    it('knows a callback that counts for another secret of its sender, and needs no room there', async () => {
      const { servers } = await makeStore(2);
      const foreign = { id: own.id, countsFor: other.id };
      await servers[0].begin('one', 'run', 60, foreign);
      expect(await servers[1].begin('one', 'another', 60, own)).toMatchObject({
        state: 'in-progress',
      });
      expect(await servers[1].goOn('one', 'run', 60, own)).toBe(true);
      await servers[0].finish('one', 60, foreign);
      await servers[0].release('one', 'run', foreign);
      expect(await servers[1].begin('one', 'another', 60, own)).toMatchObject({ state: 'done' });
      for (const key of ['two', 'three'])
        expect(await servers[0].begin(key, 'run', 60, own)).toMatchObject({ state: 'begun' });
    });
  });
}
