interface Count {
  failures: number;
  /** Milliseconds. */
  readonly endsAt: number;
}

/**
 * Counts failures by name, for a fixed time from the first failure of each name. It counts
 * synchronously: if guesses are sent all at once, the limit stops those beyond it.
 */
export class FailureCounts {
  /**
   * Counts of two periods. The older ones are forgotten together, since finding the oldest of many
   * would be expensive.
   */
  #young = new Map<string, Count>();
  #old = new Map<string, Count>();
  #youngSince: number;
  #lastBlockEndsAt = 0;
  readonly #limit: number;
  readonly #milliseconds: number;
  readonly #maxEntries: number;
  readonly #now: () => number;

  /**
   * @param maxEntries the most names that are kept; if there are more, the older half is forgotten
   * @param now milliseconds
   */
  constructor(limit: number, seconds: number, maxEntries: number, now: () => number) {
    this.#now = now;
    this.#youngSince = now();
    this.#limit = limit;
    this.#milliseconds = seconds * 1000;
    this.#maxEntries = maxEntries;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Whether any name is blocked. Usually none is, and then no name needs to be looked up. */
  get blocks(): boolean {
    return this.#lastBlockEndsAt !== 0 && this.#lastBlockEndsAt > this.#now();
  }

  /** Milliseconds for which a name is blocked; 0 if it is not. */
  blockedFor(name: string): number {
    const count = this.#get(name);
    if (count === undefined || !(count.failures >= this.#limit)) return 0;
    return Math.max(0, count.endsAt - this.#now());
  }

  add(name: string): void {
    const now = this.#now();
    const count = this.#get(name);
    if (count !== undefined && count.endsAt > now) {
      count.failures += 1;
      this.#recordBlock(count);
    } else this.#set(name, { failures: 1, endsAt: now + this.#milliseconds }, now);
  }

  /**
   * Takes over a count of all servers together, if it reaches the limit.
   *
   * @param milliseconds until that count ends
   */
  record(name: string, failures: number, milliseconds: number): void {
    if (!(failures >= this.#limit && milliseconds > this.blockedFor(name))) return;
    const now = this.#now();
    // Other servers may have a longer period.
    this.#set(name, { failures, endsAt: now + Math.min(milliseconds, this.#milliseconds) }, now);
  }

  #get(name: string): Count | undefined {
    return this.#young.get(name) ?? this.#old.get(name);
  }

  #set(name: string, count: Count, now: number): void {
    const isFull = !(this.#young.size < this.#maxEntries / 2);
    // All older counts have ended by then.
    if (isFull || !(now < this.#youngSince + this.#milliseconds)) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngSince = now;
    }
    // A copy: a piece of a header would keep the whole header in memory.
    this.#young.set(JSON.parse(JSON.stringify(name)) as string, count);
    this.#recordBlock(count);
  }

  #recordBlock({ failures, endsAt }: Count): void {
    if (failures >= this.#limit) this.#lastBlockEndsAt = Math.max(this.#lastBlockEndsAt, endsAt);
  }
}
