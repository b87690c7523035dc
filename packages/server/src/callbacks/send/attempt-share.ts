/** Seconds that an attempt is taken to last, until one has ended. */
const FIRST_PACE = 0.05;
/** Seconds for which a callback is sent away, at least and at most. */
const SHORTEST_WAIT = 0.02;
const LONGEST_WAIT = 60;
/** Weight of the last attempt in the pace. */
const WEIGHT = 0.2;

/**
 * Attempts that share a bound: all at one endpoint, for one owner, or at endpoints that are not
 * known to be quick.
 */
export class AttemptShare {
  #running = 0;
  #pace: number | undefined;
  /** Unix seconds: since then no attempt has ended. */
  #busySince = 0;
  /** Unix seconds: the time that was given to the last callback that was sent away. */
  #queuedUntil = 0;

  get running(): number {
    return this.#running;
  }

  /** Seconds that an attempt lasts, smoothed; `undefined` until one has ended. */
  get pace(): number | undefined {
    return this.#pace;
  }

  begin(now: number): void {
    if (this.#running === 0) this.#busySince = now;
    this.#running += 1;
  }

  /** @param seconds how long the attempt lasted, if one was made */
  end(seconds: number | undefined, now: number): void {
    this.#running -= 1;
    this.#busySince = now;
    if (seconds === undefined) return;
    this.#pace = this.#pace === undefined ? seconds : this.#pace + WEIGHT * (seconds - this.#pace);
  }

  /**
   * When a callback that found no place comes again. The times are as far apart as places become
   * free, so that those who wait ask seldom, however many they are. An attempt that has not ended
   * yet tells how slow the receiver is, too.
   *
   * @param opens Unix seconds: no attempt begins before
   */
  comeAgain(places: number, opens: number, now: number): number {
    const pace = Math.max(this.#pace ?? FIRST_PACE, now - this.#busySince, SHORTEST_WAIT);
    const next = Math.max(this.#queuedUntil, opens) + pace / places;
    // From the beginning of the minute again: at its end they would all come at once.
    this.#queuedUntil = next <= opens + LONGEST_WAIT ? next : opens + pace / places;
    return Math.min(Math.max(this.#queuedUntil, now + SHORTEST_WAIT), opens + LONGEST_WAIT);
  }
}
