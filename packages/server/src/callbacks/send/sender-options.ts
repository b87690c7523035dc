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

/** What hooks are told of a delivery. */
export interface DeliveryReport {
  readonly id: string;
  readonly endpointId: string;
  readonly eventId: string;
  /** The last, where there was one. */
  readonly attempt: DeliveryAttempt | undefined;
  /** Why it was given up, where no attempt says so. */
  readonly reason?: string | undefined;
}

/** What a sender is built from. Times in seconds, sizes in bytes. */
export interface CallbackSenderOptions extends CallbackAddressOptions {
  /** Finds an endpoint as it is now. */
  readonly endpoints: FindEndpoint;
  /**
   * Keeps what is to be sent: a `MemoryCallbackQueue` if not given, which forgets it when the
   * process ends.
   */
  readonly queue?: CallbackQueue | undefined;
  /** `standardWebhooks()` if not given. */
  readonly scheme?: CallbackScheme | undefined;
  /**
   * `elsewhere`: this process only queues, and others that share the queue deliver. `here` if not
   * given.
   */
  readonly deliver?: 'here' | 'elsewhere' | undefined;
  /**
   * From each failed attempt to the next; after the last it is given up. That of Standard Webhooks
   * if not given: 75 hours.
   */
  readonly schedule?: readonly number[] | undefined;
  /**
   * By which part of itself a time of the schedule is made longer at most, at random: 0.1 if not
   * given.
   */
  readonly jitter?: number | undefined;
  /** For how long `Retry-After` is believed: 86,400 if not given. */
  readonly maxRetryAfter?: number | undefined;
  /**
   * Attempts at once, in this process: 256 if not given. An eighth is only for endpoints that
   * answered within a second of late.
   */
  readonly concurrency?: number | undefined;
  /** Attempts at once at one endpoint, in this process: 4 if not given. */
  readonly perEndpoint?: number | undefined;
  /**
   * Attempts at once at all endpoints of one owner, in this process: an eighth of `concurrency` if
   * not given, and not less than `perEndpoint`.
   */
  readonly perOwner?: number | undefined;
  /** To connect, DNS included (5); for the head of the answer (20); for the rest of it (5). */
  readonly timeouts?:
    | {
        readonly connect?: number | undefined;
        readonly headers?: number | undefined;
        readonly body?: number | undefined;
      }
    | undefined;
  /** Of an event: 65,536 if not given. */
  readonly maxPayload?: number | undefined;
  /** Of an answer that are read: 16,384 if not given. */
  readonly maxResponse?: number | undefined;
  /** Characters of an answer that are kept: 512 if not given. */
  readonly keepResponse?: number | undefined;
  /**
   * Unix seconds, with fractions; the system's clock if not given. A queue that is given has its
   * own.
   */
  readonly clock?: (() => number) | undefined;
  /** From 0 to 1. */
  readonly random?: (() => number) | undefined;
  /** The receiver has answered with 2xx. */
  readonly onDelivered?: ((delivery: DeliveryReport) => unknown) | undefined;
  /** An attempt has failed. */
  readonly onFailed?: ((delivery: DeliveryReport) => unknown) | undefined;
  /**
   * The receiver has answered with 410: store that the endpoint is disabled. Waited for; where it
   * rejects, it is told again.
   */
  readonly onDisabled?: ((endpointId: string) => unknown) | undefined;
  /** It was given up. */
  readonly onDead?: ((delivery: DeliveryReport) => unknown) | undefined;
  /**
   * Called if endpoints cannot be looked up, or a hook fails; and if no queue is given, also if the
   * one in memory is nearly full. If not given, process warnings say so. See docs/errors.md,
   * "Process warnings".
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

/** @throws TypeError or RangeError naming the option that cannot be used */
export function checkSenderOptions(options: CallbackSenderOptions): SenderSettings {
  const settings = parseOptions('callback sender', optionsSchema, options);
  const { clock, concurrency, perEndpoint, onWarning } = settings;
  const {
    queue = new MemoryCallbackQueue({ clock, onWarning }),
    perOwner = Math.max(perEndpoint, Math.floor(concurrency / 8)),
  } = settings;
  return { ...settings, queue, perOwner, warnings: new OperatorWarnings(onWarning) };
}
