import { quote } from '@countersign/shared';
import * as z from 'zod';
import {
  OperatorWarnings,
  type WarningHook,
  warningOption,
} from '../../../lib/operator-warning.ts';
import { clockOption, parseOptions } from '../../../lib/options.ts';
import {
  type CallbackQueue,
  type DeliveryProgress,
  type DeliveryState,
  type Handler,
  NO_PROGRESS,
  OWNERS_IN_ALL,
  ownerOf,
  type QueuedCallback,
  type QueueEntry,
} from './callback-queue.ts';
import { DueHeap } from './due-heap.ts';
import { FinishedCallbacks } from './finished-callbacks.ts';

/** The options of a queue in memory. */
export interface MemoryCallbackQueueOptions {
  /**
   * The most callbacks that wait at once, of all owners together: 40,000 if not given. Beyond that
   * `send()` rejects.
   */
  readonly maxWaiting?: number | undefined;
  /**
   * The most callbacks of one owner that wait at once: a quarter of `maxWaiting` if not given.
   * Beyond that `send()` rejects.
   */
  readonly maxWaitingPerOwner?: number | undefined;
  /**
   * The most delivered callbacks of one owner that are remembered, and the most dead ones: 2,500
   * each if not given. All owners together have four times as many. Beyond that, the owner with the
   * most loses its oldest.
   */
  readonly maxFinished?: number | undefined;
  /** Returns Unix seconds, with fractions; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /**
   * Called if the queue is nearly full. If not given, a process warning says so. See
   * docs/errors.md, "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const optionsSchema = z.strictObject({
  maxWaiting: z.int().min(1).max(10_000_000).default(40_000),
  maxWaitingPerOwner: z.int().min(1).max(10_000_000).optional(),
  maxFinished: z.int().min(0).max(10_000_000).default(2_500),
  clock: clockOption,
  onWarning: warningOption,
});

interface Entry {
  readonly callback: QueuedCallback;
  progress: DeliveryProgress;
  state: DeliveryState;
  /** Whether the handler has it. */
  active: boolean;
  /** Rises with each entry in the heap: only the latest counts. */
  version: number;
}

/** Milliseconds, below the longest time of a timer of Node: 24.8 days. */
const LONGEST_TIMER = 86_400_000;
/** If the handler rejects, the callback is handed out again after this many seconds. */
const AFTER_REJECTION = 1;

/**
 * A queue in memory: it loses its callbacks when the process ends. Use it for tests, or for a
 * single server that may lose callbacks in a crash. Otherwise use `BullmqCallbackQueue`.
 *
 * @example
 * ```ts
 * import { createCallbackSender, MemoryCallbackQueue } from '@countersign/server/callbacks';
 *
 * const queue = new MemoryCallbackQueue({ maxWaiting: 500 });
 * const sender = createCallbackSender({ queue, endpoints: () => undefined });
 * await sender.close();
 * ```
 */
export class MemoryCallbackQueue implements CallbackQueue {
  readonly #options: z.output<typeof optionsSchema>;
  readonly #entries = new Map<string, Entry>();
  readonly #warnings: OperatorWarnings;
  readonly #finished: Readonly<Record<'delivered' | 'dead', FinishedCallbacks>>;
  /** How many callbacks wait, by owner. */
  readonly #waiting = new Map<string, number>();
  /** The waiting callbacks, by lane. Only the first of each may be handed out. */
  readonly #lanes = new Map<string, Entry[]>();
  readonly #due = new DueHeap<{ entry: Entry; version: number }>();
  readonly #running = new Set<Promise<void>>();
  #handle: Handler | undefined;
  #concurrency = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: MemoryCallbackQueueOptions = {}) {
    this.#options = parseOptions('memory callback queue', optionsSchema, options);
    const { maxFinished, onWarning } = this.#options;
    this.#warnings = new OperatorWarnings(onWarning);
    this.#finished = {
      delivered: new FinishedCallbacks(maxFinished),
      dead: new FinishedCallbacks(maxFinished),
    };
  }

  async add(callback: QueuedCallback): Promise<void> {
    if (this.#closed) throw new Error('Cannot queue callback: the queue is closed');
    if (this.#entries.has(callback.id)) return;
    this.#checkBounds(ownerOf(callback));
    const entry: Entry = {
      callback,
      progress: NO_PROGRESS,
      state: 'waiting',
      active: false,
      version: 0,
    };
    this.#entries.set(callback.id, entry);
    this.#countWaiting(entry, 1);
    this.#recordFill();
    if (callback.lane !== undefined) {
      const lane = this.#lanes.get(callback.lane);
      lane?.push(entry);
      if (lane !== undefined) return;
      this.#lanes.set(callback.lane, [entry]);
    }
    this.#schedule(entry, this.#options.clock());
  }

  start(handle: Handler, concurrency: number): void {
    this.#handle = handle;
    this.#concurrency = concurrency;
    this.#pump();
  }

  async find(id: string): Promise<QueueEntry | undefined> {
    const entry = this.#entries.get(id);
    return entry && shown(entry);
  }

  async list(state: DeliveryState, limit: number): Promise<readonly QueueEntry[]> {
    const ids = state === 'waiting' ? [...this.#entries.keys()] : [...this.#finished[state]];
    const entries = ids.map((id) => this.#entries.get(id) as Entry);
    return entries
      .filter((entry) => entry.state === state)
      .reverse()
      .slice(0, limit)
      .map(shown);
  }

  async redeliver(id: string): Promise<boolean> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return false;
    if (entry.active) return true;
    if (entry.state !== 'waiting') {
      this.#finished[entry.state].delete(ownerOf(entry.callback), id);
      entry.state = 'waiting';
      this.#countWaiting(entry, 1);
      entry.progress = { attempts: entry.progress.attempts, tried: 0 };
    } else if (!this.#isNext(entry)) {
      return true;
    }
    this.#schedule(entry, this.#options.clock());
    return true;
  }

  /** Waits for attempts that run. Callbacks that still wait are lost when the process ends. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await Promise.all(this.#running);
  }

  /** One owner must not use up what all share. */
  #checkBounds(owner: string): void {
    const { maxWaiting, maxWaitingPerOwner = Math.ceil(maxWaiting / OWNERS_IN_ALL) } =
      this.#options;
    const refuse = (most: number, whose: string, option: string) => {
      throw new Error(
        `Cannot queue callback: ${most} wait already ${whose}: raise ${option} of MemoryCallbackQueue to allow more`,
      );
    };
    if (!((this.#waiting.get(owner) ?? 0) < maxWaitingPerOwner))
      refuse(maxWaitingPerOwner, `for owner ${quote(owner)}`, 'maxWaitingPerOwner');
    if (!(this.#allWaiting < maxWaiting))
      refuse(maxWaiting, 'for all owners together', 'maxWaiting');
  }

  /** How many callbacks wait, of all owners together. */
  get #allWaiting(): number {
    const { delivered, dead } = this.#finished;
    return this.#entries.size - delivered.size - dead.size;
  }

  /**
   * Called for each callback that is added. So it also sees when the queue has become emptier, and
   * can warn again when it fills again.
   */
  #recordFill(): void {
    const { maxWaiting } = this.#options;
    const waiting = this.#allWaiting;
    const message = () =>
      `The callback queue in memory is nearly full: ${waiting} of ${maxWaiting} callbacks wait. When it is full, send() rejects: see why receivers do not answer, or raise maxWaiting`;
    this.#warnings.fill('COUNTERSIGN_CALLBACK_QUEUE_NEARLY_FULL', waiting / maxWaiting, message);
  }

  #countWaiting({ callback }: Entry, change: 1 | -1): void {
    const owner = ownerOf(callback);
    const count = (this.#waiting.get(owner) ?? 0) + change;
    if (count > 0) this.#waiting.set(owner, count);
    else this.#waiting.delete(owner);
  }

  #isNext({ callback: { lane, id } }: Entry): boolean {
    const waiting = lane === undefined ? undefined : this.#lanes.get(lane);
    return !waiting?.some((entry) => entry.callback.id === id) || waiting[0]?.callback.id === id;
  }

  #schedule(entry: Entry, at: number): void {
    entry.version += 1;
    this.#due.push(at, { entry, version: entry.version });
    this.#pump();
  }

  #pump(): void {
    if (this.#handle === undefined || this.#closed) return;
    clearTimeout(this.#timer);
    while (this.#running.size < this.#concurrency) {
      const { first } = this.#due;
      if (first === undefined) return;
      const early = first.due - this.#options.clock();
      if (early > 0) {
        const milliseconds = Math.min(Math.ceil(early * 1000), LONGEST_TIMER);
        this.#timer = setTimeout(() => this.#pump(), milliseconds);
        return;
      }
      this.#due.pop();
      const { entry, version } = first.value;
      if (version !== entry.version || entry.state !== 'waiting') continue;
      const running = this.#run(entry, this.#handle).finally(() => {
        this.#running.delete(running);
        this.#pump();
      });
      this.#running.add(running);
    }
  }

  async #run(entry: Entry, handle: Handler): Promise<void> {
    entry.active = true;
    const verdict = await handle(entry.callback, entry.progress).catch(() => ({
      outcome: 'again' as const,
      at: this.#options.clock() + AFTER_REJECTION,
      progress: entry.progress,
    }));
    entry.active = false;
    entry.progress = verdict.progress;
    if (verdict.outcome === 'again') this.#schedule(entry, verdict.at);
    else this.#finish(entry, verdict.outcome);
  }

  #finish(entry: Entry, state: 'delivered' | 'dead'): void {
    entry.state = state;
    this.#countWaiting(entry, -1);
    const forgotten = this.#finished[state].add(ownerOf(entry.callback), entry.callback.id);
    if (forgotten !== undefined) this.#entries.delete(forgotten);
    const { lane } = entry.callback;
    const waiting = lane === undefined ? undefined : this.#lanes.get(lane);
    // A redelivered callback is not in its lane any more.
    if (waiting?.[0] !== entry) return;
    waiting.shift();
    const [next] = waiting;
    if (next === undefined) this.#lanes.delete(lane as string);
    else this.#schedule(next, this.#options.clock());
  }
}

function shown({ callback, progress, state }: Entry): QueueEntry {
  return { callback, progress, state };
}
