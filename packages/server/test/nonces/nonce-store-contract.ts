import type { ClaimOutcome, NonceClaim, NonceStore } from '@countersign/server';
import { describe, expect, it } from 'vitest';

/** A store to test, as one server or several see it. */
export interface StoreUnderTest {
  /** The same store, once for each server that shares it. */
  readonly servers: readonly [NonceStore, ...NonceStore[]];
  /** Unix seconds, by the clock of the store. */
  now(): number | Promise<number>;
  /** Waits until it is that late by the clock of the store. */
  until(time: number): void | Promise<void>;
  /** Makes the store forget everything; gives what stands in its place. */
  lose(): NonceStore | Promise<NonceStore>;
  /** Seconds that its clocks may be apart, `SLACK` by default. A test waits for twice as long. */
  readonly slack?: number;
}

export const WINDOW = 120;
export const AHEAD = 5;
export const SLACK = 1;

let count = 0;

/** A claim of a request signed at `signedAt`, with a nonce of its own. */
export function claimOf(signedAt: number, more: Partial<NonceClaim> = {}): NonceClaim {
  const acceptable = { acceptableFrom: signedAt - AHEAD, acceptableUntil: signedAt + WINDOW };
  return {
    accessKeyId: 'CSAK0',
    audience: 'video-api',
    nonce: `nonce-${++count}`,
    signedAt,
    ...acceptable,
    ...more,
  };
}

/** The store's epoch, as a client learns it: by being refused, or let in. */
export async function epochOf(
  store: NonceStore,
  now: number,
  accessKeyId = 'CSAK0',
): Promise<string> {
  return (await store.claim(claimOf(now - 60, { accessKeyId }))).epoch;
}

/** What every nonce store must do. */
export function nonceStoreContract(
  name: string,
  makeStore: () => StoreUnderTest | Promise<StoreUnderTest>,
): void {
  /** A store, its time in whole seconds as clients tell it, and the epoch that a client echoes. */
  async function make() {
    const made = await makeStore();
    const [store] = made.servers;
    const now = Math.floor(await made.now());
    const epoch = await epochOf(store, now);
    return { slack: SLACK, ...made, clock: made.now, store, now, epoch };
  }

  /** The outcome; of claims that no verifier makes, a rejection is as good as a refusal. */
  const outcomeOf = (claim: Promise<ClaimOutcome>): Promise<string> =>
    claim.then(
      ({ outcome }) => outcome,
      () => 'rejected',
    );

  describe(`${name} claim()`, () => {
    it('claims a nonce once, and refuses it from then on', async () => {
      const { store, now, epoch } = await make();
      const claim = claimOf(now, { epoch });
      expect(await store.claim(claim)).toEqual({ outcome: 'claimed', epoch });
      expect(await store.claim(claim)).toEqual({ outcome: 'replayed', epoch });
      expect(await store.claim({ ...claim })).toEqual({ outcome: 'replayed', epoch });
    });

    it('refuses a nonce it has seen, also with another time and another epoch', async () => {
      const { store, now, epoch } = await make();
      const claim = claimOf(now, { epoch });
      await store.claim(claim);
      for (const signedAt of [now - 60, now - 1, now + 1, now + AHEAD]) {
        for (const echoed of [undefined, epoch, 'AAAAAAAAAAAAAAAAAAAAAA']) {
          const again = claimOf(signedAt, { nonce: claim.nonce, epoch: echoed });
          expect((await store.claim(again)).outcome).toBe('replayed');
        }
      }
    });

    it('keeps access keys and audiences apart', async () => {
      const { servers, now } = await make();
      const scopes: [accessKeyId: string, audience: string, nonce: string][] = [
        ['a', 'video-api', 'n'],
        ['b', 'video-api', 'n'],
        ['a', 'audio-api', 'n'],
        ['a:b', 'video-api', 'c'],
        ['a', 'video-api', 'b:c'],
        ['a', 'b:video-api', 'c'],
        ['video-api', 'a', 'n'],
        ['an', 'video-api', ''],
        ['__proto__', 'video-api', 'n'],
        ['constructor', 'video-api', 'n'],
      ];
      for (const [index, server] of [...servers, servers[0]].entries()) {
        for (const [accessKeyId, audience, nonce] of scopes) {
          const epoch = await epochOf(server, now, accessKeyId);
          const claim = claimOf(now, { accessKeyId, audience, nonce, epoch });
          expect((await server.claim(claim)).outcome).toBe(index === 0 ? 'claimed' : 'replayed');
        }
      }
    });

    it('takes every text for a nonce', async () => {
      const { store, now, epoch } = await make();
      const named = ['__proto__', 'constructor', 'toString', 'epoch:AAAAAAAAAAAAAAAAAAAAAA:0'];
      const short = ['', ' ', '\n', '\0', ':', '*', '{1}', '-inf', '+inf', 'NaN', '0'];
      const unicode = ['é', 'e\u0301', '😀', '\u{10ffff}', '\ud800'];
      const nonces = [...named, ...short, ...unicode, 'x'.repeat(10_000), `${'x'.repeat(10_000)}y`];
      for (const outcome of ['claimed', 'replayed']) {
        for (const nonce of nonces) {
          expect(await store.claim(claimOf(now, { nonce, epoch }))).toEqual({ outcome, epoch });
        }
      }
    });

    it('claims exactly one of 64 copies that come at once, in 20 of 20 rounds', async () => {
      const { servers, now, epoch } = await make();
      for (let round = 0; round < 20; round++) {
        const claim = claimOf(now, { epoch });
        const copies = Array.from({ length: 64 }, (_, copy) =>
          (servers[copy % servers.length] as NonceStore).claim(claim),
        );
        const outcomes = (await Promise.all(copies)).map(({ outcome }) => outcome);
        expect(outcomes.filter((outcome) => outcome === 'claimed')).toHaveLength(1);
        expect(outcomes.filter((outcome) => outcome === 'replayed')).toHaveLength(63);
      }
    });

    it('is uncertain of what may have been accepted before its birth', async () => {
      const { store, now, epoch } = await make();
      for (const signedAt of [now - 100, now - 1, now, now + AHEAD]) {
        for (const echoed of [undefined, '', 'AAAAAAAAAAAAAAAAAAAAAA', `${epoch}A`]) {
          const answer = await store.claim(claimOf(signedAt, { epoch: echoed }));
          expect(answer).toEqual({ outcome: 'uncertain', epoch, retryAfter: expect.any(Number) });
        }
      }
    });

    it('claims at once what echoes its epoch', async () => {
      const { store, now, epoch } = await make();
      for (const signedAt of [now - 100, now - 1, now, now + AHEAD]) {
        expect(await store.claim(claimOf(signedAt, { epoch }))).toEqual({
          outcome: 'claimed',
          epoch,
        });
      }
    });

    it('is uncertain of what echoes another epoch, however long ago its birth', async () => {
      const { store, epoch, clock, until, slack } = await make();
      // A second more, because the clock of a store may tell whole seconds.
      await until((await clock()) + 1 + 2 * slack);
      // Signed for another life of the store, or for another store: there its nonce may be spent.
      // An audience of its own, whose requests may not be dated ahead.
      const times = { audience: 'audio-api', acceptableFrom: await clock() };
      const claim = claimOf(Math.floor(await clock()), times);
      for (const echoed of ['AAAAAAAAAAAAAAAAAAAAAA', `${epoch}A`]) {
        const answer = await store.claim({ ...claim, epoch: echoed });
        expect(answer).toEqual({ outcome: 'uncertain', epoch, retryAfter: expect.any(Number) });
      }
      expect(await store.claim(claim)).toEqual({ outcome: 'claimed', epoch });
    });

    it('says that a request is early which no server could have accepted yet', async () => {
      const { store, now, epoch } = await make();
      for (const echoed of [undefined, epoch]) {
        for (const ahead of [AHEAD + SLACK + 2, 100_000]) {
          const claim = claimOf(now + ahead, { epoch: echoed });
          expect(await store.claim(claim)).toEqual({ outcome: 'early', epoch });
        }
      }
    });

    it('claims what is signed again after retryAfter seconds, without an epoch', async () => {
      const { store, now, clock, until, slack } = await make();
      // An audience of its own, whose requests may be dated ahead by less than those of others.
      const ahead = 1;
      const signed = (at: number) =>
        claimOf(at, { audience: 'audio-api', acceptableFrom: at - ahead });
      const refused = await store.claim(signed(now));
      const asked = await clock();
      if (refused.outcome !== 'uncertain') throw new Error(refused.outcome);
      expect(Number.isInteger(refused.retryAfter)).toBe(true);
      expect(refused.retryAfter).toBeGreaterThanOrEqual(ahead);
      // Signed in the second that has begun then, and rounded up.
      expect(refused.retryAfter).toBeLessThanOrEqual(Math.ceil(ahead + 2 * slack) + 1);
      // Clients tell whole seconds, however late in one it is.
      await until(asked + refused.retryAfter);
      const later = Math.floor(asked + refused.retryAfter);
      expect((await store.claim(signed(later))).outcome).toBe('claimed');
    });

    it('says that a request is stale, whatever it echoes', async () => {
      const { store, now, epoch } = await make();
      for (const echoed of [undefined, epoch]) {
        for (const age of [WINDOW + 3, 100_000]) {
          const answer = await store.claim(claimOf(now - age, { epoch: echoed }));
          expect(answer).toEqual({ outcome: 'stale', epoch });
        }
      }
    });

    it('never claims a request whose times are none', async () => {
      const { store, now, epoch } = await make();
      const noTimes = [Number.NaN, undefined, null, '', 'soon', Infinity, -Infinity];
      for (const field of ['signedAt', 'acceptableFrom', 'acceptableUntil']) {
        for (const time of noTimes) {
          const claim = { ...claimOf(now, { epoch }), [field]: time };
          expect(await outcomeOf(store.claim(claim))).not.toBe('claimed');
        }
      }
      expect((await store.claim(claimOf(now, { epoch }))).outcome).toBe('claimed');
    });

    /** A claim of a verifier whose window is so many seconds. */
    const within = (window: number, signedAt: number, more: Partial<NonceClaim> = {}) =>
      claimOf(signedAt, { audience: 'other-api', acceptableUntil: signedAt + window, ...more });

    it('keeps a nonce for as long as the widest window of its audience', async () => {
      const { servers, clock, until, epoch, slack } = await make();
      const [store, other = store] = servers;
      const now = await clock();
      expect((await store.claim(within(60, now, { epoch }))).outcome).toBe('claimed');
      const narrow = within(2, now, { epoch });
      expect((await other.claim(narrow)).outcome).toBe('claimed');
      await until(now + 2 + 2 * slack + 0.5);
      const { nonce } = narrow;
      for (const server of servers)
        expect((await server.claim(within(60, now, { nonce, epoch }))).outcome).toBe('replayed');
    });

    it('begins a new epoch for a wider window than before, and claims nothing twice', async () => {
      const { servers, clock, until, epoch, slack } = await make();
      const [store, other = store] = servers;
      const now = await clock();
      const narrow = within(2, now, { epoch });
      expect(await store.claim(narrow)).toEqual({ outcome: 'claimed', epoch });
      await until(now + 2 + 2 * slack + 0.2);
      const copy = { ...within(60, now), nonce: narrow.nonce, epoch };
      const refused = await other.claim(copy);
      expect(['uncertain', 'replayed']).toContain(refused.outcome);
      expect(refused.epoch).not.toBe(epoch);
      for (const server of servers) {
        expect((await server.claim(copy)).outcome).toBe(refused.outcome);
        expect((await server.claim({ ...copy, epoch: '' })).outcome).toBe(refused.outcome);
      }
      // Signed again with the new epoch it is claimed at once, and the epoch goes on with either
      // window.
      const next = refused.epoch;
      for (const window of [60, 2, 60])
        expect(await store.claim(within(window, now + 4, { epoch: next }))).toEqual({
          outcome: 'claimed',
          epoch: next,
        });
    });

    it('is not certain of what a verifier that allows more ahead may have accepted', async () => {
      const { servers, now, clock, until, slack } = await make();
      const [store, other = store] = servers;
      // A second more, because the clock of a store may tell whole seconds.
      await until((await clock()) + 1 + 2 * slack);
      const later = await clock();
      const of = (ahead: number, signedAt: number) =>
        claimOf(signedAt, { audience: 'other-api', acceptableFrom: signedAt - ahead });
      const certain = { ...of(0, later + 1), acceptableFrom: later + slack / 2 };
      expect((await store.claim(certain)).outcome).toBe('claimed');
      const wide = of(later - now + 5, later);
      expect((await other.claim(wide)).outcome).toBe('uncertain');
      const again = { ...of(0, later + 1), acceptableFrom: later + slack / 2 };
      for (const server of servers) expect((await server.claim(again)).outcome).toBe('uncertain');
    });

    it('keeps its epoch as long as it remembers', async () => {
      const { servers, now, epoch } = await make();
      expect(epoch).toMatch(/^[A-Za-z0-9_-]{22}$/);
      for (const server of servers) {
        for (const signedAt of [now - 1_000, now, now + AHEAD]) {
          expect((await server.claim(claimOf(signedAt))).epoch).toBe(epoch);
        }
      }
    });

    it('claims nothing twice after it lost its memory, and lets echoing clients in at once', async () => {
      const { store, now, epoch, lose } = await make();
      const captured = [];
      for (let offset = -60; offset <= AHEAD; offset++)
        captured.push(claimOf(now + offset, { epoch }));
      for (const claim of captured) expect((await store.claim(claim)).outcome).toBe('claimed');

      const after = await lose();
      // A request cannot be given another epoch: that is signed.
      for (const claim of captured) expect((await after.claim(claim)).outcome).toBe('uncertain');
      const refused = await after.claim(claimOf(now, { epoch }));
      expect(refused.outcome).toBe('uncertain');
      expect(refused.epoch).not.toBe(epoch);
      const again = claimOf(now, { epoch: refused.epoch });
      expect(await after.claim(again)).toEqual({ outcome: 'claimed', epoch: refused.epoch });
      for (const claim of captured) expect((await after.claim(claim)).outcome).toBe('uncertain');
    });
  });
}
