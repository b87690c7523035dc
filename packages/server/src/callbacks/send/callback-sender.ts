import { quote } from '@countersign/shared';
import { describeThrown } from '../../lib/thrown.ts';
import { type CheckedEndpoint, checkEndpoint } from './callback-endpoint.ts';
import { type CallbackEvent, deliveryId, toContent } from './callback-event.ts';
import { parseCallbackUrl } from './callback-url.ts';
import { EndpointGate, type PlaceOutcome } from './endpoint-gate.ts';
import { type AttemptResult, makeAttempt } from './make-attempt.ts';
import { createPoster } from './poster.ts';
import {
  type DeliveryAttempt,
  type DeliveryProgress,
  type DeliveryState,
  ownerOf,
  type QueuedCallback,
  type QueueEntry,
  type Verdict,
} from './queue/callback-queue.ts';
import { type CallbackSenderOptions, checkSenderOptions } from './sender-options.ts';
import { readSecrets } from './sign-attempt.ts';

/** A delivery without payload, URL or secret: safe to show to the endpoint's owner. */
export interface Delivery {
  readonly id: string;
  readonly endpointId: string;
  readonly eventId: string;
  /** Unix seconds. */
  readonly createdAt: number;
  /** `dead` is not tried again, unless you call `redeliver()`. */
  readonly state: DeliveryState;
  /** The latest 50, the oldest first. */
  readonly attempts: readonly DeliveryAttempt[];
  /** Why it is dead, if no attempt shows that. */
  readonly reason?: string | undefined;
}

/** Counts of events in this process since the sender was built. */
export interface SenderCounters {
  readonly queued: number;
  readonly attempts: number;
  readonly delivered: number;
  readonly failed: number;
  readonly disabled: number;
  readonly dead: number;
}

/** Sends callbacks. */
export interface CallbackSender {
  /**
   * Queues an event for an endpoint. Once it resolves, the event is delivered at least once, or
   * becomes a dead letter. A crash that the queue survives does not change that. If it rejects,
   * send the event again with the same id: it is queued once.
   *
   * @returns the id of the delivery and the `webhook-id`
   * @throws TypeError if the endpoint is unknown, disabled or wrong, or a secret cannot sign;
   * RangeError if the payload is too large
   * @throws Error if too many callbacks wait already, of the endpoint's owner or of all owners: the
   * message says which, and names the option that allows more
   * @throws CallbackAddressError `ERR_CALLBACK_URL_REFUSED`; addresses are checked before each
   * attempt
   */
  send(endpointId: string, event: CallbackEvent): Promise<{ id: string; eventId: string }>;
  find(id: string): Promise<Delivery | undefined>;
  /**
   * Lists deliveries, the latest first: at most `limit`, 100 if not given. `dead` lists the dead
   * letters.
   *
   * @throws RangeError if `limit` is not a whole number from 1 to 10,000
   */
  list(state: DeliveryState, limit?: number): Promise<readonly Delivery[]>;
  /**
   * Makes a delivery due now, and starts its schedule from the beginning. A delivery that was dead
   * or delivered does not wait for others in its lane.
   *
   * @throws RangeError if the queue does not know the delivery, or has forgotten it
   */
  redeliver(id: string): Promise<void>;
  counters(): SenderCounters;
  /** Starts no more attempts, waits for those that run, and closes the queue. */
  close(): Promise<void>;
}

const MOST_ATTEMPTS = 50;
/** The most characters kept of an answer, for every attempt except the latest. */
const EARLIER_RESPONSE = 64;
/** Delay, in seconds, before we retry our own bookkeeping. */
const AFTER_OWN_FAILURE = 5;

/**
 * Builds a sender of callbacks.
 *
 * @param options see {@link CallbackSenderOptions}
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { createCallbackSender } from '@countersign/server/callbacks';
 *
 * const endpoints = new Map([
 *   [
 *     'alice',
 *     {
 *       id: 'alice',
 *       url: 'https://alice.test/callbacks',
 *       secrets: ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'],
 *     },
 *   ],
 * ]);
 * const sender = createCallbackSender({
 *   endpoints: (id) => endpoints.get(id),
 *   resolve: async () => ['127.0.0.1'],
 * });
 * const { id } = await sender.send('alice', { type: 'video.parsed', data: { title: 'Cats' } });
 * await sender.close();
 * // Its host resolves to this machine now, so nothing was sent.
 * const delivery = await sender.find(id);
 * console.assert(delivery?.state === 'waiting');
 * ```
 * @see docs/callbacks-sending.md
 */
export function createCallbackSender(options: CallbackSenderOptions): CallbackSender {
  const settings = checkSenderOptions(options);
  const { queue, clock, schedule, jitter, random, warnings } = settings;
  const gate = new EndpointGate(settings);
  const poster = createPoster();
  let isClosing = false;
  const counters = { queued: 0, attempts: 0, delivered: 0, failed: 0, disabled: 0, dead: 0 };

  async function findEndpoint(endpointId: string): Promise<CheckedEndpoint | undefined> {
    const endpoint = await settings.endpoints(endpointId);
    return endpoint && checkEndpoint(endpoint);
  }

  /** A hook that fails must not cause a second delivery. */
  async function report(
    hook: ((report: never) => unknown) | undefined,
    callback: QueuedCallback,
    { attempts, reason }: DeliveryProgress,
  ): Promise<void> {
    const { id, endpointId, eventId } = callback;
    try {
      await hook?.({ id, endpointId, eventId, attempt: attempts.at(-1), reason } as never);
    } catch (error) {
      const message = `A hook of the callback sender failed, first for delivery ${id}: ${describeThrown(error)}`;
      warnings.event('COUNTERSIGN_CALLBACK_HOOK', { message, cause: reasonOf(error) });
    }
  }

  async function deadLetter(
    callback: QueuedCallback,
    progress: DeliveryProgress,
  ): Promise<Verdict> {
    counters.dead += 1;
    await report(settings.onDead, callback, progress);
    return { outcome: 'dead', progress };
  }

  /**
   * Holds a place until everything is done, hooks included. So slow hooks of one owner do not block
   * the others.
   */
  async function handle(callback: QueuedCallback, progress: DeliveryProgress): Promise<Verdict> {
    // The queue may hand out one more callback while it closes. It hands that one out again later, here or in another process.
    if (isClosing) return { outcome: 'again', at: clock(), progress };
    const place = gate.enter(callback.endpointId, ownerOf(callback), clock());
    if (typeof place === 'number') return { outcome: 'again', at: place, progress };
    let result: AttemptResult | undefined;
    try {
      const endpoint = await findEndpoint(callback.endpointId);
      warnings.end('COUNTERSIGN_CALLBACK_ENDPOINTS');
      if (endpoint === undefined || endpoint.disabled) {
        const reason = `The endpoint is ${endpoint === undefined ? 'unknown' : 'disabled'}`;
        return await deadLetter(callback, { ...progress, reason });
      }
      result = await makeAttempt(callback, endpoint, progress, { poster, settings });
      return await judge(callback, progress, result);
    } catch (error) {
      // The lookup of the endpoint failed. This uses up no attempt.
      const message = `Cannot find callback endpoints, first ${quote(callback.endpointId)}: ${describeThrown(error)}`;
      warnings.begin('COUNTERSIGN_CALLBACK_ENDPOINTS', { message, cause: reasonOf(error) });
      return { outcome: 'again', at: clock() + AFTER_OWN_FAILURE, progress };
    } finally {
      gate.leave(place, outcomeOf(result), clock());
    }
  }

  async function judge(
    callback: QueuedCallback,
    progress: DeliveryProgress,
    { attempt, outcome, retryAt = 0 }: AttemptResult,
  ): Promise<Verdict> {
    counters.attempts += 1;
    const pause = outcome === 'failed' ? schedule[progress.tried] : undefined;
    const nextAt =
      pause === undefined
        ? undefined
        : Math.max(clock() + pause * (1 + jitter * random()), retryAt);
    const after: DeliveryProgress = {
      attempts: [...progress.attempts.map(shortened), { ...attempt, nextAt }].slice(-MOST_ATTEMPTS),
      tried: progress.tried + 1,
    };
    if (outcome === 'delivered') {
      counters.delivered += 1;
      await report(settings.onDelivered, callback, after);
      return { outcome, progress: after };
    }
    counters.failed += 1;
    await report(settings.onFailed, callback, after);
    if (outcome === 'gone') {
      try {
        await (settings.onDisabled as ((id: string) => unknown) | undefined)?.(callback.endpointId);
      } catch (error) {
        // The callback stays until the application has stored that the endpoint is disabled. Its
        // next attempt is answered with 410 again.
        const message = `onDisabled failed, first for endpoint ${quote(callback.endpointId)}, which is asked again until it succeeds: ${describeThrown(error)}`;
        warnings.event('COUNTERSIGN_CALLBACK_HOOK', { message, cause: reasonOf(error) });
        const progress = { ...after, tried: after.tried - 1 };
        return { outcome: 'again', at: clock() + AFTER_OWN_FAILURE, progress };
      }
      counters.disabled += 1;
      return deadLetter(callback, { ...after, reason: 'The receiver wants no more callbacks' });
    }
    if (nextAt === undefined) return deadLetter(callback, after);
    return { outcome: 'again', at: nextAt, progress: after };
  }

  if (settings.deliver === 'here') queue.start(handle, settings.concurrency);

  return {
    async send(endpointId, event) {
      const endpoint = await findEndpoint(endpointId);
      if (endpoint === undefined || endpoint.disabled) {
        const what = endpoint === undefined ? 'unknown' : 'disabled';
        throw new TypeError(`Cannot send to endpoint ${quote(endpointId)}: it is ${what}`);
      }
      parseCallbackUrl(endpoint.url, settings);
      // No attempt could succeed. Say so now, while the application is there to read it.
      readSecrets(endpoint, settings.scheme);
      const now = clock();
      const content = toContent(event, now, settings.maxPayload);
      const { eventId } = content;
      const id = deliveryId(endpointId, eventId);
      const lane = endpoint.order === 'as-sent' ? endpointId : undefined;
      const { owner } = endpoint;
      await queue.add({ id, endpointId, owner, ...content, createdAt: now, lane });
      counters.queued += 1;
      return { id, eventId };
    },

    async find(id) {
      const entry = await queue.find(id);
      return entry && toDelivery(entry);
    },

    async list(state, limit = 100) {
      if (!(Number.isInteger(limit) && limit >= 1 && limit <= 10_000))
        throw new RangeError(
          `Cannot list ${quote(limit)} deliveries: expected a whole number from 1 to 10000`,
        );
      return (await queue.list(state, limit)).map(toDelivery);
    },

    async redeliver(id) {
      if (!(await queue.redeliver(id)))
        throw new RangeError(`Cannot redeliver ${quote(id)}: no such delivery is known`);
    },

    counters: () => ({ ...counters }),

    async close() {
      isClosing = true;
      await queue.close();
      poster.close();
    },
  };
}

function outcomeOf(result: AttemptResult | undefined): PlaceOutcome {
  if (result === undefined) return { isWell: undefined, seconds: 0 };
  const { attempt, outcome, retryAt } = result;
  // 429 and 503 concern all callbacks to the receiver, not only this one (RFC 6585 section 4, RFC
  // 9110 section 15.6.4).
  const isForAll = attempt.status === 429 || attempt.status === 503;
  return {
    isWell: outcome === 'delivered',
    seconds: attempt.seconds,
    restUntil: isForAll ? retryAt : undefined,
  };
}

/**
 * Shortens every attempt except the latest. Otherwise the answers of receivers could fill the queue
 * that all owners share.
 */
function shortened({ location: _, response, ...attempt }: DeliveryAttempt): DeliveryAttempt {
  return { ...attempt, response: response?.slice(0, EARLIER_RESPONSE) };
}

/**
 * The text that distinguishes one failure from another. It is bounded, because a message that names
 * a delivery is different each time.
 */
function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : quote(error);
}

function toDelivery({ callback, progress, state }: QueueEntry): Delivery {
  const { id, endpointId, eventId, createdAt } = callback;
  const { attempts, reason } = progress;
  return { id, endpointId, eventId, createdAt, state, attempts, reason };
}
