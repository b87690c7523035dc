/** Seconds that an attempt is assumed to last, until one has ended. */
const FIRST_PACE = 0.05;
/** Seconds that a callback without a place waits before it asks again: the least and the most. */
const SHORTEST_WAIT = 0.02;
const LONGEST_WAIT = 60;
/** Weight of the latest attempt in the pace. */
const WEIGHT = 0.2;

/**
 * Attempts that share a bound: all at one endpoint, for one owner, or at endpoints that are not
 * known to be quick.
 */
export class AttemptShare {
  #running = 0;
  #pace: number | undefined;
  /** Unix seconds: the time since which no attempt has ended. */
  #busySince = 0;
  /** Unix seconds: the latest time that `comeAgain` planned for a callback. */
  #queuedUntil = 0;

  get running(): number {
    return this.#running;
  }

  /** Seconds that an attempt lasts (a moving average); `undefined` until one has ended. */
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
   * Says when a callback that found no place asks again. The times are as far apart as places
   * become free, so even many waiting callbacks ask rarely. An attempt that still runs counts too:
   * it shows how slow the receiver is.
   *
   * @param opens Unix seconds: no attempt begins before this time
   */
  comeAgain(places: number, opens: number, now: number): number {
    const pace = Math.max(this.#pace ?? FIRST_PACE, now - this.#busySince, SHORTEST_WAIT);
    const next = Math.max(this.#queuedUntil, opens) + pace / places;
    // Start at the beginning of the minute again. Otherwise all would come at once at its end.
    this.#queuedUntil = next <= opens + LONGEST_WAIT ? next : opens + pace / places;
    return Math.min(Math.max(this.#queuedUntil, now + SHORTEST_WAIT), opens + LONGEST_WAIT);
  }
}
