import type { Cluster, Redis } from 'ioredis';
import type { OperatorWarnings } from '../lib/operator-warning.ts';
import { duplicate } from '../lib/redis/own-connection.ts';
import {
  isLost,
  lastFailure,
  NOT_CONNECTED,
  reasonOf,
  rememberFailures,
  unreachableCause,
} from '../lib/redis/reachable.ts';
import { commandsOf } from '../lib/redis/redis-commands.ts';
import { isRefusal, refusalOf } from '../lib/redis/redis-permissions.ts';
import { COUNT_SCRIPT } from './count-script.ts';
import type { FailureCounts } from './failure-counts.ts';

/** Milliseconds to wait for Redis. No request waits for it. */
const TIMEOUT = 1_000;

/** Milliseconds after which a lost connection is reported, even if the cause is unknown. */
const LOST_AFTER = 1_000;

/** The commands that the user of the limit must be allowed to run. */
const COMMANDS = ['EVAL', 'EVALSHA', 'INFO', ...commandsOf(COUNT_SCRIPT)];

/** The names to count: the client address, and the pair of client address and access key. */
export interface FailureNames {
  readonly clientAddress: string;
  readonly pair: string;
}

/** The counts of one server, for one kind of signature. */
export interface OwnCounts {
  /** The kind of signature, as it is part of the names in Redis. */
  readonly kind: string;
  readonly clientAddresses: FailureCounts;
  readonly pairs: FailureCounts;
}

/** The script, as a command of ioredis. */
interface CountCommand {
  countFailure(...args: (string | number)[]): Promise<unknown>;
}

/**
 * Failures that all servers count together, in Redis. Names that reach the limit are blocked in
 * this server's own counts.
 */
export class RedisFailures {
  readonly #redis: (Redis | Cluster) & CountCommand;
  readonly #prefix: string;
  readonly #milliseconds: number;
  readonly #mostOfHash: number;
  readonly #warnings: OperatorWarnings;
  /** Whether the user has all permissions, by the test of the present connection. */
  #test: Promise<boolean> | undefined;
  /**
   * Since when the connection is lost, by `performance.now()`; set by the first failure that could
   * not be counted.
   */
  #lostSince: number | undefined;
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
    // In a cluster, all keys of a script must be in one slot. The part in braces decides the
    // slot.
    this.#prefix = redis.isCluster ? `{${prefix}}` : prefix;
    this.#redis.on('ready', () => {
      this.#lostSince = undefined;
      void this.#isAllowed();
    });
    this.#redis.on('close', () => {
      this.#test = undefined;
      if (this.#lostSince !== undefined) this.#recordLost();
    });
    this.#milliseconds = per * 1000;
    this.#mostOfHash = Math.ceil(maxEntries / 2);
  }

  /** Counts a failure. Never rejects. */
  async add({ clientAddress, pair }: FailureNames, own: OwnCounts): Promise<void> {
    if (this.#closed) return;
    // The client of a cluster would queue the command while the cluster is away.
    if (this.#redis.status !== 'ready') {
      this.#recordLost();
      return;
    }
    try {
      if (!(await this.#isAllowed())) return;
      const keys = ['sources', 'sources:old', 'keys', 'keys:old'].map(
        (name) => `${this.#prefix}:${own.kind}:${name}`,
      );
      const limits = [this.#milliseconds, this.#mostOfHash];
      const answer = await this.#redis.countFailure(...keys, clientAddress, pair, ...limits);
      const [failures, left, pairFailures, pairLeft] = answer as [number, number, number, number];
      own.clientAddresses.record(clientAddress, failures, left);
      own.pairs.record(pair, pairFailures, pairLeft);
      this.#warnings.end('COUNTERSIGN_FAILURE_LIMIT_UNREACHABLE');
    } catch (error) {
      // The permission was removed meanwhile.
      if (isRefusal(error)) this.#test = undefined;
      if (isRefusal(error) && !(await this.#isAllowed())) return;
      const reason = reasonOf(error as Error);
      if (isLost(reason)) this.#recordLost();
      else this.#warnUnreachable(reason);
    }
  }

  /** Reports a lost connection as soon as its cause is known. */
  #recordLost(): void {
    const now = performance.now();
    this.#lostSince ??= now;
    const reason = lastFailure(this.#redis) ?? NOT_CONNECTED;
    const isKnown = reason !== NOT_CONNECTED && !isLost(reason);
    if (isKnown || now - this.#lostSince >= LOST_AFTER) this.#warnUnreachable(reason);
  }

  #warnUnreachable(reason: string): void {
    const cause = unreachableCause(reason);
    this.#warnings.begin('COUNTERSIGN_FAILURE_LIMIT_UNREACHABLE', { message: told(reason), cause });
  }

  close(): void {
    this.#closed = true;
    this.#warnings.close();
    this.#redis.disconnect();
  }

  #isAllowed(): Promise<boolean> {
    this.#test ??= this.#tryAll();
    return this.#test;
  }

  /**
   * Reports permissions that the user of the limit lacks. Any other failure is reported when a
   * failure is counted.
   */
  async #tryAll(): Promise<boolean> {
    const needs = { prefix: `${this.#prefix}:`, commands: COMMANDS };
    const refusal = await refusalOf(this.#redis, needs).catch(() => undefined);
    if (refusal === undefined) {
      this.#warnings.end('COUNTERSIGN_FAILURE_LIMIT_UNFIT');
      return true;
    }
    this.#warnings.begin('COUNTERSIGN_FAILURE_LIMIT_UNFIT', { message: told(refusal) });
    // The permission may be there next time.
    this.#test = undefined;
    return false;
  }
}

function told(reason: string): string {
  return `Cannot count failed signatures in Redis, each server counts alone: ${reason}`;
}
