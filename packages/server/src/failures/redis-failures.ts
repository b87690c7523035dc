import type { Cluster, Redis } from 'ioredis';
import type { OperatorWarnings } from '../operator-warning.ts';
import { duplicate } from '../redis-connection.ts';
import { lastFailure, reasonOf, rememberFailures, unreachableCause } from '../redis-reachable.ts';
import { COUNT_SCRIPT } from './count-script.ts';
import type { FailureCounts } from './failure-counts.ts';

/** Milliseconds after which Redis is given up. Nobody waits for it. */
const TIMEOUT = 1_000;

/** What failed: a signature of a source, with an access key. */
export interface FailureNames {
  readonly source: string;
  readonly pair: string;
}

/** The counts of one server, of signatures of one kind. */
export interface OwnCounts {
  /** The name of the kind. */
  readonly kind: string;
  readonly sources: FailureCounts;
  readonly pairs: FailureCounts;
}

/** The script, as ioredis makes a command of it. */
interface CountCommand {
  countFailure(...args: (string | number)[]): Promise<unknown>;
}

/** Failures that all servers count together, in Redis. What is too much is told to this server's own counts. */
export class RedisFailures {
  readonly #redis: (Redis | Cluster) & CountCommand;
  readonly #prefix: string;
  readonly #milliseconds: number;
  readonly #mostOfHash: number;
  readonly #warnings: OperatorWarnings;
  #closed = false;

  constructor(options: {
    readonly redis: Redis | Cluster;
    readonly prefix: string;
    readonly per: number;
    readonly maxEntries: number;
    readonly warnings: OperatorWarnings;
  }) {
    const { redis, prefix, per, maxEntries, warnings } = options;
    this.#warnings = warnings;
    this.#redis = duplicate(redis, TIMEOUT) as (Redis | Cluster) & CountCommand;
    rememberFailures(this.#redis);
    this.#redis.defineCommand('countFailure', { numberOfKeys: 4, lua: COUNT_SCRIPT });
    // In a cluster a script may use only keys of one slot, which the part in braces decides.
    this.#prefix = redis.isCluster ? `{${prefix}}` : prefix;
    this.#milliseconds = per * 1000;
    this.#mostOfHash = Math.ceil(maxEntries / 2);
  }

  /** Counts a failure. Never rejects. */
  async add({ source, pair }: FailureNames, own: OwnCounts): Promise<void> {
    if (this.#closed) return;
    try {
      // A cluster would keep for later what is counted while it is away.
      if (this.#redis.status !== 'ready') throw new Error(lastFailure(this.#redis));
      const keys = ['sources', 'sources:old', 'keys', 'keys:old'].map(
        (name) => `${this.#prefix}:${own.kind}:${name}`,
      );
      const limits = [this.#milliseconds, this.#mostOfHash];
      const answer = await this.#redis.countFailure(...keys, source, pair, ...limits);
      const [failures, left, pairFailures, pairLeft] = answer as [number, number, number, number];
      own.sources.hear(source, failures, left);
      own.pairs.hear(pair, pairFailures, pairLeft);
      this.#warnings.end('COUNTERSIGN_FAILURE_LIMIT_UNREACHABLE');
    } catch (error) {
      const reason = reasonOf(error as Error);
      const message = `Cannot count failed signatures in Redis, each server counts alone: ${reason}`;
      const cause = unreachableCause(reason);
      this.#warnings.begin('COUNTERSIGN_FAILURE_LIMIT_UNREACHABLE', { message, cause });
    }
  }

  close(): void {
    this.#closed = true;
    this.#warnings.close();
    this.#redis.disconnect();
  }
}
