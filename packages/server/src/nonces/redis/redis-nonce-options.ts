import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import { type WarningHook, warningOption } from '../../lib/operator-warning.ts';
import { clockOption, parseOptions } from '../../lib/options.ts';
import { redisOption } from '../../lib/redis/own-connection.ts';
import { CLOCK_SLACK } from '../../verify/nonce-store.ts';

export interface RedisNonceStoreOptions {
  /**
   * A connection of ioredis. The store makes its own connection from it, at once, with the settings
   * that nonces need.
   */
  readonly redis: Redis | Cluster;
  /** The prefix of the store's keys in Redis: `countersign:nonces` if not given. */
  readonly prefix?: string | undefined;
  /** Seconds for which one claim waits for Redis, in total: 0.4 if not given. */
  readonly timeout?: number | undefined;
  /**
   * How many replicas must have a claim before it counts. So no claim is lost if one of them is
   * promoted. If not given: 1 if this store has seen that Redis has a replica, otherwise 0. With
   * `0` and replicas, a request can be accepted twice after a failover.
   */
  readonly waitForReplicas?: number | undefined;
  /**
   * Seconds by which the clocks of servers and Redis may differ: 1 if not given. If they differ by
   * more, every claim is rejected. All servers must have the same value.
   */
  readonly slack?: number | undefined;
  /**
   * How many live nonces one subject may have, and as many one-time presigned URLs. More requests
   * of this subject are refused with `ERR_TOO_MANY_REQUESTS`; other subjects are not. If not given:
   * 250,000, which is 1,800 requests a second, or fewer if both together could take more than a
   * quarter of the `maxmemory` of Redis. Raise it if one key makes most requests. All servers must
   * have the same value.
   */
  readonly perSubject?: number | undefined;
  /** Unix seconds, by the clock of this server; the system's if not given. */
  readonly clock?: (() => number) | undefined;
  /**
   * Called if the operator must know something: Redis is unfit or unreachable, it refuses claims,
   * its clock differs, or a new epoch began. If not given, process warnings say so. See
   * docs/errors.md, "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const optionsSchema = z.strictObject({
  redis: redisOption,
  prefix: z.string().min(1).default('countersign:nonces'),
  timeout: z.number().min(0.05).max(10).default(0.4),
  waitForReplicas: z.int().min(0).max(100).optional(),
  slack: z.number().min(0.01).max(60).default(CLOCK_SLACK),
  perSubject: z.int().min(1).max(1_000_000_000).optional(),
  clock: clockOption,
  onWarning: warningOption,
});

/** Options with their defaults. */
export type RedisNonceSettings = z.output<typeof optionsSchema>;

/** @throws TypeError or RangeError naming the option that cannot be used */
export function parseRedisNonceOptions(options: RedisNonceStoreOptions): RedisNonceSettings {
  return parseOptions('RedisNonceStore', optionsSchema, options);
}
