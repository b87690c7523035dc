import { BoundedMap } from '../lib/bounded-map.ts';

const MOST_ENTRIES = 10_000;
/** Seconds between two reads of a record that nobody says was changed. */
const MAX_AGE = 3;

interface Entry<V> {
  /** `undefined` if there is no record. */
  readonly value: V | undefined;
  /** Milliseconds, by `performance.now()`. */
  readonly readAt: number;
}

/**
 * What was read of a store a moment ago, also that there was nothing. Bounded, and what is not there cannot push out what is:
 * strangers may ask for as many names as they like.
 */
export class RecordCache<V> {
  readonly #found = new BoundedMap<string, Entry<V>>(MOST_ENTRIES);
  readonly #missing = new BoundedMap<string, Entry<V>>(MOST_ENTRIES);
  readonly #reading = new Map<string, Promise<V | undefined>>();
  readonly #load: (name: string) => Promise<V | undefined>;
  readonly #maxAge: number;

  /** @param maxAge seconds after which a name is read again though nobody said that it was changed */
  constructor(load: (name: string) => Promise<V | undefined>, maxAge = MAX_AGE) {
    this.#load = load;
    this.#maxAge = maxAge * 1000;
  }

  /** Reads a name, once for all who ask meanwhile. Known already it is given as it is, without a promise. */
  get(name: string): Promise<V | undefined> | V | undefined {
    const known = this.#found.get(name) ?? this.#missing.get(name);
    if (known !== undefined && performance.now() - known.readAt <= this.#maxAge) return known.value;
    return this.#reading.get(name) ?? this.#read(name);
  }

  /** Forgets a name, or everything. What is being read is not kept either: it may have been read before the change. */
  forget(name?: string): void {
    for (const map of [this.#found, this.#missing, this.#reading]) {
      if (name === undefined) map.clear();
      else map.delete(name);
    }
  }

  #read(name: string): Promise<V | undefined> {
    // The age counts from when it was asked for: the answer may be older than its arrival.
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
