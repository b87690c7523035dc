import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import { type WarningHook, warningOption } from '../../../lib/operator-warning.ts';
import { parseOptions } from '../../../lib/options.ts';
import { redisOption } from '../../../lib/redis/own-connection.ts';

/** The options of a queue in Redis. Times are in seconds. */
export interface BullmqCallbackQueueOptions {
  /**
   * A connection of ioredis. The queue duplicates it and leaves it open. Redis must not lose
   * callbacks: set `appendonly yes` and `maxmemory-policy noeviction`.
   */
  readonly redis: Redis | Cluster;
  /** The name of the queue: `callbacks` if not given. */
  readonly name?: string | undefined;
  /**
   * The beginning of its keys: `{countersign}` if not given. In a cluster the braces keep the keys
   * on one node.
   */
  readonly prefix?: string | undefined;
  /** If Redis does not answer for this time, `send()` rejects: 5 if not given. */
  readonly timeout?: number | undefined;
  /**
   * If a process is killed, its callbacks are handed out again after this time: 30 if not given.
   */
  readonly takeOverAfter?: number | undefined;
  /** The most callbacks of one owner that wait at once: 25,000 if not given. More are refused. */
  readonly maxWaitingPerOwner?: number | undefined;
  /**
   * How long delivered callbacks are remembered, and how many of one owner: a day and 2,500 if not
   * given. While a callback is remembered, sending its event again has no effect. All owners
   * together have four times as many. Beyond that, the owner with the most loses its oldest.
   */
  readonly keepDelivered?:
    | { readonly seconds?: number | undefined; readonly count?: number | undefined }
    | undefined;
  /** The same for dead letters: 30 days and 25,000 if not given. */
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
  // The largest priority of BullMQ, which is the position among the owner's callbacks.
  maxWaitingPerOwner: z.int().min(1).max(2_097_151).default(25_000),
  keepDelivered: keepSchema(86_400, 2_500),
  keepDead: keepSchema(30 * 86_400, 25_000),
  onWarning: warningOption,
});

/** Options with their defaults. */
export type BullmqSettings = z.output<typeof optionsSchema>;

/** @throws TypeError or RangeError that names the option that cannot be used */
export function parseBullmqOptions(options: BullmqCallbackQueueOptions): BullmqSettings {
  return parseOptions('BullMQ callback queue', optionsSchema, options);
}
