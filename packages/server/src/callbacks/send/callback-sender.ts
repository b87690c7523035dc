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

/** A delivery, as it can be shown to whoever owns the endpoint: no payload, no URL, no secret. */
export interface Delivery {
  readonly id: string;
  readonly endpointId: string;
  readonly eventId: string;
  /** Unix seconds. */
  readonly createdAt: number;
  /** `dead` is given up: `redeliver()` begins anew. */
  readonly state: DeliveryState;
  /** The last 50, the oldest first. */
  readonly attempts: readonly DeliveryAttempt[];
  /** Why it was given up, where no attempt says so. */
  readonly reason?: string | undefined;
}

/** How often what has happened, in this process, since the sender was built. */
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
   * Queues an event for an endpoint. Once it resolves, the event is delivered at least once or
   * found among the dead, whatever crashes that the queue survives. Where it rejects, send the
   * event again with the same id: it waits once.
   *
   * @returns the id of the delivery and the `webhook-id`
   * @throws TypeError if the endpoint is unknown, disabled or wrong, or a secret cannot sign;
   * RangeError where the payload is too large
   * @throws Error if too many wait already, of the endpoint's owner or of all: the message says
   * which, and the option that allows more
   * @throws CallbackAddressError `ERR_CALLBACK_URL_REFUSED`; addresses are checked when it is
   * called
   */
  send(endpointId: string, event: CallbackEvent): Promise<{ id: string; eventId: string }>;
  find(id: string): Promise<Delivery | undefined>;
  /** The latest first, 100 if not given. `dead` are the dead letters. */
  list(state: DeliveryState, limit?: number): Promise<readonly Delivery[]>;
  /**
   * Makes a delivery due now, with the schedule from its beginning. What is dead or delivered goes
   * out of order.
   *
   * @throws RangeError where it is not known, or not any more
   */
  redeliver(id: string): Promise<void>;
  counters(): SenderCounters;
  /** Begins nothing any more, waits for the attempts that are under way, and closes the queue. */
  close(): Promise<void>;
}

const MOST_ATTEMPTS = 50;
/** Characters of the answer to an attempt before the last. */
const EARLIER_RESPONSE = 64;
/** Seconds until it is tried again what is ours, and not the receiver's, to do. */
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
 * // Its host has come to mean this machine.
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

  /** A hook that fails must not make a delivery repeated that has happened. */
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
   * Holds a place until all is done, hooks included: those of one owner cannot keep the others
   * waiting.
   */
  async function handle(callback: QueuedCallback, progress: DeliveryProgress): Promise<Verdict> {
    // A queue may have it in hand. It comes again, here or in another process.
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
      // Where endpoints are kept cannot be asked: nothing was tried.
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
        // As long as it is not stored that the endpoint is disabled, the callback stays, and finds
        // the endpoint gone again.
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
      // No attempt could succeed: now the application is there to hear it.
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
  // With 429 and 503 the receiver means all callbacks, not this one (RFC 6585 section 4, RFC 9110
  // section 15.6.4).
  const isForAll = attempt.status === 429 || attempt.status === 503;
  return {
    isWell: outcome === 'delivered',
    seconds: attempt.seconds,
    restUntil: isForAll ? retryAt : undefined,
  };
}

/**
 * Of an attempt before the last: what receivers say each time could fill the queue that all share.
 */
function shortened({ location: _, response, ...attempt }: DeliveryAttempt): DeliveryAttempt {
  return { ...attempt, response: response?.slice(0, EARLIER_RESPONSE) };
}

/**
 * What tells one failure from another: a message that names a delivery is another one each time, so
 * there is a bound.
 */
function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : quote(error);
}

function toDelivery({ callback, progress, state }: QueueEntry): Delivery {
  const { id, endpointId, eventId, createdAt } = callback;
  const { attempts, reason } = progress;
  return { id, endpointId, eventId, createdAt, state, attempts, reason };
}
