import { CLOCK_SLACK } from '../../verify/nonce-store.ts';
import { type Uint128, Uint128Set } from './uint128-set.ts';

/** Nonces that expire within some seconds of each other. They are forgotten together, at once. */
interface Generation {
  /** Unix seconds: all its nonces have expired by then. */
  readonly end: number;
  readonly nonces: Uint128Set;
  /** Unix seconds: no request of these nonces is acceptable later. */
  latest: number;
  forgotten: boolean;
}

/** How many nonces an owner has in one generation. */
interface Share {
  readonly generation: Generation;
  count: number;
}

/** An owner that has live nonces, or was refused. */
interface Owner {
  readonly shares: Share[];
  /**
   * Unix seconds: a refused request for which there was no room was acceptable until then at most.
   */
  floor: number;
}

/** Seconds that a generation spans, for nonces that live for `STEPS` times as long at most. */
const STEP = 16;
const STEPS = 16;

/** Each claim adds one owner at most, and sweeps two. So idle owners never pile up. */
const OWNERS_SWEPT = 2;

/**
 * The nonces of requests, or of presigned URLs. There is a bound for all, and one for each owner.
 */
export class NoncePool {
  readonly #maxEntries: number;
  readonly #perOwner: number;
  /** By `end`. */
  readonly #generations = new Map<number, Generation>();
  readonly #owners = new Map<string, Owner>();
  #sweep = this.#owners.entries();
  #size = 0;
  #sweptAt = Number.NEGATIVE_INFINITY;
  #floor = Number.NEGATIVE_INFINITY;

  constructor(maxEntries: number, perOwner: number) {
    this.#maxEntries = maxEntries;
    this.#perOwner = perOwner;
  }

  /** How many nonces are held. */
  get size(): number {
    return this.#size;
  }

  /**
   * Unix seconds: the pool may have forgotten nonces of requests that are acceptable until then.
   */
  get floor(): number {
    return this.#floor;
  }

  has(nonce: Uint128, hash: number): boolean {
    for (const generation of this.#generations.values())
      if (generation.nonces.has(nonce, hash)) return true;
    return false;
  }

  /**
   * Makes room if the bound for all is reached: forgets the nonces that expire first, and raises
   * the floor to them.
   *
   * @returns whether nonces were forgotten
   */
  makeRoom(): boolean {
    if (!(this.#size >= this.#maxEntries)) return false;
    this.#forget(Math.min(...this.#generations.keys()));
    return true;
  }

  /**
   * Until when an owner has no room for one more nonce.
   *
   * @returns Unix seconds; `undefined` if there is room
   */
  fullUntil(name: string): number | undefined {
    let held = 0;
    let firstEnd = Number.POSITIVE_INFINITY;
    for (const { generation, count } of this.#owners.get(name)?.shares ?? []) {
      if (generation.forgotten) continue;
      held += count;
      firstEnd = Math.min(firstEnd, generation.end);
    }
    return held < this.#perOwner ? undefined : firstEnd + CLOCK_SLACK;
  }

  /** Unix seconds: requests of the owner that are acceptable until then at most are refused. */
  floorOf(name: string): number {
    return this.#owners.get(name)?.floor ?? Number.NEGATIVE_INFINITY;
  }

  /** Raises the floor of an owner. */
  raiseFloorOf(name: string, until: number): void {
    const owner = this.#ownerOf(name);
    owner.floor = Math.max(owner.floor, until);
  }

  add(nonce: Uint128, hash: number, name: string, until: number, now: number): void {
    const generation = this.#generationOf(until, now);
    generation.nonces.add(nonce, hash);
    generation.latest = Math.max(generation.latest, until);
    this.#size++;
    const { shares } = this.#ownerOf(name);
    const share = shares.find((it) => it.generation === generation);
    if (share !== undefined) share.count++;
    else {
      const live = shares.filter((it) => !it.generation.forgotten);
      shares.splice(0, shares.length, ...live, { generation, count: 1 });
    }
    this.#sweepOwners(now);
  }

  forgetExpired(now: number): void {
    // Generations expire STEP seconds apart, so once a second is often enough.
    if (now >= this.#sweptAt && now < this.#sweptAt + 1) return;
    this.#sweptAt = now;
    for (const end of this.#generations.keys()) if (end + CLOCK_SLACK < now) this.#forget(end);
  }

  #generationOf(until: number, now: number): Generation {
    // Nonces that live for long have longer steps, so there are never many generations to search.
    let step = STEP;
    while (until - now > STEPS * step) step *= 2;
    const end = (Math.floor(until / step) + 1) * step;
    let generation = this.#generations.get(end);
    if (generation === undefined) {
      generation = { end, nonces: new Uint128Set(), latest: until, forgotten: false };
      this.#generations.set(end, generation);
    }
    return generation;
  }

  #ownerOf(name: string): Owner {
    let owner = this.#owners.get(name);
    if (owner === undefined) {
      owner = { shares: [], floor: Number.NEGATIVE_INFINITY };
      this.#owners.set(name, owner);
    }
    return owner;
  }

  /** A few at a time, in turn: to sweep all at once would block the process. */
  #sweepOwners(now: number): void {
    for (let swept = 0; swept < OWNERS_SWEPT; swept++) {
      const next = this.#sweep.next();
      if (next.done === true) {
        this.#sweep = this.#owners.entries();
        return;
      }
      const [name, { shares, floor }] = next.value;
      const isIdle = shares.every(({ generation }) => generation.forgotten);
      if (!isIdle || !(floor + CLOCK_SLACK < now)) continue;
      this.#owners.delete(name);
      this.#floor = Math.max(this.#floor, floor);
    }
  }

  /**
   * Raises the floor also for expired nonces: if the clock is set back, their requests look
   * acceptable again.
   */
  #forget(end: number): void {
    const generation = this.#generations.get(end) as Generation;
    this.#generations.delete(end);
    generation.forgotten = true;
    this.#size -= generation.nonces.size;
    this.#floor = Math.max(this.#floor, generation.latest);
  }
}
