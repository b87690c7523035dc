import { createHash } from 'node:crypto';
import type { ClaimOutcome, NonceClaim } from '@countersign/server';
import { expect } from 'vitest';

/** Milliseconds, as a verifier and its store have them. */
/** Seconds for which a request lives that is no presigned URL. */
export const WINDOW = 20;

export interface Limits {
  /** How far ahead of its clock a verifier lets requests be dated. */
  readonly ahead: number;
  /** By how much clocks may differ. */
  readonly slack: number;
  /** For how long a claim may be on its way: by so much more may the store's clock be ahead. */
  readonly late: number;
  /** By how much the clock of each verifier is ahead. */
  readonly skews: readonly number[];
  /** Whether the verifiers' clocks go with that of the store: in one process. */
  readonly isOneClock: boolean;
  /** Whether the store may have too little room, and forget before the time. */
  readonly isCapped: boolean;
}

/** The epoch that a request echoes: of a store, or none. */
type Echo = 'present' | 'former' | 'strange' | 'none';

export interface Signing {
  readonly accessKeyId: string;
  readonly audience: string;
  /** Whose turn it is: the client goes by the clock of this verifier. */
  readonly by: number;
  /** Milliseconds from now. */
  readonly dated: number;
  /** Seconds for which it is good: a presigned URL may ask for more. */
  readonly lifetime: number;
  readonly echo: Echo;
}

export type Answer = ClaimOutcome | { readonly outcome: 'rejected'; readonly error: unknown };

const START = 1_795_299_926_000;

/** Clocks tick on while calls are made, by microseconds. */
const BLUR = 2;

/**
 * What a nonce store must answer: a map of what was accepted, two clocks, and which verifiers know
 * of the last fault. Times are milliseconds.
 */
export class Model {
  /** The true time. */
  now = START;
  /** By how much the clock of the store is ahead of it. */
  offset = 0;
  /** Every request that was sent, in order. An attacker has them all. */
  readonly requests: NonceClaim[] = [];
  /** By nonce, of whom and for whom: the epoch in which it was claimed. */
  readonly accepted = new Map<string, string>();
  /** How many states of the store are kept, to be brought back. */
  kept = 0;
  /** A state was brought back that only those know who have seen beyond it. */
  isRolledBack = false;
  /**
   * How often each answer came, and how often there was but one that is right: to an honest
   * request, to a nonce that is known.
   */
  readonly counts: Map<string, number>;
  readonly #limits: Limits;
  /**
   * The epoch, where it is known; the last one that was told; those that must never be told again.
   */
  #present: string | undefined;
  #told: string | undefined;
  readonly #former = new Set<string>();
  /**
   * Who has called since the last fault, or knows of nothing later. Others may take what they find
   * for the past, and begin a new life.
   */
  readonly #settled = new Set<number>();
  /** Claims that were rejected in a row, by verifier. */
  readonly #failures = new Map<number, number>();
  /**
   * The latest that the store can have seen by its clock, and when its life began at the latest.
   */
  #highest = START;
  #born = START;

  constructor(limits: Limits, counts: Map<string, number>) {
    this.#limits = limits;
    this.counts = counts;
  }

  get verifiers(): number {
    return this.#limits.skews.length;
  }

  /** What the clock of the store says. */
  get storeTime(): number {
    return this.now + this.offset;
  }

  /** By how much the clock of the store was set back. */
  get setBack(): number {
    return this.#highest - this.storeTime;
  }

  /**
   * Whether a store that knows nothing but the time is not led back into a time that it has lost.
   */
  get isClockKept(): boolean {
    return this.setBack <= this.#limits.slack;
  }

  /** What the clock of a verifier says. */
  clockOf(by: number): number {
    const { isOneClock, skews } = this.#limits;
    return (isOneClock ? this.storeTime : this.now) + (skews[by] as number);
  }

  passTime(milliseconds: number): void {
    this.#setTime(this.now + milliseconds, this.offset);
  }

  setStoreClock(offset: number): void {
    // Setting it takes a moment: so no two settings have the same time.
    this.#setTime(this.now + 1, offset);
  }

  #setTime(now: number, offset: number): void {
    this.now = now;
    this.offset = offset;
    // Verifiers look after the store by themselves, so it may have seen this time without a claim.
    if (this.#verifiers.some((by) => !this.mustReject(by)))
      this.#highest = Math.max(this.#highest, this.storeTime);
  }

  /** Signs a request, as a client does, that a verifier may let through to the store. */
  sign(signing: Signing, nonce = this.#newNonce()): NonceClaim {
    const { accessKeyId, audience, by, dated, lifetime, echo } = signing;
    const { ahead } = this.#limits;
    const signedAt = Math.floor((this.clockOf(by) + Math.min(dated, ahead)) / 1000);
    const acceptable = {
      acceptableFrom: signedAt - ahead / 1000,
      acceptableUntil: signedAt + lifetime,
    };
    // Verifiers have one window. What lives for another time is a presigned URL.
    const presigned = lifetime !== WINDOW;
    const echoed = this.#echoed(echo);
    return { accessKeyId, audience, nonce, signedAt, ...acceptable, presigned, epoch: echoed };
  }

  #echoed(echo: Echo): string | undefined {
    if (echo === 'none') return undefined;
    if (echo === 'strange') return 'AAAAAAAAAAAAAAAAAAAAAA';
    if (echo === 'present') return this.#present ?? this.#told;
    return [...this.#former].at(-1);
  }

  #newNonce(): string {
    const text = `nonce ${this.requests.length}`;
    return createHash('sha256').update(text).digest().subarray(0, 16).toString('base64url');
  }

  /** Whether any request had this nonce. */
  isUsed(claim: NonceClaim): boolean {
    return this.requests.some((request) => nameOf(request) === nameOf(claim));
  }

  /**
   * Whether the store can be held to know a nonce: not where it lost it, nor where it may have been
   * forgotten by now.
   */
  mustRemember(by: number, claim: NonceClaim): boolean {
    return (
      !this.#limits.isCapped &&
      this.areTogether(by) &&
      this.isSettled &&
      this.#isFresh(by, claim) &&
      this.#present !== undefined &&
      this.accepted.get(nameOf(claim)) === this.#present
    );
  }

  /**
   * Whether a verifier asks the store at all. Requests that are too old it refuses by itself, and
   * so must the store; what is dated ahead, by less than all clocks together allow for, only a
   * verifier can refuse.
   */
  isSent(by: number, claim: NonceClaim): boolean {
    const { late, slack } = this.#limits;
    const early = claim.acceptableFrom * 1000 - this.clockOf(by);
    return early <= 0 || early > late + 2 * slack + BLUR;
  }

  #isFresh(by: number, claim: NonceClaim): boolean {
    const now = this.clockOf(by);
    return claim.acceptableFrom * 1000 <= now && now <= claim.acceptableUntil * 1000;
  }

  /** Whether a request is an honest one, which must be let in. */
  #mustClaim(by: number, claim: NonceClaim): boolean {
    const isHonest = this.#isFresh(by, claim) && !this.accepted.has(nameOf(claim));
    if (!isHonest || !this.areTogether(by) || !this.isSettled) return false;
    if (claim.epoch !== undefined) return claim.epoch === this.#present;
    return claim.acceptableFrom * 1000 > this.#born + 2 * this.#limits.slack + BLUR;
  }

  /** The clocks are so far apart, for this verifier, that nothing may be claimed, nor changed. */
  mustReject(by: number): boolean {
    const { slack, late, isOneClock } = this.#limits;
    const apart = this.storeTime - this.clockOf(by);
    return !isOneClock && !(apart >= -slack - BLUR && apart <= slack + late + BLUR);
  }

  /** They are so for every verifier. */
  get mustRejectAll(): boolean {
    return this.#verifiers.every((by) => this.mustReject(by));
  }

  /** The clocks are apart, or the store has been in a future, or it is on the edge. */
  mayReject(by: number): boolean {
    const { slack, late, isOneClock } = this.#limits;
    const apart = this.storeTime - this.clockOf(by);
    const isReached = apart >= -slack + BLUR && apart <= slack + late - BLUR;
    return !isOneClock && !(isReached && this.setBack <= slack - BLUR);
  }

  get mayRejectAny(): boolean {
    return this.#verifiers.some((by) => this.mayReject(by));
  }

  /** All clocks are as near to each other as they must be for an honest request to be let in. */
  areTogether(by: number): boolean {
    const most = this.#limits.slack - BLUR;
    const clock = this.clockOf(by);
    return (
      Math.abs(this.storeTime - clock) <= most &&
      this.setBack <= most &&
      this.#highest - clock <= most
    );
  }

  /**
   * After three failures a verifier does not ask any more, until it has looked after the store by
   * itself.
   */
  isGivenUp(by: number): boolean {
    return (this.#failures.get(by) ?? 0) >= 3;
  }

  /** The store has lost what it knew, or was given what others knew, or what it knew before. */
  fail({ isRolledBack = false } = {}): void {
    this.isRolledBack = isRolledBack;
    this.#settled.clear();
    if (this.#told !== undefined) this.#former.add(this.#told);
    if (this.#present !== undefined) this.#former.add(this.#present);
    this.#present = undefined;
  }

  /** The store answered this verifier. */
  reach(by: number): void {
    this.#failures.delete(by);
    this.isRolledBack = false;
    const isFirst = this.#settled.size === 0;
    this.#settle(by);
    // What the first has found is new to all others, if it is later than any of them knows.
    const isNew = this.#limits.isOneClock || this.setBack <= 0;
    if (isFirst && isNew) for (const other of this.#verifiers) this.#settle(other);
  }

  /** Another verifier stands in its place, which knows nothing. */
  restart(by: number): void {
    this.#failures.delete(by);
    if (this.#settled.size > 0) this.#settle(by);
  }

  #settle(by: number): void {
    if (this.#settled.has(by)) return;
    this.#settled.add(by);
    this.#born = Math.max(this.storeTime, this.#highest);
    this.#present = undefined;
  }

  /** No server has a reason to begin a new life. */
  get isSettled(): boolean {
    return this.#settled.size === this.verifiers;
  }

  /** Checks an answer, and takes note of it. */
  record(by: number, claim: NonceClaim, answer: Answer): void {
    this.#count(answer.outcome);
    if (answer.outcome === 'rejected') {
      if (!this.mayReject(by)) throw answer.error;
      this.#failures.set(by, (this.#failures.get(by) ?? 0) + 1);
      return;
    }
    expect(this.mustReject(by), 'an answer though clocks are apart').toBe(false);
    const { outcome, epoch } = answer;
    const mustRemember = this.mustRemember(by, claim);
    this.reach(by);
    this.#recordEpoch(epoch);
    if (outcome === 'claimed') this.#checkClaimed(claim, epoch);
    if (outcome === 'uncertain') this.#checkRetryAfter(answer.retryAfter);
    if (mustRemember) {
      this.#count('known');
      expect(outcome, 'a nonce that is known').toBe('replayed');
    }
    if (this.#mustClaim(by, claim)) {
      this.#count('honest');
      this.expectClaimed(answer);
    }
    if (outcome === 'claimed') this.accepted.set(nameOf(claim), epoch);
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** Checks that an honest request is let in. */
  expectClaimed(answer: Answer | undefined): void {
    const permitted = this.#limits.isCapped ? ['claimed', 'uncertain'] : ['claimed'];
    expect(permitted, 'an honest request').toContain(answer?.outcome);
  }

  #recordEpoch(epoch: string): void {
    expect([...this.#former], 'an epoch that has ended').not.toContain(epoch);
    if (this.isSettled && this.#present !== undefined)
      expect(epoch, 'an epoch goes on while nothing happens').toBe(this.#present);
    if (this.#told !== undefined && this.#told !== epoch) this.#former.add(this.#told);
    this.#present = epoch;
    this.#told = epoch;
  }

  #checkClaimed(claim: NonceClaim, epoch: string): void {
    const { slack } = this.#limits;
    expect(this.accepted.has(nameOf(claim)), 'claimed twice').toBe(false);
    expect([undefined, epoch], 'claimed with another echo').toContain(claim.epoch);
    const [from, until] = [claim.acceptableFrom * 1000, claim.acceptableUntil * 1000];
    expect(until + slack + BLUR, 'not too old').toBeGreaterThanOrEqual(this.storeTime);
    expect(from - slack - BLUR, 'not too early').toBeLessThanOrEqual(this.storeTime);
  }

  #checkRetryAfter(retryAfter: number): void {
    const { ahead, slack, isCapped } = this.#limits;
    expect(Number.isInteger(retryAfter)).toBe(true);
    expect(retryAfter).toBeGreaterThanOrEqual(1);
    const most = Math.ceil((ahead + 2 * slack + Math.max(0, this.setBack) + BLUR) / 1000) + 1;
    if (!isCapped) expect(retryAfter).toBeLessThanOrEqual(most);
  }

  get #verifiers(): number[] {
    return [...this.#limits.skews.keys()];
  }
}

function nameOf({ audience, accessKeyId, nonce }: NonceClaim): string {
  return `${audience}\n${accessKeyId}\n${nonce}`;
}
