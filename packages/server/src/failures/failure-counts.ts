interface Count {
  failures: number;
  /** Milliseconds. */
  readonly endsAt: number;
}

/**
 * Counts failures by name, each name's from its first on for a fixed time. At once and without a promise: of guesses that are sent all
 * together the limit stops those beyond it, not only those that come later.
 */
export class FailureCounts {
  /** Counts of two times, of which the older are forgotten together: to find the oldest among many would be dear. */
  #young = new Map<string, Count>();
  #old = new Map<string, Count>();
  #youngSince: number;
  #lastBlockEndsAt = 0;
  readonly #limit: number;
  readonly #milliseconds: number;
  readonly #maxEntries: number;
  readonly #now: () => number;

  /**
   * @param maxEntries the most names that are kept; where there are more, the older half is forgotten
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

  /** Whether any name is blocked. Mostly none is, and that is found out without looking one up. */
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
   * Takes over what all servers together have counted, where that is too much.
   *
   * @param milliseconds until their count ends
   */
  record(name: string, failures: number, milliseconds: number): void {
    if (!(failures >= this.#limit && milliseconds > this.blockedFor(name))) return;
    const now = this.#now();
    // Other servers may be set up to count for longer.
    this.#set(name, { failures, endsAt: now + Math.min(milliseconds, this.#milliseconds) }, now);
  }

  #get(name: string): Count | undefined {
    return this.#young.get(name) ?? this.#old.get(name);
  }

  #set(name: string, count: Count, now: number): void {
    const isFull = !(this.#young.size < this.#maxEntries / 2);
    // By then all that is older has ended.
    if (isFull || !(now < this.#youngSince + this.#milliseconds)) {
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngSince = now;
    }
    // A copy: text that was cut out of a header keeps all of it.
    this.#young.set(JSON.parse(JSON.stringify(name)) as string, count);
    this.#recordBlock(count);
  }

  #recordBlock({ failures, endsAt }: Count): void {
    if (failures >= this.#limit) this.#lastBlockEndsAt = Math.max(this.#lastBlockEndsAt, endsAt);
  }
}
