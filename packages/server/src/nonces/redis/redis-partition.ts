import type { WarningCode } from '../../lib/warning-codes.ts';
import type { ScriptReply } from './script-reply.ts';

/** After so many failures in a row, claims fail at once and the operator is told. */
const MOST_FAILURES = 3;

/**
 * What this server knows of one sorted set of nonces. `claim-script.ts` explains epoch and tick.
 */
export class RedisPartition {
  readonly key: string;
  /** The epoch of the last answer. */
  epoch = '';
  /** The highest tick of any answer. If Redis has a lower one, it went back to an older state. */
  seen = 0;
  /** The last tick of this epoch that replicas acknowledged. */
  acked = 0;
  /** Milliseconds, by `performance.now()`: the time of the last answer. */
  answeredAt = Number.NEGATIVE_INFINITY;
  /** Milliseconds, by `performance.now()`: when the store last looked after the partition. */
  watchedAt = Number.NEGATIVE_INFINITY;
  /** The look that is under way. There is one at a time. */
  watch: Promise<unknown> | undefined;
  /** The warning that the operator got about this partition and that has not ended. */
  trouble: WarningCode | undefined;
  /** The epoch whose cause is known, or that began before this server started. */
  #explained = '';
  #failures = 0;
  #failure: unknown;
  /** How many claims and looks in a row have failed. */
  #missed = 0;

  constructor(key: string) {
    this.key = key;
  }

  /** Records an answer. */
  record({ epoch, tick, why }: ScriptReply): void {
    if (epoch !== this.epoch) this.acked = 0;
    this.epoch = epoch;
    this.seen = Math.max(this.seen, tick);
    this.answeredAt = performance.now();
    this.#failures = 0;
    this.#missed = 0;
    if (why === '' && this.#explained === '') this.#explained = epoch;
  }

  /**
   * Records why an epoch began, if a reply says so.
   *
   * @param isOwn whether this server began the epoch
   * @returns whether the operator has not heard of it, and whether this server knew another epoch
   */
  explain({ epoch, why }: ScriptReply, isOwn: boolean): { isNews: boolean; knewAnother: boolean } {
    const known = this.#explained;
    if (why !== '') this.#explained = epoch;
    const knewAnother = known !== '' && known !== epoch;
    return { isNews: why !== '' && known !== epoch && (knewAnother || isOwn), knewAnother };
  }

  /** Counts a claim or a look that failed. Returns whether the operator must hear of it. */
  miss(): boolean {
    this.#missed++;
    return this.#missed >= MOST_FAILURES;
  }

  fail(error: unknown): void {
    this.#failures++;
    this.#failure = error;
  }

  /**
   * Whether claims fail without a call until a look gets an answer. So a dead Redis costs no time.
   */
  get isOpen(): boolean {
    return this.#failures >= MOST_FAILURES;
  }

  /** @throws Error if claims fail without a call now */
  check(): void {
    if (!this.isOpen) return;
    const { message } = this.#failure as Error;
    throw new Error(`Claims fail at once until Redis answers again. Last error: ${message}`);
  }
}
