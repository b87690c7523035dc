import type { ScriptReply } from './redis-reply.ts';

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
  heardAt = Number.NEGATIVE_INFINITY;
  /** The same: when the store last looked after it. */
  watchedAt = Number.NEGATIVE_INFINITY;
  /** What the store asks of its own accord; one question at a time. */
  watch: Promise<unknown> | undefined;
  #failures = 0;
  #failure: unknown;

  constructor(key: string) {
    this.key = key;
  }

  /** Takes note of an answer. */
  hear({ epoch, tick }: ScriptReply): void {
    if (epoch !== this.epoch) this.acked = 0;
    this.epoch = epoch;
    this.seen = Math.max(this.seen, tick);
    this.heardAt = performance.now();
    this.#failures = 0;
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
