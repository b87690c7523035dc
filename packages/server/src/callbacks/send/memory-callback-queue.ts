import * as z from 'zod';
import { functionOption, parseOptions } from '../../options.ts';
import {
  type CallbackQueue,
  type DeliveryProgress,
  type DeliveryState,
  type Handler,
  NO_PROGRESS,
  type QueuedCallback,
  type QueueEntry,
} from './callback-queue.ts';
import { DueHeap } from './due-heap.ts';

/** What a queue in memory is built from. */
export interface MemoryCallbackQueueOptions {
  /** The most callbacks that wait at once: 10,000 if not given. More are refused. */
  readonly maxWaiting?: number | undefined;
  /** The most callbacks that are remembered after they were delivered, and as many after they were given up: 1,000 if not given. */
  readonly maxFinished?: number | undefined;
  /** Unix seconds, with fractions. */
  readonly clock?: (() => number) | undefined;
}

const optionsSchema = z.strictObject({
  maxWaiting: z.int().min(1).max(10_000_000).default(10_000),
  maxFinished: z.int().min(0).max(10_000_000).default(1_000),
  clock: functionOption<() => number>().default(() => () => Date.now() / 1000),
});

interface Entry {
  readonly callback: QueuedCallback;
  progress: DeliveryProgress;
  state: DeliveryState;
  /** Whether the handler has it. */
  active: boolean;
  /** What was put into the heap for it before is void. */
  turn: number;
}

/** Milliseconds: a timer takes no more than 24.8 days. */
const LONGEST_TIMER = 86_400_000;
/** Seconds until a callback is handed out again whose handler has rejected. */
const AFTER_REJECTION = 1;

/**
 * A queue in this process: it keeps what it is given until the process ends. For one server whose callbacks may be lost in a crash, and for tests; for
 * others there is `BullmqCallbackQueue`.
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
  readonly #finished = { delivered: new Set<string>(), dead: new Set<string>() };
  /** By lane, those that wait; the first of each may be handed out. */
  readonly #lanes = new Map<string, Entry[]>();
  readonly #due = new DueHeap<{ entry: Entry; turn: number }>();
  readonly #running = new Set<Promise<void>>();
  #handle: Handler | undefined;
  #concurrency = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: MemoryCallbackQueueOptions = {}) {
    this.#options = parseOptions('memory callback queue', optionsSchema, options);
  }

  async add(callback: QueuedCallback): Promise<void> {
    if (this.#closed) throw new Error('Cannot queue callback: the queue is closed');
    if (this.#entries.has(callback.id)) return;
    const { delivered, dead } = this.#finished;
    const { maxWaiting } = this.#options;
    if (!(this.#entries.size - delivered.size - dead.size < maxWaiting))
      throw new Error(`Cannot queue callback: ${maxWaiting} wait already`);
    const entry: Entry = {
      callback,
      progress: NO_PROGRESS,
      state: 'waiting',
      active: false,
      turn: 0,
    };
    this.#entries.set(callback.id, entry);
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
      this.#finished[entry.state].delete(id);
      entry.state = 'waiting';
      entry.progress = { attempts: entry.progress.attempts, tried: 0 };
    } else if (!this.#isNext(entry)) {
      return true;
    }
    this.#schedule(entry, this.#options.clock());
    return true;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await Promise.all(this.#running);
  }

  #isNext({ callback: { lane, id } }: Entry): boolean {
    const waiting = lane === undefined ? undefined : this.#lanes.get(lane);
    return !waiting?.some((entry) => entry.callback.id === id) || waiting[0]?.callback.id === id;
  }

  #schedule(entry: Entry, at: number): void {
    entry.turn += 1;
    this.#due.push(at, { entry, turn: entry.turn });
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
      const { entry, turn } = first.value;
      if (turn !== entry.turn || entry.state !== 'waiting') continue;
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
    const finished = this.#finished[state];
    finished.add(entry.callback.id);
    if (finished.size > this.#options.maxFinished) {
      const [oldest] = finished as Set<string> & Iterable<string>;
      finished.delete(oldest as string);
      this.#entries.delete(oldest as string);
    }
    const { lane } = entry.callback;
    const waiting = lane === undefined ? undefined : this.#lanes.get(lane);
    // One that was ordered again is in its lane no more.
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
