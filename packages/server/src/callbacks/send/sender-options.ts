import * as z from 'zod';
import { OperatorWarnings, type WarningHook, warningOption } from '../../lib/operator-warning.ts';
import { clockOption, functionOption, objectOption, parseOptions } from '../../lib/options.ts';
import type { CallbackScheme } from '../schemes/callback-scheme.ts';
import { standardWebhooks } from '../schemes/standard-webhooks.ts';
import type { CallbackAddressOptions } from './callback-address.ts';
import type { FindEndpoint } from './callback-endpoint.ts';
import type { CallbackQueue, DeliveryAttempt } from './queue/callback-queue.ts';
import { MemoryCallbackQueue } from './queue/memory-callback-queue.ts';
import { STANDARD_SCHEDULE } from './retry-schedule.ts';

/** What the hooks receive about a delivery. */
export interface DeliveryReport {
  readonly id: string;
  readonly endpointId: string;
  readonly eventId: string;
  /** The latest attempt, if there was one. */
  readonly attempt: DeliveryAttempt | undefined;
  /** Why the delivery is dead, if no attempt shows that. */
  readonly reason?: string | undefined;
}

/** The options of a sender. Times are in seconds, sizes in bytes. */
export interface CallbackSenderOptions extends CallbackAddressOptions {
  /** Finds the current state of an endpoint. */
  readonly endpoints: FindEndpoint;
  /**
   * Keeps the callbacks until they are delivered: a `MemoryCallbackQueue` if not given, which loses
   * them when the process ends.
   */
  readonly queue?: CallbackQueue | undefined;
  /** `standardWebhooks()` if not given. */
  readonly scheme?: CallbackScheme | undefined;
  /**
   * `elsewhere`: this process only queues, and other processes that share the queue deliver. `here`
   * if not given.
   */
  readonly deliver?: 'here' | 'elsewhere' | undefined;
  /**
   * The delays from each failed attempt to the next. If the attempt after the last delay fails, the
   * delivery is dead. If not given, the schedule of Standard Webhooks: 75 hours.
   */
  readonly schedule?: readonly number[] | undefined;
  /**
   * The most by which a delay of the schedule is made longer at random, as a part of the delay: 0.1
   * if not given.
   */
  readonly jitter?: number | undefined;
  /** The longest `Retry-After` that is obeyed: 86,400 if not given. */
  readonly maxRetryAfter?: number | undefined;
  /**
   * The most attempts at once in this process: 256 if not given. An eighth of them is only for
   * endpoints that answered within a second lately.
   */
  readonly concurrency?: number | undefined;
  /** The most attempts at once at one endpoint, in this process: 4 if not given. */
  readonly perEndpoint?: number | undefined;
  /**
   * The most attempts at once at all endpoints of one owner, in this process. If not given, an
   * eighth of `concurrency`, but at least `perEndpoint`.
   */
  readonly perOwner?: number | undefined;
  /** Time to connect, DNS included (5); for the head of the answer (20); for its rest (5). */
  readonly timeouts?:
    | {
        readonly connect?: number | undefined;
        readonly headers?: number | undefined;
        readonly body?: number | undefined;
      }
    | undefined;
  /** The largest body of an event: 65,536 if not given. */
  readonly maxPayload?: number | undefined;
  /** The most bytes of an answer that are read: 16,384 if not given. */
  readonly maxResponse?: number | undefined;
  /** The most characters of an answer that are kept: 512 if not given. */
  readonly keepResponse?: number | undefined;
  /**
   * Returns Unix seconds, with fractions; the system's clock if not given. A queue that you give
   * has its own clock.
   */
  readonly clock?: (() => number) | undefined;
  /** Returns a number from 0 to 1, for `jitter`; `Math.random` if not given. */
  readonly random?: (() => number) | undefined;
  /** Called when the receiver has answered with 2xx. */
  readonly onDelivered?: ((delivery: DeliveryReport) => unknown) | undefined;
  /** Called when an attempt has failed. */
  readonly onFailed?: ((delivery: DeliveryReport) => unknown) | undefined;
  /**
   * Called when the receiver has answered with 410: store that the endpoint is disabled. The sender
   * waits for it. If it rejects, it is called again later.
   */
  readonly onDisabled?: ((endpointId: string) => unknown) | undefined;
  /** Called when the delivery is dead. */
  readonly onDead?: ((delivery: DeliveryReport) => unknown) | undefined;
  /**
   * Called if endpoints cannot be looked up, or a hook fails. If you give no queue, it is also
   * called if the one in memory is nearly full. If not given, process warnings say so. See
   * docs/errors.md, "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const hook = functionOption<(report: never) => unknown>().optional();
const seconds = z.number().positive().max(600);

const optionsSchema = z.strictObject({
  endpoints: functionOption<FindEndpoint>(),
  queue: objectOption<CallbackQueue>('add', 'a callback queue').optional(),
  scheme: objectOption<CallbackScheme>('write', 'a scheme that can be sent').default(
    standardWebhooks,
  ),
  deliver: z.enum(['here', 'elsewhere']).default('here'),
  schedule: z
    .array(z.number().positive().max(2_592_000))
    .max(100)
    .default([...STANDARD_SCHEDULE]),
  jitter: z.number().min(0).max(1).default(0.1),
  maxRetryAfter: z.number().positive().max(2_592_000).default(86_400),
  concurrency: z.int().min(1).max(10_000).default(256),
  perEndpoint: z.int().min(1).max(1_000).default(4),
  perOwner: z.int().min(1).max(10_000).optional(),
  timeouts: z
    .strictObject({
      connect: seconds.default(5),
      headers: seconds.default(20),
      body: seconds.default(5),
    })
    .prefault({}),
  maxPayload: z.int().min(1).max(1_048_576).default(65_536),
  maxResponse: z.int().min(0).max(1_048_576).default(16_384),
  keepResponse: z.int().min(0).max(16_384).default(512),
  http: z.enum(['refuse', 'allow-plain-http']).default('refuse'),
  privateAddresses: z.enum(['refuse', 'allow-private-addresses']).default('refuse'),
  resolve: functionOption<CallbackAddressOptions['resolve']>().optional(),
  clock: clockOption,
  random: functionOption<() => number>().default(() => Math.random),
  onDelivered: hook,
  onFailed: hook,
  onDisabled: hook,
  onDead: hook,
  onWarning: warningOption,
});

export type SenderSettings = z.output<typeof optionsSchema> & {
  readonly queue: CallbackQueue;
  readonly perOwner: number;
  readonly warnings: OperatorWarnings;
};

/** @throws TypeError or RangeError that names the option that cannot be used */
export function checkSenderOptions(options: CallbackSenderOptions): SenderSettings {
  const settings = parseOptions('callback sender', optionsSchema, options);
  const { clock, concurrency, perEndpoint, onWarning } = settings;
  const {
    queue = new MemoryCallbackQueue({ clock, onWarning }),
    perOwner = Math.max(perEndpoint, Math.floor(concurrency / 8)),
  } = settings;
  return { ...settings, queue, perOwner, warnings: new OperatorWarnings(onWarning) };
}
