/** What an endpoint has shown of itself. */
interface EndpointState {
  running: number;
  /** Failures since the last success. */
  failures: number;
  /** Unix seconds: nothing is sent before. */
  restUntil: number;
  /** Seconds that an attempt takes, smoothed. */
  pace: number;
  /** Unix seconds: up to when those that were sent away have been given a time. */
  queuedUntil: number;
}

/** After so many failures in a row one attempt at a time is made, after a rest. */
const TIRED_AFTER = 5;
/** Seconds: of the first rest, doubled with each further failure up to the longest. */
const FIRST_REST = 1;
const LONGEST_REST = 60;
/** Seconds for which a callback is sent away: it comes back to see. */
const LONGEST_WAIT = 60;
const SHORTEST_WAIT = 0.02;
const MOST_STATES = 10_000;

/**
 * Lets so many attempts at one endpoint run at once, and gives one that fails again and again a rest. So one dead receiver, for which each attempt
 * takes until the time-out, occupies few of the places that all share, and then one; those who wait for it wait in the queue, not in a place.
 */
export class EndpointGate {
  readonly #perEndpoint: number;
  readonly #states = new Map<string, EndpointState>();

  constructor(perEndpoint: number) {
    this.#perEndpoint = perEndpoint;
  }

  /**
   * Takes a place.
   *
   * @param now Unix seconds
   * @returns `undefined` where there is one; otherwise when to come again, so that not all come at once
   */
  enter(endpointId: string, now: number): number | undefined {
    const state = this.#stateOf(endpointId);
    const places = state.failures >= TIRED_AFTER ? 1 : this.#perEndpoint;
    const opens = Math.max(now, state.restUntil);
    if (opens === now && state.running < places) {
      state.running += 1;
      return undefined;
    }
    state.queuedUntil =
      Math.max(state.queuedUntil, opens) + Math.max(state.pace / places, SHORTEST_WAIT / places);
    return Math.min(Math.max(state.queuedUntil, now + SHORTEST_WAIT), opens + LONGEST_WAIT);
  }

  /**
   * Gives the place back.
   *
   * @param outcome whether the endpoint is well, where it was asked; how long it took, and until when it wants to be left alone
   */
  leave(
    endpointId: string,
    {
      isWell,
      seconds,
      restUntil = 0,
    }: { isWell: boolean | undefined; seconds: number; restUntil?: number },
    now: number,
  ): void {
    const state = this.#stateOf(endpointId);
    state.running -= 1;
    if (isWell === undefined) return;
    state.pace += 0.2 * (seconds - state.pace);
    state.failures = isWell ? 0 : state.failures + 1;
    const tired = state.failures - TIRED_AFTER;
    const rest = tired < 0 ? 0 : Math.min(FIRST_REST * 2 ** tired, LONGEST_REST);
    state.restUntil = isWell ? 0 : Math.max(state.restUntil, now + rest, restUntil);
    // Of whom there is nothing to remember.
    if (state.running === 0 && isWell && state.queuedUntil <= now) this.#states.delete(endpointId);
  }

  #stateOf(endpointId: string): EndpointState {
    let state = this.#states.get(endpointId);
    if (state === undefined) {
      this.#makeRoom();
      state = { running: 0, failures: 0, restUntil: 0, pace: 0.05, queuedUntil: 0 };
      this.#states.set(endpointId, state);
    }
    return state;
  }

  /** The oldest that is idle goes: it may be tried once more than it should, which harms little. */
  #makeRoom(): void {
    if (this.#states.size < MOST_STATES) return;
    for (const [id, { running }] of this.#states) {
      if (running > 0) continue;
      this.#states.delete(id);
      return;
    }
  }
}
