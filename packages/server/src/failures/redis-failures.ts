import type { Cluster, Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import { duplicate } from '../redis-connection.ts';
import type { FailureCounts } from './failure-counts.ts';

/** Milliseconds after which Redis is given up. Nobody waits for it. */
const TIMEOUT = 1_000;

/** Failures that all servers count together, in Redis. What is too much is told to this server's own counts. */
export class RedisFailures {
  readonly #redis: Redis | Cluster;
  readonly #sources: RateLimiterRedis;
  readonly #pairs: RateLimiterRedis;
  readonly #own: readonly [sources: FailureCounts, pairs: FailureCounts];
  #isWarned = false;
  #closed = false;

  constructor(
    options: {
      readonly redis: Redis | Cluster;
      readonly prefix: string;
      readonly perSource: number;
      readonly perKey: number;
      readonly per: number;
    },
    sources: FailureCounts,
    pairs: FailureCounts,
  ) {
    const { redis, prefix, perSource, perKey, per: duration } = options;
    this.#redis = duplicate(redis, TIMEOUT);
    // Whoever counts hears of errors; without a listener ioredis would print them.
    this.#redis.on('error', () => undefined);
    // A cluster would keep for later what is counted while it is away.
    const common = { storeClient: this.#redis, duration, rejectIfRedisNotReady: true };
    this.#sources = new RateLimiterRedis({
      ...common,
      points: perSource,
      keyPrefix: `${prefix}:source`,
    });
    this.#pairs = new RateLimiterRedis({ ...common, points: perKey, keyPrefix: `${prefix}:key` });
    this.#own = [sources, pairs];
  }

  /** Counts a failure of both. Never rejects. */
  async add(source: string, pair: string): Promise<void> {
    if (this.#closed) return;
    const [sources, pairs] = this.#own;
    try {
      const all = await Promise.all([this.#sources.penalty(source), this.#pairs.penalty(pair)]);
      sources.hear(source, all[0].consumedPoints, all[0].msBeforeNext);
      pairs.hear(pair, all[1].consumedPoints, all[1].msBeforeNext);
      this.#isWarned = false;
    } catch (error) {
      this.#warn(error);
    }
  }

  close(): void {
    this.#closed = true;
    this.#redis.disconnect();
  }

  /** Once for each time that Redis is away. */
  #warn(error: unknown): void {
    if (this.#isWarned || this.#closed) return;
    this.#isWarned = true;
    process.emitWarning(
      `Cannot count failed signatures in Redis, each server counts alone: ${error}`,
      { code: 'COUNTERSIGN_FAILURE_LIMIT' },
    );
  }
}
