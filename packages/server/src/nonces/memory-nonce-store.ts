import { randomBytes } from 'node:crypto';
import * as z from 'zod';
import { parseOptions } from '../options.ts';
import {
  CLOCK_SLACK,
  type ClaimOutcome,
  hasTimes,
  type NonceClaim,
  type NonceStore,
} from './nonce-store.ts';
import { createNonceWords, type Words } from './nonce-words.ts';
import { hashWords, WordsSet } from './words-set.ts';

export interface MemoryNonceStoreOptions {
  /** Unix seconds; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /** The most nonces held at a time: 1,000,000 if not given. */
  readonly maxEntries?: number | undefined;
  /**
   * Unix seconds: since when this store has seen every request. Now if not given; an earlier moment only where it is
   * certain that nothing was accepted between then and now, or replays of that time are accepted.
   */
  readonly bornAt?: number | undefined;
}

const optionsSchema = z.strictObject({
  clock: z.function().optional(),
  maxEntries: z.int().min(1).max(16_000_000).default(1_000_000),
  bornAt: z.number().optional(),
});

/** Nonces that expire within some seconds of each other, and are forgotten together: nothing is swept one by one. */
interface Generation {
  readonly nonces: WordsSet;
  /** Unix seconds: the latest until which a request of them is acceptable. */
  latest: number;
}

/** The seconds that a generation spans, for what lives no longer than so many of them. */
const STEP = 16;
const STEPS = 16;

/**
 * Nonces in the memory of this process: for one server process. Several that share keys need `RedisNonceStore`, or each
 * would accept what another has seen.
 *
 * Memory is bounded: 22 to 43 bytes a nonce, 64 of those few seconds whose room is growing. When it is full the nonces nearest to
 * expiry go, and the store's floor rises to them: requests below the floor are refused as uncertain, never accepted because their
 * nonce was forgotten.
 *
 * @example
 * ```ts
 * import { MemoryNonceStore } from '@countersign/server';
 *
 * const nonces = new MemoryNonceStore({ maxEntries: 100_000 });
 * console.assert(nonces.epoch.length === 22);
 * ```
 */
export class MemoryNonceStore implements NonceStore {
  /** The name of this store's life; another instance has another. */
  readonly epoch = randomBytes(16).toString('base64url');
  readonly #clock: () => number;
  readonly #maxEntries: number;
  readonly #bornAt: number;
  /** By the second at which all of a generation has expired. */
  readonly #generations = new Map<number, Generation>();
  readonly #wordsOf = createNonceWords();
  #size = 0;
  #sweptAt = Number.NEGATIVE_INFINITY;
  /** Unix seconds: of requests acceptable until then at most, nonces may have been forgotten. */
  #floor = Number.NEGATIVE_INFINITY;

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: MemoryNonceStoreOptions = {}) {
    const { clock, maxEntries, bornAt } = parseOptions('MemoryNonceStore', optionsSchema, options);
    this.#clock = (clock as (() => number) | undefined) ?? (() => Date.now() / 1000);
    this.#maxEntries = maxEntries;
    this.#bornAt = bornAt ?? this.#clock();
  }

  /** How many nonces are held. */
  get size(): number {
    return this.#size;
  }

  /** Claims a nonce. */
  async claim(claim: NonceClaim): Promise<ClaimOutcome> {
    const { epoch } = this;
    const now = this.#clock();
    if (!hasTimes(claim) || !(now <= claim.acceptableUntil + CLOCK_SLACK))
      return { outcome: 'stale', epoch };
    if (!(claim.acceptableFrom <= now + CLOCK_SLACK)) return { outcome: 'early', epoch };
    this.#forgetExpired(now);

    const words = this.#wordsOf(claim);
    const hash = hashWords(words);
    for (const generation of this.#generations.values())
      if (generation.nonces.has(words, hash)) return { outcome: 'replayed', epoch };

    const lifetime = claim.acceptableUntil - claim.signedAt;
    if (!(claim.acceptableUntil > this.#floor)) return this.#uncertain(this.#floor - lifetime, now);
    const ahead = claim.signedAt - claim.acceptableFrom;
    const certainFrom = this.#bornAt + 2 * CLOCK_SLACK;
    const isCertain = (claim.epoch ?? '') === '' && claim.acceptableFrom > certainFrom;
    if (claim.epoch !== epoch && !isCertain) return this.#uncertain(certainFrom + ahead, now);

    if (this.#size >= this.#maxEntries) {
      this.#forgetOldest();
      if (!(claim.acceptableUntil > this.#floor))
        return this.#uncertain(this.#floor - lifetime, now);
    }
    this.#remember(words, hash, claim.acceptableUntil, now);
    return { outcome: 'claimed', epoch };
  }

  /** Requests are dated in whole seconds: the first after `limit` is the first that will do. */
  #uncertain(limit: number, now: number): ClaimOutcome {
    const retryAfter = Math.max(1, Math.ceil(Math.floor(limit) + 1 - now));
    return { outcome: 'uncertain', epoch: this.epoch, retryAfter };
  }

  #remember(words: Words, hash: number, until: number, now: number): void {
    // What lives for long expires in longer steps: so there are never many generations to look through.
    let step = STEP;
    while (until - now > STEPS * step) step *= 2;
    const end = (Math.floor(until / step) + 1) * step;
    let generation = this.#generations.get(end);
    if (generation === undefined) {
      generation = { nonces: new WordsSet(), latest: until };
      this.#generations.set(end, generation);
    }
    generation.nonces.add(words, hash);
    generation.latest = Math.max(generation.latest, until);
    this.#size++;
  }

  #forgetExpired(now: number): void {
    // Generations expire STEP seconds apart: to look once a second is to look often enough.
    if (now >= this.#sweptAt && now < this.#sweptAt + 1) return;
    this.#sweptAt = now;
    for (const end of this.#generations.keys()) if (end + CLOCK_SLACK < now) this.#forget(end);
  }

  #forgetOldest(): void {
    this.#forget(Math.min(...this.#generations.keys()));
  }

  /** Also for what expired: a clock that is set back must not bring to life what was forgotten. */
  #forget(end: number): void {
    const generation = this.#generations.get(end) as Generation;
    this.#generations.delete(end);
    this.#size -= generation.nonces.size;
    this.#floor = Math.max(this.#floor, generation.latest);
  }
}
