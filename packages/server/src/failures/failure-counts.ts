interface Count {
  failures: number;
  /** By a clock that never goes back. */
  readonly endsAt: number;
}

/**
 * Counts failures by name, each name's from its first on for a fixed time. All at once, without a promise: of copies that are sent in one
 * go the limit stops those beyond it, and not only those after.
 */
export class FailureCounts {
  readonly #counts = new Map<string, Count>();
  readonly #limit: number;
  readonly #milliseconds: number;
  readonly #maxEntries: number;
  #lastBlockEndsAt = 0;

  /** @param maxEntries the most names that are kept: beyond, the oldest is forgotten */
  constructor(limit: number, seconds: number, maxEntries: number) {
    this.#limit = limit;
    this.#milliseconds = seconds * 1000;
    this.#maxEntries = maxEntries;
  }

  get size(): number {
    return this.#counts.size;
  }

  /** Whether any name is blocked. Mostly none is, and that is found out without looking one up. */
  get blocks(): boolean {
    return this.#lastBlockEndsAt !== 0 && this.#lastBlockEndsAt > performance.now();
  }

  /** Milliseconds for which a name is blocked; 0 if it is not. */
  blockedFor(name: string): number {
    const count = this.#counts.get(name);
    if (count === undefined || !(count.failures >= this.#limit)) return 0;
    return Math.max(0, count.endsAt - performance.now());
  }

  add(name: string): void {
    const now = performance.now();
    let count = this.#counts.get(name);
    if (count !== undefined && count.endsAt > now) count.failures += 1;
    else {
      count = { failures: 1, endsAt: now + this.#milliseconds };
      this.#set(name, count, now);
    }
    if (count.failures >= this.#limit) this.#noteBlock(count);
  }

  /**
   * Takes over what all servers together have counted, where that is too much.
   *
   * @param milliseconds until their count ends
   */
  hear(name: string, failures: number, milliseconds: number): void {
    if (!(failures >= this.#limit && milliseconds > this.blockedFor(name))) return;
    const now = performance.now();
    // Servers may be set up for longer than this one is.
    const endsAt = now + Math.min(milliseconds, this.#milliseconds);
    const count = { failures, endsAt };
    this.#set(name, count, now);
    this.#noteBlock(count);
  }

  #noteBlock({ endsAt }: Count): void {
    this.#lastBlockEndsAt = Math.max(this.#lastBlockEndsAt, endsAt);
  }

  #set(name: string, count: Count, now: number): void {
    this.#counts.delete(name);
    // From the oldest on. None is kept for longer than the time, by much, since what is behind it is younger.
    for (const [oldest, { endsAt }] of this.#counts) {
      if (endsAt > now && this.#counts.size < this.#maxEntries) break;
      this.#counts.delete(oldest);
    }
    // A copy: text that was cut out of a header would keep all of it.
    this.#counts.set(JSON.parse(JSON.stringify(name)) as string, count);
  }
}
