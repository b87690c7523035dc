import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import { type WarningHook, warningOption } from '../../../lib/operator-warning.ts';
import { parseOptions } from '../../../lib/options.ts';
import { redisOption } from '../../../lib/redis/own-connection.ts';

/** What a queue in Redis is built from. Times in seconds. */
export interface BullmqCallbackQueueOptions {
  /**
   * A connection of ioredis; the queue makes its own of it. Redis must keep what it is given:
   * `appendonly yes`, `maxmemory-policy noeviction`.
   */
  readonly redis: Redis | Cluster;
  /** `callbacks` if not given. */
  readonly name?: string | undefined;
  /**
   * What its keys begin with: `{countersign}` if not given. In a cluster its braces keep them
   * together.
   */
  readonly prefix?: string | undefined;
  /** After which `send` gives up where Redis does not answer: 5 if not given. */
  readonly timeout?: number | undefined;
  /** After which what a process had that was killed is handed out again: 30 if not given. */
  readonly takeOverAfter?: number | undefined;
  /** The most callbacks of one owner that wait at once: 25,000 if not given. More are refused. */
  readonly maxWaitingPerOwner?: number | undefined;
  /**
   * For how long, and how many of one owner, delivered callbacks are remembered: by them it is
   * noticed that an event is sent again. A day and 2,500. Of all owners together four times as many
   * are remembered; beyond that the owner with the most loses its oldest.
   */
  readonly keepDelivered?:
    | { readonly seconds?: number | undefined; readonly count?: number | undefined }
    | undefined;
  /** The same for those that were given up: 30 days and 25,000. */
  readonly keepDead?:
    | { readonly seconds?: number | undefined; readonly count?: number | undefined }
    | undefined;
  /**
   * Called if Redis is unfit, unreachable or nearly full, or fails. If not given, process warnings
   * say so. See docs/errors.md, "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const keepSchema = (seconds: number, count: number) =>
  z
    .strictObject({
      seconds: z.int().min(1).default(seconds),
      count: z.int().min(1).max(100_000_000).default(count),
    })
    .prefault({});

const optionsSchema = z.strictObject({
  redis: redisOption,
  name: z
    .string()
    .regex(/^[\w-]{1,64}$/, 'letters, digits, "_" and "-"')
    .default('callbacks'),
  prefix: z.string().min(1).max(128).default('{countersign}'),
  timeout: z.number().positive().max(60).default(5),
  takeOverAfter: z.number().min(0.2).max(600).default(30),
  // BullMQ counts priorities so far.
  maxWaitingPerOwner: z.int().min(1).max(2_097_151).default(25_000),
  keepDelivered: keepSchema(86_400, 2_500),
  keepDead: keepSchema(30 * 86_400, 25_000),
  onWarning: warningOption,
});

/** Options with their defaults. */
export type BullmqSettings = z.output<typeof optionsSchema>;

/** @throws TypeError or RangeError naming the option that cannot be used */
export function parseBullmqOptions(options: BullmqCallbackQueueOptions): BullmqSettings {
  return parseOptions('BullMQ callback queue', optionsSchema, options);
}
