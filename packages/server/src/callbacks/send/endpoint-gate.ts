import { AttemptShare } from './attempt-share.ts';

/** Whose attempts are counted. */
interface Counted {
  readonly share: AttemptShare;
}

/** What an endpoint has shown of itself. */
interface EndpointState extends Counted {
  /** Failures since the last success. */
  failures: number;
  /** Unix seconds: no attempt begins before. */
  restUntil: number;
}

/** Bounds on the attempts that run at once in this process. */
export interface GateBounds {
  /** In all: the queue hands out no more. */
  readonly concurrency: number;
  readonly perEndpoint: number;
  readonly perOwner: number;
}

/** A place that an attempt holds. */
export interface Place {
  readonly endpoint: EndpointState;
  /** All that it counts for. */
  readonly shares: readonly AttemptShare[];
}

/** What came of the attempt that held a place. */
export interface PlaceOutcome {
  /** `undefined` if the receiver was not asked. */
  readonly isWell: boolean | undefined;
  readonly seconds: number;
  /** Unix seconds: until when the receiver wants to be left alone. */
  readonly restUntil?: number | undefined;
}

/** After so many failures in a row one attempt at a time is made, after a rest. */
const TIRED_AFTER = 5;
/** Seconds: of the first rest, doubled with each further failure up to the longest. */
const FIRST_REST = 1;
const LONGEST_REST = 60;
/** Seconds: an endpoint is quick if its attempts last no longer, smoothed. */
const QUICK = 1;
/**
 * Parts of all places that endpoints not known to be quick get: for the first place of each, and
 * for more.
 */
const FIRST_PLACES = 7 / 8;
const FURTHER_PLACES = 1 / 2;
const MOST_STATES = 10_000;

/**
 * Decides which attempts may begin, so that no receiver makes the callbacks of others wait:
 *
 * - one endpoint holds `perEndpoint` places, and all endpoints of one owner hold `perOwner`;
 * - an eighth of all places is only for endpoints that answered quickly of late. All others, slow
 *   or new, get one place each if half of the places are taken by such endpoints;
 * - an endpoint that fails again and again gets a rest, and then one place.
 *
 * What finds no place waits in the queue, and comes again.
 */
export class EndpointGate {
  readonly #bounds: GateBounds;
  readonly #endpoints = new Map<string, EndpointState>();
  readonly #owners = new Map<string, Counted>();
  /** Attempts at endpoints that were not known to be quick when these began. */
  readonly #unproven = new AttemptShare();

  constructor(bounds: GateBounds) {
    this.#bounds = bounds;
  }

  /**
   * Takes a place.
   *
   * @param now Unix seconds
   * @returns the place; or, if there is none, when to come again in Unix seconds
   */
  enter(endpointId: string, owner: string, now: number): Place | number {
    const { concurrency, perEndpoint, perOwner } = this.#bounds;
    const endpoint = findOrAdd(this.#endpoints, endpointId, newEndpoint);
    const { share } = endpoint;
    const isQuick = (share.pace ?? Number.POSITIVE_INFINITY) <= QUICK;
    const isCrowded = this.#unproven.running >= partOf(concurrency, FURTHER_PLACES);
    const isAlone = endpoint.failures >= TIRED_AFTER || (!isQuick && isCrowded);
    const places = isAlone ? 1 : perEndpoint;
    if (endpoint.restUntil > now) return share.comeAgain(places, endpoint.restUntil, now);
    const bounds: (readonly [AttemptShare, places: number])[] = [
      [share, places],
      [findOrAdd(this.#owners, owner, newOwner).share, perOwner],
    ];
    if (!isQuick) bounds.push([this.#unproven, partOf(concurrency, FIRST_PLACES)]);
    const full = bounds.find(([{ running }, most]) => !(running < most));
    if (full !== undefined) return full[0].comeAgain(full[1], now, now);
    const shares = bounds.map(([it]) => it);
    for (const it of shares) it.begin(now);
    return { endpoint, shares };
  }

  /** Gives the place back. */
  leave(
    { endpoint, shares }: Place,
    { isWell, seconds, restUntil = 0 }: PlaceOutcome,
    now: number,
  ): void {
    for (const share of shares) share.end(isWell === undefined ? undefined : seconds, now);
    if (isWell === undefined) return;
    endpoint.failures = isWell ? 0 : endpoint.failures + 1;
    const tired = endpoint.failures - TIRED_AFTER;
    const rest = tired < 0 ? 0 : Math.min(FIRST_REST * 2 ** tired, LONGEST_REST);
    endpoint.restUntil = isWell ? 0 : Math.max(endpoint.restUntil, now + rest, restUntil);
  }
}

function partOf(concurrency: number, part: number): number {
  return Math.max(1, Math.floor(concurrency * part));
}

const newOwner = (): Counted => ({ share: new AttemptShare() });
const newEndpoint = (): EndpointState => ({ ...newOwner(), failures: 0, restUntil: 0 });

/**
 * Finds what is known under a name. If there are too many, it forgets the one that was used least
 * lately and has no attempts.
 */
function findOrAdd<T extends Counted>(states: Map<string, T>, name: string, make: () => T): T {
  const state = states.get(name) ?? make();
  states.delete(name);
  if (states.size >= MOST_STATES)
    for (const [other, { share }] of states) {
      if (share.running > 0) continue;
      states.delete(other);
      break;
    }
  states.set(name, state);
  return state;
}
