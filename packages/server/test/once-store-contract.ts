import type { OnceStore } from '@countersign/server/callbacks';
import { describe, expect, it } from 'vitest';

/** A store to test, as two servers see it. */
export interface OnceStoreUnderTest {
  readonly servers: readonly [OnceStore, OnceStore];
  /** Waits until so many seconds have passed by the clock of the store. */
  pass(seconds: number): void | Promise<void>;
}

/** What every store of handled callbacks must do. */
export function onceStoreContract(
  name: string,
  makeStore: () => OnceStoreUnderTest | Promise<OnceStoreUnderTest>,
): void {
  describe(`${name} as a store of handled callbacks`, () => {
    it('lets one of many begin', async () => {
      const { servers } = await makeStore();
      const states = await Promise.all(
        Array.from({ length: 20 }, (_, run) =>
          (servers[run % 2] as OnceStore).begin('key', `run-${run}`, 60),
        ),
      );
      expect(states.filter(({ state }) => state === 'begun')).toHaveLength(1);
      for (const state of states) {
        if (state.state !== 'in-progress') continue;
        expect(state.seconds).toBeGreaterThan(50);
        expect(state.seconds).toBeLessThanOrEqual(60);
      }
    });

    it('answers alike where the same run asks again', async () => {
      const { servers } = await makeStore();
      for (let time = 0; time < 2; time++)
        expect(await servers[0].begin('key', 'run', 60)).toMatchObject({ state: 'begun' });
    });

    it('knows for all servers what is done, and keeps keys apart', async () => {
      const { servers } = await makeStore();
      await servers[0].begin('key', 'one', 60);
      await servers[0].finish('key', 60);
      expect(await servers[1].begin('key', 'two', 60)).toMatchObject({ state: 'done' });
      expect(await servers[1].goOn('key', 'one', 60)).toBe(false);
      expect(await servers[1].begin('another', 'two', 60)).toMatchObject({ state: 'begun' });
    });

    it('lets the next one begin after a run has failed', async () => {
      const { servers } = await makeStore();
      await servers[0].begin('key', 'one', 60);
      await servers[0].giveUp('key', 'one');
      expect(await servers[1].begin('key', 'two', 60)).toMatchObject({ state: 'begun' });
    });

    it('takes nothing from a run that has the callback', async () => {
      const { servers } = await makeStore();
      await servers[0].begin('key', 'one', 60);
      await servers[1].giveUp('key', 'two');
      expect(await servers[1].goOn('key', 'two', 60)).toBe(false);
      expect(await servers[0].goOn('key', 'one', 60)).toBe(true);
    });

    it('lets the next one begin when the lease is over, and tells the first one', async () => {
      const { servers, pass } = await makeStore();
      await servers[0].begin('key', 'one', 0.2);
      await pass(0.3);
      expect(await servers[1].begin('key', 'two', 60)).toMatchObject({ state: 'begun' });
      expect(await servers[0].goOn('key', 'one', 60)).toBe(false);
      await servers[0].giveUp('key', 'one');
      expect(await servers[0].begin('key', 'three', 60)).toMatchObject({ state: 'in-progress' });
    });

    it('goes on with a run whose lease was over, where nobody else has begun', async () => {
      const { servers, pass } = await makeStore();
      await servers[0].begin('key', 'one', 0.2);
      await pass(0.3);
      expect(await servers[0].goOn('key', 'one', 60)).toBe(true);
      expect(await servers[1].begin('key', 'two', 60)).toMatchObject({ state: 'in-progress' });
    });

    it('keeps for done what has completed, whoever had it by then', async () => {
      const { servers, pass } = await makeStore();
      await servers[0].begin('key', 'one', 0.2);
      await pass(0.3);
      await servers[1].begin('key', 'two', 60);
      await servers[0].finish('key', 60);
      await servers[1].giveUp('key', 'two');
      expect(await servers[1].begin('key', 'three', 60)).toMatchObject({ state: 'done' });
    });

    it('forgets what is done after a while', async () => {
      const { servers, pass } = await makeStore();
      await servers[0].begin('key', 'one', 60);
      await servers[0].finish('key', 0.2);
      await pass(0.3);
      expect(await servers[1].begin('key', 'two', 60)).toMatchObject({ state: 'begun' });
    });
  });
}
