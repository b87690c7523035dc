import { setImmediate as nextTurn } from 'node:timers/promises';
import * as z from 'zod';
import { OperatorWarnings, type WarningHook, warningOption } from '../../lib/operator-warning.ts';
import { clockOr, parseOptions } from '../../lib/options.ts';
import { type Expiring, ExpiryQueue } from './expiry-queue.ts';
import { NO_SCOPE, type OnceState, type OnceStore } from './once-store.ts';

export interface MemoryOnceStoreOptions {
  /**
   * Returns Unix seconds. If not given, a clock that cannot be set: if the system's clock is set, a
   * lease could end while its run continues.
   */
  readonly clock?: (() => number) | undefined;
  /**
   * The most callbacks that are remembered at a time: 100,000 if not given. Further ones are
   * refused with 503 until some expire. A callback counts once for each secret that is in force for
   * it.
   */
  readonly maxEntries?: number | undefined;
  /**
   * The most that one sender takes of them: a quarter of `maxEntries` if not given. Further
   * callbacks of this sender are refused with 429 until some expire. Callbacks that are verified
   * with different secrets are those of different senders.
   */
  readonly perSender?: number | undefined;
  /**
   * Called if the store is nearly full. If not given, a process warning says so. See
   * docs/errors.md, "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const MOST_ENTRIES = 16_000_000;

const optionsSchema = z.strictObject({
  clock: clockOr(() => (performance.timeOrigin + performance.now()) / 1000),
  maxEntries: z.int().min(1).max(MOST_ENTRIES).default(100_000),
  perSender: z.int().min(1).max(MOST_ENTRIES).optional(),
  onWarning: warningOption,
});

/**
 * Callbacks forgotten in one go: no request waits for more, even if a week's callbacks have
 * expired.
 */
const MOST_AT_ONCE = 500;

interface Entry extends Expiring {
  readonly key: string;
  readonly sender: Sender;
  /** The run that has it; `undefined` if it is done. */
  readonly token: string | undefined;
}

/** All that counts for one sender. It expires with the first of its entries. */
interface Sender extends Expiring {
  readonly name: string;
  readonly entries: ExpiryQueue<Entry>;
}

/**
 * Handled callbacks in the memory of this process. They are forgotten with it: what a sender
 * delivers again after a restart runs again. Servers in production want `RedisOnceStore`.
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
  readonly #perSender: number;
  readonly #warnings: OperatorWarnings;
  readonly #entries = new Map<string, Entry>();
  readonly #senders = new Map<string, Sender>();
  readonly #expiring = new ExpiryQueue<Sender>();

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: MemoryOnceStoreOptions = {}) {
    const { clock, maxEntries, perSender, onWarning } = parseOptions(
      'MemoryOnceStore',
      optionsSchema,
      options,
    );
    this.#clock = clock;
    this.#maxEntries = maxEntries;
    this.#warnings = new OperatorWarnings(onWarning);
    this.#perSender = perSender ?? Math.max(1, Math.floor(maxEntries / 4));
    if (!(this.#perSender <= maxEntries))
      throw new RangeError(
        `Cannot build MemoryOnceStore: option "perSender" is ${perSender}: expected at most "maxEntries", which is ${maxEntries}`,
      );
  }

  /** How many callbacks are remembered. Expired ones are among them until others begin. */
  get size(): number {
    return this.#entries.size;
  }

  /** See {@link OnceStore.begin}. */
  async begin(key: string, token: string, lease: number, scope = NO_SCOPE): Promise<OnceState> {
    for (;;) {
      const now = this.#clock();
      const isSwept = this.#sweep(now);
      const state = this.#begin(key, token, lease, scope.countsFor, now);
      if (state.state !== 'full' || isSwept) return state;
      // There is more that has expired. Other requests come first.
      await nextTurn();
    }
  }

  /** See {@link OnceStore.goOn}. */
  async goOn(key: string, token: string, lease: number, scope = NO_SCOPE): Promise<boolean> {
    const now = this.#clock();
    const entry = this.#get(key, now);
    if (entry !== undefined && entry.token !== token) return false;
    this.#set(key, token, now + lease, scope.countsFor);
    return true;
  }

  /** See {@link OnceStore.finish}. */
  async finish(key: string, remember: number, scope = NO_SCOPE): Promise<void> {
    this.#set(key, undefined, this.#clock() + remember, scope.countsFor);
  }

  /** See {@link OnceStore.release}. */
  async release(key: string, token: string): Promise<void> {
    const entry = this.#entries.get(key);
    if (entry?.token === token) this.#remove(entry);
  }

  #begin(key: string, token: string, lease: number, sender: string, now: number): OnceState {
    const entry = this.#get(key, now);
    if (entry !== undefined && entry.token === undefined) return { state: 'done' };
    if (entry !== undefined && entry.token !== token)
      return { state: 'in-progress', seconds: entry.until - now };
    if (entry === undefined) {
      const own = this.#senders.get(sender)?.entries;
      if (own !== undefined && own.size >= this.#perSender)
        return full('sender', 'perSender', this.#perSender, own.first, now);
      if (this.#entries.size >= this.#maxEntries)
        return full('store', 'maxEntries', this.#maxEntries, this.#expiring.first, now);
    }
    this.#set(key, token, now + lease, sender);
    this.#warnIfNearlyFull();
    return { state: 'begun' };
  }

  #warnIfNearlyFull(): void {
    const { size } = this.#entries;
    const message = () =>
      `The store of handled callbacks in memory is nearly full: it remembers ${size} of ${this.#maxEntries}. When it is full, callbacks are answered 503: raise maxEntries, or lower "remember" of createOnce()`;
    this.#warnings.fill('COUNTERSIGN_ONCE_STORE_NEARLY_FULL', size / this.#maxEntries, message);
  }

  /** What has expired is gone, though it was not swept yet. */
  #get(key: string, now: number): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || !(entry.until <= now)) return entry;
    this.#remove(entry);
    return undefined;
  }

  /** What is there already keeps counting for the sender that brought it first. */
  #set(key: string, token: string | undefined, until: number, name: string): void {
    const present = this.#entries.get(key);
    if (present !== undefined) this.#remove(present);
    const sender = present?.sender ?? this.#senderOf(name);
    const entry = { key, sender, token, until, place: -1 };
    this.#entries.set(key, entry);
    sender.entries.set(entry, until);
    this.#senders.set(sender.name, sender);
    this.#expiring.set(sender, (sender.entries.first as Entry).until);
  }

  #senderOf(name: string): Sender {
    const known = this.#senders.get(name);
    return known ?? { name, entries: new ExpiryQueue<Entry>(), until: 0, place: -1 };
  }

  #remove(entry: Entry): void {
    const { key, sender } = entry;
    this.#entries.delete(key);
    sender.entries.delete(entry);
    const next = sender.entries.first;
    if (next !== undefined) {
      this.#expiring.set(sender, next.until);
    } else {
      this.#expiring.delete(sender);
      this.#senders.delete(sender.name);
    }
  }

  /**
   * Forgets what has expired, and says whether that was all. To forget what is done would run it
   * twice.
   */
  #sweep(now: number): boolean {
    for (let swept = 0; swept < MOST_AT_ONCE; swept++) {
      const next = this.#expiring.first?.entries.first;
      if (next === undefined || !(next.until <= now)) return true;
      this.#remove(next);
    }
    return false;
  }
}

function full(
  of: 'sender' | 'store',
  option: string,
  most: number,
  next: Expiring | undefined,
  now: number,
): OnceState {
  return { state: 'full', of, option, most, seconds: (next?.until ?? now) - now };
}
