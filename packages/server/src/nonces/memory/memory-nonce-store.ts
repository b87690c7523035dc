import { randomBytes } from 'node:crypto';
import * as z from 'zod';
import { OperatorWarnings, type WarningHook, warningOption } from '../../lib/operator-warning.ts';
import { clockOption, parseOptions } from '../../lib/options.ts';
import {
  CLOCK_SLACK,
  type ClaimOutcome,
  hasTimes,
  type NonceClaim,
  type NonceStore,
} from '../../verify/nonce-store.ts';
import { epochWarning } from '../epoch-warning.ts';
import { WidestLimits } from '../widest-limits.ts';
import { createNonceBits } from './nonce-bits.ts';
import { NoncePool } from './nonce-pool.ts';
import { hashUint128 } from './uint128-set.ts';

export interface MemoryNonceStoreOptions {
  /** Unix seconds; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /**
   * How many nonces of requests the store holds at most, and as many of one-time presigned URLs:
   * 1,000,000 if not given.
   */
  readonly maxEntries?: number | undefined;
  /**
   * How many nonces of one subject the store holds at most, and as many of its one-time presigned
   * URLs: a quarter of `maxEntries` if not given, which is 1,800 requests a second. More requests
   * of this subject are refused with `ERR_TOO_MANY_REQUESTS`; other subjects are not. Raise it if
   * one key makes most requests.
   */
  readonly perSubject?: number | undefined;
  /**
   * Unix seconds: since when this store has seen every request. Now if not given. Give an earlier
   * time only if no server accepted a request between then and now: otherwise the store accepts
   * replays of those requests.
   */
  readonly bornAt?: number | undefined;
  /**
   * Called if the store is full, or begins a new epoch for a wider window. If not given, process
   * warnings say so. See docs/errors.md, "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const optionsSchema = z.strictObject({
  clock: clockOption,
  maxEntries: z.int().min(1).max(16_000_000).default(1_000_000),
  perSubject: z.int().min(1).max(16_000_000).optional(),
  bornAt: z.number().optional(),
  onWarning: warningOption,
});

/**
 * Nonces in the memory of one server process. Several processes that share keys need
 * `RedisNonceStore`: otherwise each would accept a request that another has accepted.
 *
 * Memory is bounded. A nonce takes 22 to 43 bytes, or 64 while its table grows. A subject with live
 * nonces takes about 200 bytes. When the store is full, it forgets the nonces that expire first,
 * and raises its floor to them. Requests below the floor are refused as uncertain, so no request is
 * accepted because its nonce was forgotten. Before that, a subject that has a quarter of all nonces
 * is refused.
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
  readonly #clock: () => number;
  readonly #limits = new WidestLimits();
  #epoch = newEpoch();
  #bornAt: number;
  readonly #requests: NoncePool;
  /** Apart from requests: URLs that live for an hour must not raise the floor of requests. */
  readonly #presigned: NoncePool;
  readonly #perSubject: number;
  readonly #maxEntries: number;
  readonly #warnings: OperatorWarnings;
  readonly #bitsOf = createNonceBits();

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: MemoryNonceStoreOptions = {}) {
    const {
      clock,
      maxEntries,
      bornAt,
      perSubject = Math.ceil(maxEntries / 4),
      onWarning,
    } = parseOptions('MemoryNonceStore', optionsSchema, options);
    this.#clock = clock;
    this.#bornAt = bornAt ?? this.#clock();
    this.#perSubject = perSubject;
    this.#maxEntries = maxEntries;
    this.#warnings = new OperatorWarnings(onWarning);
    this.#requests = new NoncePool(maxEntries, perSubject);
    this.#presigned = new NoncePool(maxEntries, perSubject);
  }

  /**
   * The random name of this store's life. Each instance has its own. It changes when a verifier
   * claims with a wider window than any before.
   */
  get epoch(): string {
    return this.#epoch;
  }

  /** How many nonces are held. */
  get size(): number {
    return this.#requests.size + this.#presigned.size;
  }

  /** Claims a nonce. See {@link NonceStore.claim}. */
  async claim(claim: NonceClaim): Promise<ClaimOutcome> {
    const now = this.#clock();
    if (!hasTimes(claim) || !(now <= claim.acceptableUntil + CLOCK_SLACK))
      return { outcome: 'stale', epoch: this.epoch };
    if (!(claim.acceptableFrom <= now + CLOCK_SLACK))
      return { outcome: 'early', epoch: this.epoch };
    const limits = this.#limits.record(claim);
    if (limits.isWider) {
      // Nonces were forgotten by the narrower window, and the wider one accepts their requests
      // again.
      this.#epoch = newEpoch();
      this.#bornAt = now;
      const warning = epochWarning('in memory', 'wider-window', this.#epoch, CLOCK_SLACK);
      this.#warnings.event('COUNTERSIGN_NONCE_EPOCH', warning);
    }
    const { epoch } = this;
    this.#requests.forgetExpired(now);
    this.#presigned.forgetExpired(now);

    const nonce = this.#bitsOf(claim);
    const hash = hashUint128(nonce);
    if (this.#requests.has(nonce, hash) || this.#presigned.has(nonce, hash))
      return { outcome: 'replayed', epoch };

    const pool = claim.presigned === true ? this.#presigned : this.#requests;
    const { signedAt } = claim;
    const acceptableFrom =
      limits.ahead > 0
        ? Math.min(claim.acceptableFrom, signedAt - limits.ahead)
        : claim.acceptableFrom;
    const window = pool === this.#requests ? limits.window : 0;
    const acceptableUntil = Math.max(claim.acceptableUntil, signedAt + window);
    const lifetime = acceptableUntil - signedAt;
    if (!(acceptableUntil > pool.floor)) return this.#uncertain(pool.floor - lifetime, now);
    const certainFrom = this.#bornAt + 2 * CLOCK_SLACK;
    const isCertain = (claim.epoch ?? '') === '' && acceptableFrom > certainFrom;
    if (claim.epoch !== epoch && !isCertain)
      return this.#uncertain(certainFrom + signedAt - acceptableFrom, now);

    const owner = `${claim.audience}\n${claim.owner ?? claim.accessKeyId}`;
    const fullUntil = pool.fullUntil(owner);
    // The client signs a refused request again. So the first copy must not be accepted when there
    // is room, or the request would run twice. A presigned URL is not signed again.
    if (fullUntil !== undefined && pool === this.#requests)
      pool.raiseFloorOf(owner, acceptableUntil);
    const floor = pool.floorOf(owner);
    if (fullUntil !== undefined || !(acceptableUntil > floor)) {
      const until = Math.max(fullUntil ?? now, Math.floor(floor - lifetime) + 1);
      const retryAfter = Math.max(1, Math.ceil(until - now));
      return { outcome: 'exhausted', epoch, retryAfter, limit: this.#perSubject };
    }

    if (pool.makeRoom()) this.#warnFull();
    else if (this.size < this.#maxEntries / 2) this.#warnings.end('COUNTERSIGN_NONCE_STORE_FULL');
    if (!(acceptableUntil > pool.floor)) return this.#uncertain(pool.floor - lifetime, now);
    pool.add(nonce, hash, owner, acceptableUntil, now);
    return { outcome: 'claimed', epoch };
  }

  #warnFull(): void {
    const message = `The nonce store in memory is full: it holds ${this.#maxEntries} nonces, and forgets the oldest. Requests that are as old are refused as replay-unknown: raise maxEntries, or lower the window`;
    this.#warnings.begin('COUNTERSIGN_NONCE_STORE_FULL', { message });
  }

  /** Requests are dated in whole seconds, so the next whole second after `limit` is above it. */
  #uncertain(limit: number, now: number): ClaimOutcome {
    const retryAfter = Math.max(1, Math.ceil(Math.floor(limit) + 1 - now));
    return { outcome: 'uncertain', epoch: this.epoch, retryAfter };
  }
}

function newEpoch(): string {
  return randomBytes(16).toString('base64url');
}
