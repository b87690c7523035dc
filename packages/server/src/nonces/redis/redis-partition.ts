import type { WarningCode } from '../../lib/warning-codes.ts';
import type { ScriptReply } from './script-reply.ts';

/** Failures in a row after which nobody waits for a partition any more. */
const MOST_FAILURES = 3;

/** What a server knows of one of the sorted sets that nonces lie in. */
export class RedisPartition {
  readonly key: string;
  /** The epoch that was heard of last. */
  epoch = '';
  /** The highest tick that was heard of: a lower one is the past. */
  seen = 0;
  /** The last tick of this epoch that replicas have acknowledged. */
  acked = 0;
  /** Milliseconds, by `performance.now()`: when it answered last. */
  answeredAt = Number.NEGATIVE_INFINITY;
  /** The same: when the store last looked after it. */
  watchedAt = Number.NEGATIVE_INFINITY;
  /** What the store asks of its own accord; one question at a time. */
  watch: Promise<unknown> | undefined;
  /** What the operator was told is wrong with it. */
  trouble: WarningCode | undefined;
  /** The epoch of which it is known why it began, or that began before this server. */
  #explained = '';
  #failures = 0;
  #failure: unknown;
  /** Claims and looks in a row that failed. */
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
   * @param isOwn whether this server has begun it
   * @returns whether that is news, and whether this server knew another epoch before
   */
  explain({ epoch, why }: ScriptReply, isOwn: boolean): { isNews: boolean; knewAnother: boolean } {
    const known = this.#explained;
    if (why !== '') this.#explained = epoch;
    const knewAnother = known !== '' && known !== epoch;
    return { isNews: why !== '' && known !== epoch && (knewAnother || isOwn), knewAnother };
  }

  /** Counts a claim or a look that failed, and says whether so many did in a row that the operator must hear of it. */
  miss(): boolean {
    this.#missed++;
    return this.#missed >= MOST_FAILURES;
  }

  fail(error: unknown): void {
    this.#failures++;
    this.#failure = error;
  }

  /** Whether claims are refused without a call, until a watch gets an answer: a dead store costs nothing. */
  get isOpen(): boolean {
    return this.#failures >= MOST_FAILURES;
  }

  /** @throws Error where the circuit is open */
  check(): void {
    if (!this.isOpen) return;
    const { message } = this.#failure as Error;
    throw new Error(`Redis is not asked until it answers again; it failed: ${message}`);
  }
}
