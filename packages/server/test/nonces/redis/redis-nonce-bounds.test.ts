// The bounds of the store in Redis, as those of the store in memory are pinned in its own tests.
// The times of claims are chosen by the clock of Redis, with room for what a call takes.

import { RedisNonceStore, type RedisNonceStoreOptions } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { until } from '../../../../../test/support/deadline.ts';
import { claimOf } from '../nonce-store-contract.ts';

/** Seconds that a call may take on a busy machine, for which nothing is expected of a bound. */
const ROOM = 0.8;

let prefixes = 0;

/** A store that has never been there, and the clock of its Redis. */
function newStore(options: Partial<RedisNonceStoreOptions> = {}) {
  const redis = new Redis(inject('redisUrl'));
  const prefix = `bounds:${process.pid}:${++prefixes}`;
  const store = new RedisNonceStore({ redis, prefix, timeout: 10, ...options });
  onTestFinished(async () => {
    await store.close();
    redis.disconnect();
  });
  const now = async (): Promise<number> => {
    const [whole, micro] = await redis.time();
    return Number(whole) + Number(micro) / 1_000_000;
  };
  return { store, now };
}

describe('RedisNonceStore and clocks that differ', () => {
  it.each([1, 2, 10])(
    'takes claims until %i s of slack beyond their ends, and from as long before',
    async (slack) => {
      const { store, now } = newStore({ slack });
      const { epoch } = await store.claim(claimOf(Math.floor(await now())));
      const outcomeOf = async (from: number, until: number): Promise<string> => {
        const time = await now();
        const times = { acceptableFrom: time + from, acceptableUntil: time + until };
        const claim = claimOf(Math.floor(time), { ...times, epoch });
        return (await store.claim(claim)).outcome;
      };
      expect(await outcomeOf(-60, ROOM - slack)).toBe('claimed');
      expect(await outcomeOf(-60, -slack - 0.01)).toBe('stale');
      expect(await outcomeOf(slack - 0.01, 60)).toBe('claimed');
      expect(await outcomeOf(slack + ROOM, 60)).toBe('early');
    },
  );

  it('takes times that are none for stale or early', async () => {
    const { store, now } = newStore();
    const time = Math.floor(await now());
    const { epoch } = await store.claim(claimOf(time));
    for (const wrong of [
      { acceptableUntil: Number.NaN },
      { acceptableFrom: Number.NaN },
      { signedAt: Number.NaN },
      { acceptableUntil: Number.POSITIVE_INFINITY },
      { acceptableFrom: Number.NEGATIVE_INFINITY },
    ])
      expect((await store.claim(claimOf(time, { epoch, ...wrong }))).outcome).toBe('stale');
  });

  it.each([
    [1, 6, /clock/],
    [1, -6, /clock/],
    [10, 6, /^accepted$/],
    [10, -6, /^accepted$/],
  ])(
    'with a slack of %i s claims nothing for a server whose clock is off by %i s, unless it is less',
    async (slack, off, verdict) => {
      const { store, now } = newStore({ slack, timeout: 3, clock: () => Date.now() / 1000 + off });
      const outcome = await store.claim(claimOf(Math.floor(await now()))).then(
        () => 'accepted',
        (error) => error.message as string,
      );
      expect(outcome).toMatch(verdict);
    },
  );
});

describe('RedisNonceStore that has just begun', () => {
  it.each([1, 2])(
    'with a slack of %i s vouches for what is acceptable from twice as long after its birth',
    async (slack) => {
      const { store, now } = newStore({ slack });
      const before = await now();
      const first = await store.claim(claimOf(Math.floor(before)));
      const after = await now();
      expect(first.outcome).toBe('uncertain');
      // All that it is uncertain of, and the second after that, is what a client is told to wait
      // for.
      const waits = [before, after].map((birth) => Math.floor(birth + 2 * slack + 5) + 1 - birth);
      const { retryAfter } = first as { retryAfter: number };
      expect(retryAfter).toBeGreaterThanOrEqual(Math.floor(Math.min(...waits)));
      expect(retryAfter).toBeLessThanOrEqual(Math.ceil(Math.max(...waits)));
      // When it may be called with such a time at all, which would be early before.
      await until(async () => (await now()) > after + slack + 0.2, 'a moment passes');
      const outcomeFrom = async (from: number) =>
        (
          await store.claim(
            claimOf(Math.floor(after), { audience: `of-${from}`, acceptableFrom: from }),
          )
        ).outcome;
      expect(await outcomeFrom(before + 2 * slack - 0.05)).toBe('uncertain');
      expect(await outcomeFrom(after + 2 * slack + 0.05)).toBe('claimed');
      // It can tell of its own life.
      const { epoch } = first;
      const claim = claimOf(Math.floor(after), { epoch });
      expect((await store.claim(claim)).outcome).toBe('claimed');
      expect((await store.claim(claim)).outcome).toBe('replayed');
    },
  );
});
