/**
 * A callback that waits to be delivered. It holds neither a URL nor a secret: the sender looks them
 * up for each attempt.
 */
export interface QueuedCallback {
  /** Derived from endpoint and event, so the queue notices if the event is sent again. */
  readonly id: string;
  readonly endpointId: string;
  /** The owner, if that is not the endpoint's id: see `owner` of `CallbackEndpoint`. */
  readonly owner?: string | undefined;
  /** The `webhook-id`, the same for each attempt. */
  readonly eventId: string;
  readonly contentType: string;
  readonly body: Uint8Array;
  /** Unix seconds. */
  readonly createdAt: number;
  /** Callbacks of one lane are delivered one after the other, in the order they were added. */
  readonly lane?: string | undefined;
}

/** One attempt: safe to show to the endpoint's owner. */
export interface DeliveryAttempt {
  /** Unix seconds: when it began. */
  readonly at: number;
  readonly seconds: number;
  /**
   * Unix seconds: the time that was signed, if the attempt was signed. No two attempts of a
   * delivery sign the same time.
   */
  readonly signedAt?: number | undefined;
  /** The status of the answer, if there was one. */
  readonly status?: number | undefined;
  /** Why there was no answer; or, if the answer redirects, its target. */
  readonly error?: string | undefined;
  /**
   * The `Location` of an answer that redirects, without control characters: at most 2,048
   * characters. Only the latest attempt has it.
   */
  readonly location?: string | undefined;
  /**
   * The beginning of the answer. Attempts before the latest keep at most 64 characters of it, so
   * that answers cannot fill the queue.
   */
  readonly response?: string | undefined;
  /** Unix seconds: when the next attempt is due, if there is one. */
  readonly nextAt?: number | undefined;
}

/** The progress of a delivery. */
export interface DeliveryProgress {
  /** The latest 50, the oldest first. */
  readonly attempts: readonly DeliveryAttempt[];
  /** How many steps of the schedule are used up: 0 again after `redeliver()`. */
  readonly tried: number;
  /** Why it is dead, if no attempt shows that. */
  readonly reason?: string | undefined;
}

export type DeliveryState = 'waiting' | 'delivered' | 'dead';

/** A callback as the queue knows it. */
export interface QueueEntry {
  readonly callback: QueuedCallback;
  readonly progress: DeliveryProgress;
  readonly state: DeliveryState;
}

/** What the queue does next with a callback that it handed out. */
export type Verdict =
  | { readonly outcome: 'delivered' | 'dead'; readonly progress: DeliveryProgress }
  | {
      readonly outcome: 'again';
      /** Unix seconds. */
      readonly at: number;
      readonly progress: DeliveryProgress;
    };

export type Handler = (callback: QueuedCallback, progress: DeliveryProgress) => Promise<Verdict>;

/**
 * Keeps callbacks until they are delivered or dead, and hands them to a handler: each at least
 * once, despite crashes, and those of one lane one after the other. If a callback gets no verdict,
 * because the process ended or the handler rejected, the queue hands it out again.
 */
export interface CallbackQueue {
  /**
   * Resolves when the callback is stored as safely as this queue can. If its id is known, nothing
   * changes.
   *
   * @throws Error if too many wait, of its owner or of all owners; the message says which
   */
  add(callback: QueuedCallback): Promise<void>;
  /** Begins to hand callbacks out: at most `concurrency` at once. */
  start(handle: Handler, concurrency: number): void;
  find(id: string): Promise<QueueEntry | undefined>;
  /** The latest first. */
  list(state: DeliveryState, limit: number): Promise<readonly QueueEntry[]>;
  /**
   * Makes a callback due now, also if it was delivered or dead. If it has left its lane, it does
   * not wait for others.
   *
   * @returns whether the queue knows it
   */
  redeliver(id: string): Promise<boolean>;
  /** Stops handing callbacks out, and waits for those that the handler still has. */
  close(): Promise<void>;
}

/** The owner that a callback counts for. Each has bounds, so one cannot use up what all share. */
export function ownerOf({ owner, endpointId }: QueuedCallback): string {
  return owner ?? endpointId;
}

/** In each state, one owner may have at most a quarter of what the queue keeps. */
export const OWNERS_IN_ALL = 4;

/** The progress of a callback that was never handed out. */
export const NO_PROGRESS: DeliveryProgress = { attempts: [], tried: 0 };
