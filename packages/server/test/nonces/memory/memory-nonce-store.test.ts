import { inspect } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type ClaimOutcome, MemoryNonceStore, type NonceClaim } from '@countersign/server';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nonceBudgetContract } from '../nonce-budget-contract.ts';
import { AHEAD, claimOf, nonceStoreContract, SLACK, WINDOW } from '../nonce-store-contract.ts';

const NOW = 1_795_300_000;

/** A store whose clock is set by hand. */
function storeAt(
  now: number,
  options: { maxEntries?: number; bornAt?: number; perSubject?: number } = {},
) {
  const clock = { now };
  const store = new MemoryNonceStore({ clock: () => clock.now, ...options });
  return { clock, store };
}

nonceStoreContract('MemoryNonceStore', () => {
  const { clock, store } = storeAt(NOW);
  const lose = () => new MemoryNonceStore({ clock: () => clock.now });
  return {
    servers: [store],
    now: () => clock.now,
    until: (time) => void Object.assign(clock, { now: time }),
    lose,
  };
});

nonceStoreContract('MemoryNonceStore in the middle of a second', () => {
  const { clock, store } = storeAt(NOW + 0.75);
  const lose = () => new MemoryNonceStore({ clock: () => clock.now });
  return {
    servers: [store],
    now: () => clock.now,
    until: (time) => void Object.assign(clock, { now: time }),
    lose,
  };
});

nonceBudgetContract('MemoryNonceStore', (perSubject) => {
  const { clock, store } = storeAt(NOW, { perSubject });
  const expire = () => void Object.assign(clock, { now: NOW + 40 });
  return { servers: [store], now: () => clock.now, expire };
});

async function outcomeOf(claim: Promise<ClaimOutcome>): Promise<string> {
  return (await claim).outcome;
}

/** Seconds after which, as the store says, a request that is signed again is judged. */
function waitOf(answer: ClaimOutcome): number {
  if (answer.outcome !== 'uncertain') throw new Error(`Cannot wait: ${answer.outcome}`);
  return answer.retryAfter;
}

describe('new MemoryNonceStore()', () => {
  it('takes the time from the system where no clock is given', async () => {
    const store = new MemoryNonceStore({ bornAt: 0 });
    const now = Math.floor(Date.now() / 1000);
    expect(await outcomeOf(store.claim(claimOf(now)))).toBe('claimed');
    expect(await outcomeOf(store.claim(claimOf(now - 2 * WINDOW)))).toBe('stale');
  });

  it('has a life of its own, which its epoch names', () => {
    const epochs = Array.from({ length: 100 }, () => new MemoryNonceStore().epoch);
    expect(new Set(epochs).size).toBe(100);
  });

  it('refuses options that it cannot use', () => {
    const build = (options: object) => () => new MemoryNonceStore(options);
    for (const maxEntries of [0, -1, 1.5, Number.NaN, 16_000_001]) {
      expect(build({ maxEntries })).toThrow(/Cannot build MemoryNonceStore: option "maxEntries"/);
    }
    expect(build({ maxEntries: 0 })).toThrow(RangeError);
    expect(build({ clock: 0 })).toThrow(TypeError);
    expect(build({ bornAt: '0' })).toThrow(TypeError);
    expect(build({ bornAt: Number.NaN })).toThrow(TypeError);
    expect(build({ ttl: 120 })).toThrow('unknown option "ttl"');
  });

  it('shows no nonce', async () => {
    const { store } = storeAt(NOW, { bornAt: 0 });
    await store.claim(claimOf(NOW, { nonce: 'the-nonce-itself' }));
    expect(inspect(store, { depth: 9 })).not.toContain('the-nonce');
    expect(JSON.stringify(store)).toBe('{}');
  });
});

describe('MemoryNonceStore claim()', () => {
  it('remembers a nonce while its request is acceptable and a second longer, also one dated ahead', async () => {
    for (const signedAt of [NOW - WINDOW, NOW - 1, NOW, NOW + AHEAD]) {
      const { clock, store } = storeAt(NOW, { bornAt: 0 });
      const claim = claimOf(signedAt);
      expect(await outcomeOf(store.claim(claim))).toBe('claimed');
      for (; clock.now <= signedAt + WINDOW + SLACK; clock.now += 0.25) {
        expect(await outcomeOf(store.claim(claim))).toBe('replayed');
      }
      expect(await outcomeOf(store.claim(claim))).toBe('stale');
    }
  });

  it('claims until exactly a second after the request was acceptable last', async () => {
    const { clock, store } = storeAt(NOW, { bornAt: 0 });
    clock.now = NOW + WINDOW + SLACK;
    expect(await outcomeOf(store.claim(claimOf(NOW)))).toBe('claimed');
    clock.now += 0.001;
    expect(await outcomeOf(store.claim(claimOf(NOW)))).toBe('stale');
  });

  it('is certain from the first request that cannot have been accepted before its birth', async () => {
    const { clock, store } = storeAt(NOW);
    const signedAt = NOW + 2 * SLACK + AHEAD;
    clock.now = signedAt;
    expect(await outcomeOf(store.claim(claimOf(signedAt)))).toBe('uncertain');
    expect(await outcomeOf(store.claim(claimOf(signedAt + 1)))).toBe('claimed');
  });

  it('tells how long to wait, neither less nor a second more, at any moment of its birth', async () => {
    for (let bornAt = NOW; bornAt <= NOW + 1; bornAt += 0.125) {
      for (let asked = bornAt; asked <= bornAt + AHEAD + 2 * SLACK; asked += 0.125) {
        const { clock, store } = storeAt(bornAt);
        clock.now = asked;
        const answer = await store.claim(claimOf(Math.floor(asked)));
        if (answer.outcome === 'claimed') continue;
        const wait = waitOf(answer);
        clock.now = asked + wait;
        expect(await outcomeOf(store.claim(claimOf(Math.floor(clock.now))))).toBe('claimed');
        if (wait === 1) continue;
        // No client waits for longer than it must: one second less would not have been enough.
        clock.now = asked + wait - 1;
        const { clock: other, store: early } = storeAt(bornAt);
        other.now = clock.now;
        expect(await outcomeOf(early.claim(claimOf(Math.floor(clock.now))))).toBe('uncertain');
      }
    }
  });

  it('vouches for the past where it is told that nothing was accepted then', async () => {
    const { store } = storeAt(NOW, { bornAt: NOW - 60 });
    expect(await outcomeOf(store.claim(claimOf(NOW)))).toBe('claimed');
    expect(await outcomeOf(store.claim(claimOf(NOW - 60)))).toBe('uncertain');
  });

  it('refuses everything while its clock tells no time', async () => {
    const { clock, store } = storeAt(NOW, { bornAt: 0 });
    clock.now = Number.NaN;
    // The verifier answers 503.
    await expect(store.claim(claimOf(NOW))).rejects.toThrow(
      'Cannot tell the time: what the clock returned is NaN, expected Unix seconds',
    );
  });

  it('claims nothing again where its clock is set back', async () => {
    const { clock, store } = storeAt(NOW, { bornAt: 0 });
    const claims = Array.from({ length: WINDOW + AHEAD }, (_, index) =>
      claimOf(NOW - WINDOW + index),
    );
    for (const claim of claims) expect(await outcomeOf(store.claim(claim))).toBe('claimed');
    for (const leap of [60, 130, 600, 100_000]) {
      clock.now = NOW + leap;
      await store.claim(claimOf(NOW + leap));
      for (const back of [0, 1, 30, 119]) {
        clock.now = NOW - back;
        for (const claim of claims) expect(await outcomeOf(store.claim(claim))).not.toBe('claimed');
      }
    }
  });

  it('lets new requests in after the wait it tells, where its clock was set back', async () => {
    const { clock, store } = storeAt(NOW, { bornAt: 0 });
    await store.claim(claimOf(NOW));
    clock.now = NOW + 600;
    await store.claim(claimOf(NOW + 600));
    clock.now = NOW;
    const answer = await store.claim(claimOf(NOW));
    if (answer.outcome === 'claimed') return;
    clock.now += waitOf(answer);
    expect(await outcomeOf(store.claim(claimOf(Math.floor(clock.now))))).toBe('claimed');
  });
});

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes in typed arrays that are still referenced. */
function arrayBuffers(): number {
  // Arrays are let go of in the background: the second time waits for the first.
  collectGarbage();
  collectGarbage();
  return process.memoryUsage().arrayBuffers;
}

describe('MemoryNonceStore and verifiers with other windows', () => {
  it('keeps a nonce of the narrower window for as long as the wider one lasts', async () => {
    const { clock, store } = storeAt(NOW, { bornAt: 0 });
    const { epoch } = store;
    const within = (window: number, nonce: string) =>
      claimOf(NOW, { nonce, epoch, acceptableUntil: NOW + window });
    expect(await outcomeOf(store.claim(within(300, 'wide')))).toBe('claimed');
    expect(await outcomeOf(store.claim(within(120, 'narrow')))).toBe('claimed');
    for (clock.now of [NOW + 127, NOW + 160, NOW + 300])
      expect(await outcomeOf(store.claim(within(300, 'narrow')))).toBe('replayed');
  });
});

describe('MemoryNonceStore memory', () => {
  it('forgets what has expired', async () => {
    const { clock, store } = storeAt(NOW, { bornAt: 0 });
    for (let second = 0; second < 1_000; second++) {
      clock.now = NOW + second;
      for (let claims = 0; claims < 10; claims++) await store.claim(claimOf(clock.now));
      // A little more than is alive: what expires within seconds of each other goes together.
      expect(store.size).toBeLessThanOrEqual(10 * (WINDOW + 40));
      expect(store.size).toBeGreaterThanOrEqual(10 * Math.min(second + 1, WINDOW));
    }
    clock.now += 10 * WINDOW;
    await store.claim(claimOf(clock.now));
    expect(store.size).toBe(1);
  });

  it.each([1, 2, 10, 100, 1_000])(
    'never holds more than %i, and claims nothing that it dropped',
    async (maxEntries) => {
      const { clock, store } = storeAt(NOW, { maxEntries, perSubject: maxEntries + 1, bornAt: 0 });
      const claimed: NonceClaim[] = [];
      let refused = 0;
      for (let round = 0; round < 100; round++) {
        clock.now += 3;
        for (let claims = 0; claims < Math.max(2, maxEntries / 10); claims++) {
          // Dated all over the window.
          const claim = claimOf(clock.now - ((round * 7 + claims * 13) % (WINDOW - 10)) + AHEAD);
          const answer = await store.claim(claim);
          expect(store.size).toBeLessThanOrEqual(maxEntries);
          if (answer.outcome === 'claimed') claimed.push(claim);
          else refused++;
          expect(['claimed', 'uncertain']).toContain(answer.outcome);
        }
        if (round % 10 !== 0) continue;
        for (const claim of claimed)
          expect(await outcomeOf(store.claim(claim))).not.toBe('claimed');
      }
      expect(claimed.length).toBeGreaterThan(5);
      expect(refused).toBeGreaterThan(0);
    },
  );

  it('claims nothing that it dropped, though it echoes the epoch', async () => {
    const { clock, store } = storeAt(NOW, { maxEntries: 50, perSubject: 51 });
    const { epoch } = store;
    const claimed: NonceClaim[] = [];
    for (let second = 0; second < 300; second++) {
      clock.now++;
      const claim = claimOf(clock.now, { epoch });
      if ((await outcomeOf(store.claim(claim))) === 'claimed') claimed.push(claim);
      for (const old of claimed) expect(await outcomeOf(store.claim(old))).not.toBe('claimed');
    }
    // Room for 50 is room for the last seconds only, and these are served.
    expect(claimed.length).toBeGreaterThan(250);
  });

  it('lets new requests in after the wait it tells, where it is full', async () => {
    const { clock, store } = storeAt(NOW, { maxEntries: 100, perSubject: 101, bornAt: 0 });
    for (let round = 0; round < 10; round++) {
      let answer: ClaimOutcome;
      do answer = await store.claim(claimOf(Math.floor(clock.now)));
      while (answer.outcome === 'claimed');
      const wait = waitOf(answer);
      expect(wait).toBeLessThanOrEqual(2);
      clock.now += wait + 0.3;
      expect(await outcomeOf(store.claim(claimOf(Math.floor(clock.now))))).toBe('claimed');
    }
  });

  it('asks for a second of patience where it is full of one second', async () => {
    const { clock, store } = storeAt(NOW, { maxEntries: 10, perSubject: 11, bornAt: 0 });
    for (let index = 0; index < 10; index++) await store.claim(claimOf(NOW));
    expect(waitOf(await store.claim(claimOf(NOW)))).toBe(1);
    clock.now += 1;
    expect(await outcomeOf(store.claim(claimOf(clock.now)))).toBe('claimed');
  });

  it('remembers what lives for a week beside what lives for a minute, each for its time', async () => {
    const { clock, store } = storeAt(NOW, { bornAt: 0 });
    const lifetimes = Array.from({ length: 2_000 }, (_, index) => Math.ceil(1.0067 ** index));
    const claims = lifetimes.map((seconds) =>
      claimOf(NOW, { presigned: true, acceptableUntil: NOW + seconds }),
    );
    for (const claim of claims) expect(await outcomeOf(store.claim(claim))).toBe('claimed');
    for (clock.now of [NOW, NOW + 60, NOW + 3_600, NOW + 86_400, NOW + 604_800]) {
      const live = claims.filter(({ acceptableUntil }) => acceptableUntil >= clock.now);
      for (const claim of live) expect(await outcomeOf(store.claim(claim))).toBe('replayed');
      expect(store.size).toBeGreaterThanOrEqual(live.length);
    }
    clock.now = NOW + 2 * 1.0067 ** 2_000;
    await store.claim(claimOf(clock.now));
    expect(store.size).toBe(1);
  });

  it('takes at most 48 bytes for a nonce', async () => {
    const { clock, store } = storeAt(NOW, { bornAt: 0 });
    const before = arrayBuffers();
    for (let claims = 0; claims < 200_000; claims++) {
      // At a steady rate for a window, as a server gets them.
      clock.now = NOW + (claims / 200_000) * WINDOW;
      const signedAt = Math.floor(clock.now);
      await store.claim({
        accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
        audience: 'video-api',
        nonce: `nonce-${claims}`,
        signedAt,
        acceptableFrom: signedAt - AHEAD,
        acceptableUntil: signedAt + WINDOW,
      });
    }
    const bytes = arrayBuffers() - before;
    expect(store.size).toBe(200_000);
    expect(bytes / store.size).toBeLessThanOrEqual(48);
    // The test sees the memory at all.
    expect(bytes / store.size).toBeGreaterThan(8);
  });
});

describe('MemoryNonceStore under any order of events', () => {
  type Step =
    | { kind: 'claim'; nonce: number; age: number; echo: boolean }
    | { kind: 'replay'; which: number }
    | { kind: 'pass'; seconds: number }
    | { kind: 'fill'; claims: number };

  const claim = fc.record({
    kind: fc.constant('claim' as const),
    nonce: fc.nat(40),
    age: fc.integer({ min: -AHEAD, max: WINDOW }),
    echo: fc.boolean(),
  });
  const replay = fc.record({ kind: fc.constant('replay' as const), which: fc.nat() });
  const pass = fc.record({
    kind: fc.constant('pass' as const),
    seconds: fc.double({ min: 0, max: 200, noNaN: true }),
  });
  const back = fc.record({
    kind: fc.constant('pass' as const),
    seconds: fc.double({ min: -200, max: 0, noNaN: true }),
  });
  const fill = fc.record({ kind: fc.constant('fill' as const), claims: fc.nat(60) });

  /** A map of all that was ever claimed, which forgets nothing. */
  async function run(
    steps: readonly Step[],
    maxEntries: number,
    check: (
      step: Step,
      answer: string,
      known: number | undefined,
      now: number,
      claim: NonceClaim,
    ) => void,
  ) {
    const { clock, store } = storeAt(NOW, { maxEntries });
    const accepted = new Set<string>();
    const rememberedUntil = new Map<string, number>();
    const all: NonceClaim[] = [];
    const make = async (step: Step, made: NonceClaim) => {
      const name = `${made.nonce} ${made.signedAt}`;
      const { outcome } = await store.claim(made);
      check(step, outcome, rememberedUntil.get(made.nonce), clock.now, made);
      if (outcome === 'claimed') {
        // Never twice: the one thing that must hold, whatever clock and memory do.
        expect(accepted).not.toContain(name);
        accepted.add(name);
        rememberedUntil.set(
          made.nonce,
          Math.max(made.acceptableUntil, rememberedUntil.get(made.nonce) ?? 0),
        );
        all.push(made);
      }
      expect(store.size).toBeLessThanOrEqual(maxEntries);
    };
    for (const step of steps) {
      if (step.kind === 'pass') clock.now += step.seconds;
      else if (step.kind === 'replay') {
        if (all.length > 0) await make(step, all[step.which % all.length] as NonceClaim);
      } else if (step.kind === 'fill') {
        for (let claims = 0; claims < step.claims; claims++)
          await make(step, claimOf(Math.floor(clock.now), { epoch: store.epoch }));
      } else {
        const epoch = step.echo ? store.epoch : undefined;
        await make(
          step,
          claimOf(Math.floor(clock.now) - step.age, { nonce: `n${step.nonce}`, epoch }),
        );
      }
    }
    for (const made of all) await make({ kind: 'replay', which: 0 }, made);
  }

  it('claims nothing twice, though its clock steps back and it is full', async () => {
    const steps = fc.array(
      fc.oneof({ weight: 4, arbitrary: claim }, { weight: 3, arbitrary: replay }, pass, back, fill),
      { maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 80 }), (given, maxEntries) =>
        run(given, maxEntries, () => undefined),
      ),
      { numRuns: 1_000, seed: 20_261_121 },
    );
  });

  it('says what the map says, while its clock goes forward and it has room', async () => {
    const steps = fc.array(
      fc.oneof({ weight: 4, arbitrary: claim }, { weight: 3, arbitrary: replay }, pass),
      { maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(steps, (given) =>
        run(given, 10_000, (step, outcome, knownUntil, now, made) => {
          if (!(now <= made.acceptableUntil + SLACK)) return expect(outcome).toBe('stale');
          if (knownUntil !== undefined && now <= knownUntil + SLACK)
            return expect(outcome).toBe('replayed');
          // It may remember for some seconds longer than it must.
          if (knownUntil !== undefined && now <= knownUntil + SLACK + 40)
            return expect(outcome).not.toBe('stale');
          const isCertain = made.epoch !== undefined || made.acceptableFrom > NOW + SLACK;
          expect([step.kind, outcome]).toEqual([step.kind, isCertain ? 'claimed' : 'uncertain']);
        }),
      ),
      { numRuns: 1_000, seed: 20_261_121 },
    );
  });
});
