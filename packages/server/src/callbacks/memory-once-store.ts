import * as z from 'zod';
import { clockOr, parseOptions } from '../options.ts';
import type { OnceState, OnceStore } from './once-store.ts';

export interface MemoryOnceStoreOptions {
  /** Unix seconds; if not given, a clock that nobody can set: with the system's a lease could end while its run goes on. */
  readonly clock?: (() => number) | undefined;
  /** The most callbacks that are remembered at a time: 100,000 if not given. With more, further ones are refused until some expire. */
  readonly maxEntries?: number | undefined;
}

const optionsSchema = z.strictObject({
  clock: clockOr(() => (performance.timeOrigin + performance.now()) / 1000),
  maxEntries: z.int().min(1).max(16_000_000).default(100_000),
});

interface Entry {
  /** Of the run that has it; `undefined` where it is done. */
  readonly token: string | undefined;
  readonly until: number;
}

/**
 * Handled callbacks in the memory of this process. They are forgotten with it: what a sender delivers again after a restart runs
 * again. Servers in production want `RedisOnceStore`.
 *
 * @example
 * ```ts
 * import { createOnce, MemoryOnceStore } from '@countersign/server/callbacks';
 *
 * const once = createOnce({ store: new MemoryOnceStore() });
 * ```
 */
export class MemoryOnceStore implements OnceStore {
  readonly #clock: () => number;
  readonly #maxEntries: number;
  readonly #entries = new Map<string, Entry>();

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: MemoryOnceStoreOptions = {}) {
    const { clock, maxEntries } = parseOptions('MemoryOnceStore', optionsSchema, options);
    this.#clock = clock;
    this.#maxEntries = maxEntries;
  }

  /** How many callbacks are remembered. */
  get size(): number {
    return this.#entries.size;
  }

  /** See {@link OnceStore.begin}. */
  async begin(key: string, token: string, lease: number): Promise<OnceState> {
    const now = this.#clock();
    const entry = this.#get(key, now);
    if (entry !== undefined && entry.token === undefined) return { state: 'done' };
    if (entry !== undefined && entry.token !== token)
      return { state: 'in-progress', seconds: entry.until - now };
    if (this.#entries.size >= this.#maxEntries && entry === undefined) this.#makeRoom(now);
    this.#set(key, { token, until: now + lease });
    return { state: 'begun' };
  }

  /** See {@link OnceStore.goOn}. */
  async goOn(key: string, token: string, lease: number): Promise<boolean> {
    const now = this.#clock();
    const entry = this.#get(key, now);
    if (entry !== undefined && entry.token !== token) return false;
    this.#set(key, { token, until: now + lease });
    return true;
  }

  /** See {@link OnceStore.finish}. */
  async finish(key: string, remember: number): Promise<void> {
    this.#set(key, { token: undefined, until: this.#clock() + remember });
  }

  /** See {@link OnceStore.giveUp}. */
  async giveUp(key: string, token: string): Promise<void> {
    if (this.#entries.get(key)?.token === token) this.#entries.delete(key);
  }

  #get(key: string, now: number): Entry | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && now < entry.until ? entry : undefined;
  }

  /** At the end: what is remembered for equally long stands in the order in which it expires. */
  #set(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }

  /** To forget what is done would run it twice: rather nothing more is begun. */
  #makeRoom(now: number): void {
    for (const [key, { until }] of this.#entries) if (!(now < until)) this.#entries.delete(key);
    if (this.#entries.size >= this.#maxEntries)
      throw new Error(
        `Cannot remember more than ${this.#maxEntries} callbacks: raise "maxEntries", or remember them for less long`,
      );
  }
}
