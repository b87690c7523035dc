import { AttemptShare } from './attempt-share.ts';

/** An endpoint or an owner, whose attempts are counted. */
interface Counted {
  readonly share: AttemptShare;
}

/** What is known about an endpoint. */
interface EndpointState extends Counted {
  /** Failures since the last success. */
  failures: number;
  /** Unix seconds: no attempt begins before this time. */
  restUntil: number;
}

/** Bounds on the attempts that run at once in this process. */
export interface GateBounds {
  /** Of all endpoints: the queue hands out no more at once. */
  readonly concurrency: number;
  readonly perEndpoint: number;
  readonly perOwner: number;
}

/** A place that an attempt holds. */
export interface Place {
  readonly endpoint: EndpointState;
  /** Every share that the attempt counts for. */
  readonly shares: readonly AttemptShare[];
}

/** The outcome of the attempt that held a place. */
export interface PlaceOutcome {
  /** `undefined` if the receiver was not asked. */
  readonly isWell: boolean | undefined;
  readonly seconds: number;
  /** Unix seconds: the receiver asked for no attempt before this time. */
  readonly restUntil?: number | undefined;
}

/** After this many failures in a row, the endpoint gets a rest, and then one attempt at a time. */
const TIRED_AFTER = 5;
/** Seconds of the first rest. Each further failure doubles it, up to the longest. */
const FIRST_REST = 1;
const LONGEST_REST = 60;
/** Seconds: an endpoint is quick if its attempts last no longer on average. */
const QUICK = 1;
/**
 * The parts of all places that are open to endpoints not known to be quick: for the first place of
 * each, and for further places.
 */
const FIRST_PLACES = 7 / 8;
const FURTHER_PLACES = 1 / 2;
const MOST_STATES = 10_000;

/**
 * Decides which attempts may begin, so that a slow receiver does not delay the callbacks to others:
 *
 * - one endpoint holds `perEndpoint` places, and all endpoints of one owner hold `perOwner`;
 * - an eighth of all places is only for endpoints that answered quickly lately. All others, slow
 *   or new, get one place each if half of the places are taken by such endpoints;
 * - an endpoint that fails repeatedly gets a rest, and then one place.
 *
 * A callback that finds no place waits in the queue, and asks again.
 */
export class EndpointGate {
  readonly #bounds: GateBounds;
  readonly #endpoints = new Map<string, EndpointState>();
  readonly #owners = new Map<string, Counted>();
  /** Attempts at endpoints that were not known to be quick when the attempt began. */
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
 * Finds the state for a name. If there are too many states, it forgets the least recently used one
 * that has no attempts.
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
