import { OWNERS_IN_ALL } from './callback-queue.ts';

/**
 * The ids of finished callbacks, up to a bound for each owner. If all owners together have too
 * many, the owner with the most loses its oldest. So an owner with many cannot push out those of an
 * owner with few.
 */
export class FinishedCallbacks {
  readonly #perOwner: number;
  /** The oldest first. */
  readonly #ids = new Set<string>();
  readonly #byOwner = new Map<string, Set<string>>();

  constructor(perOwner: number) {
    this.#perOwner = perOwner;
  }

  get size(): number {
    return this.#ids.size;
  }

  [Symbol.iterator](): IterableIterator<string> {
    return this.#ids.values();
  }

  /** @returns the id of the callback that is forgotten instead, if there is one */
  add(owner: string, id: string): string | undefined {
    const own = this.#byOwner.get(owner) ?? new Set();
    this.#byOwner.set(owner, own.add(id));
    this.#ids.add(id);
    if (own.size > this.#perOwner) return this.#forgetOldest(owner, own);
    if (this.#ids.size > OWNERS_IN_ALL * this.#perOwner)
      return this.#forgetOldest(...this.#largest());
    return undefined;
  }

  delete(owner: string, id: string): void {
    const own = this.#byOwner.get(owner);
    own?.delete(id);
    if (own?.size === 0) this.#byOwner.delete(owner);
    this.#ids.delete(id);
  }

  #forgetOldest(owner: string, [oldest]: Set<string>): string | undefined {
    if (oldest !== undefined) this.delete(owner, oldest);
    return oldest;
  }

  #largest(): [owner: string, ids: Set<string>] {
    let largest: [string, Set<string>] = ['', new Set()];
    for (const each of this.#byOwner) if (each[1].size > largest[1].size) largest = each;
    return largest;
  }
}
