import { BoundedMap } from '../lib/bounded-map.ts';

const MOST_ENTRIES = 10_000;
/** Seconds for which a value is used, if no change is announced. */
const MAX_AGE = 3;

interface Entry<V> {
  /** `undefined` if there is no record. */
  readonly value: V | undefined;
  /** Milliseconds, by `performance.now()`. */
  readonly readAt: number;
}

/**
 * Values that were read from a store a moment ago, and the names that had none. Without it each
 * request would wait for the store. It is bounded. Missing names have places of their own, so
 * strangers who ask for ever new names push out no value.
 */
export class RecordCache<V> {
  readonly #found = new BoundedMap<string, Entry<V>>(MOST_ENTRIES);
  readonly #missing = new BoundedMap<string, Entry<V>>(MOST_ENTRIES);
  readonly #reading = new Map<string, Promise<V | undefined>>();
  readonly #load: (name: string) => Promise<V | undefined>;
  readonly #maxAge: number;

  /** @param maxAge seconds for which a value is used, if no change is announced */
  constructor(load: (name: string) => Promise<V | undefined>, maxAge = MAX_AGE) {
    this.#load = load;
    this.#maxAge = maxAge * 1000;
  }

  /**
   * Gives the value of a name. Callers that ask at the same time share one read. A known value is
   * returned directly, without a promise.
   */
  get(name: string): Promise<V | undefined> | V | undefined {
    const known = this.#found.get(name) ?? this.#missing.get(name);
    if (known !== undefined && performance.now() - known.readAt <= this.#maxAge) return known.value;
    return this.#reading.get(name) ?? this.#read(name);
  }

  /**
   * Forgets a name, or everything. It forgets reads that have not ended too: they may have begun
   * before the change.
   */
  forget(name?: string): void {
    for (const map of [this.#found, this.#missing, this.#reading]) {
      if (name === undefined) map.clear();
      else map.delete(name);
    }
  }

  #read(name: string): Promise<V | undefined> {
    // The age counts from the question: the store may have read the value long before it
    // arrives.
    const readAt = performance.now();
    const reading = this.#load(name).then(
      (value) => {
        if (this.#reading.get(name) === reading) this.#keep(name, value, readAt);
        return value;
      },
      (error) => {
        if (this.#reading.get(name) === reading) this.#reading.delete(name);
        throw error;
      },
    );
    this.#reading.set(name, reading);
    return reading;
  }

  #keep(name: string, value: V | undefined, readAt: number): void {
    this.forget(name);
    const entries = value === undefined ? this.#missing : this.#found;
    entries.set(name, { value, readAt });
  }
}
