/**
 * A callback that waits to be delivered. Neither its URL nor a secret is part of it: they are
 * looked up for each attempt.
 */
export interface QueuedCallback {
  /** Of endpoint and event, so that sending the event again is noticed. */
  readonly id: string;
  readonly endpointId: string;
  /** Whose callback it is, if that is not the endpoint's id: see `owner` of `CallbackEndpoint`. */
  readonly owner?: string | undefined;
  /** The `webhook-id`, the same for each attempt. */
  readonly eventId: string;
  readonly contentType: string;
  readonly body: Uint8Array;
  /** Unix seconds. */
  readonly createdAt: number;
  /** Callbacks of one lane are delivered one after the other, as they were added. */
  readonly lane?: string | undefined;
}

/** One attempt, as it can be shown to whoever owns the endpoint. */
export interface DeliveryAttempt {
  /** Unix seconds: when it began. */
  readonly at: number;
  readonly seconds: number;
  /**
   * Unix seconds: the time that was signed, if something was. No two attempts of a delivery sign
   * the same.
   */
  readonly signedAt?: number | undefined;
  /** Of the answer, where there was one. */
  readonly status?: number | undefined;
  /** Why there was no answer, or what the status means for the endpoint: where it redirects to. */
  readonly error?: string | undefined;
  /**
   * The `Location` of an answer that redirects, as the receiver wrote it but for control
   * characters: at most 2,048 characters. Only of the last attempt.
   */
  readonly location?: string | undefined;
  /**
   * The beginning of the answer; of attempts before the last at most 64 characters, since what
   * receivers say must not fill the queue.
   */
  readonly response?: string | undefined;
  /** Unix seconds: when the next attempt is due, where there is one. */
  readonly nextAt?: number | undefined;
}

/** How far a delivery has come. */
export interface DeliveryProgress {
  /** The last 50, the oldest first. */
  readonly attempts: readonly DeliveryAttempt[];
  /** How many steps of the schedule are used up; a delivery that is ordered again begins anew. */
  readonly tried: number;
  /** Why it was given up, where no attempt says so. */
  readonly reason?: string | undefined;
}

export type DeliveryState = 'waiting' | 'delivered' | 'dead';

/** A callback as the queue knows it. */
export interface QueueEntry {
  readonly callback: QueuedCallback;
  readonly progress: DeliveryProgress;
  readonly state: DeliveryState;
}

/** What becomes of a callback that was handed out. */
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
 * Keeps callbacks until they are delivered or given up, and hands them out: each at least once,
 * whatever crashes, and of a lane one after the other. What was handed out and got no verdict,
 * because the process ended or the handler rejected, is handed out again.
 */
export interface CallbackQueue {
  /**
   * Resolves when the callback is kept as safely as this queue can. One whose id is known is left
   * as it is.
   *
   * @throws Error if too many wait, of its owner or of all; it says which
   */
  add(callback: QueuedCallback): Promise<void>;
  /** Begins to hand out, so many at once. */
  start(handle: Handler, concurrency: number): void;
  find(id: string): Promise<QueueEntry | undefined>;
  /** The latest first. */
  list(state: DeliveryState, limit: number): Promise<readonly QueueEntry[]>;
  /**
   * Makes a callback due now, whatever has become of it; what it is in a lane no more, does not
   * wait for others.
   *
   * @returns whether it is known
   */
  redeliver(id: string): Promise<boolean>;
  /** Hands nothing out any more, and waits for what is handed out. */
  close(): Promise<void>;
}

/** Bounds are counted for each owner, so that one cannot use up what all share. */
export function ownerOf({ owner, endpointId }: QueuedCallback): string {
  return owner ?? endpointId;
}

/** Of all that a queue keeps in one state, one owner has at most a quarter. */
export const OWNERS_IN_ALL = 4;

/** Of a callback that was never handed out. */
export const NO_PROGRESS: DeliveryProgress = { attempts: [], tried: 0 };
