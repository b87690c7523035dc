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

/** Milliseconds after which Redis is given up. Nobody waits for it. */
const TIMEOUT = 1_000;

/** Milliseconds after which a connection that is lost is reported, though it is not known why. */
const LOST_AFTER = 1_000;

/** What the user of the limit must be allowed to run. */
const COMMANDS = ['EVAL', 'EVALSHA', 'INFO', ...commandsOf(COUNT_SCRIPT)];

/** What failed: a signature from a client address, with an access key. */
export interface FailureNames {
  readonly clientAddress: string;
  readonly pair: string;
}

/** The counts of one server, of signatures of one kind. */
export interface OwnCounts {
  /** The name of the kind. */
  readonly kind: string;
  readonly clientAddresses: FailureCounts;
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
  /** Whether the user may do all that is needed: settles with the test of the present connection. */
  #test: Promise<boolean> | undefined;
  /** Since when there is no connection, if a failure could not be counted since: by `performance.now()`. */
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
    // In a cluster a script may use only keys of one slot, which the part in braces decides.
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
    // A cluster would keep for later what is counted while it is away.
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
      // It was taken away meanwhile.
      if (isRefusal(error)) this.#test = undefined;
      if (isRefusal(error) && !(await this.#isAllowed())) return;
      const reason = reasonOf(error as Error);
      if (isLost(reason)) this.#recordLost();
      else this.#warnUnreachable(reason);
    }
  }

  /** A Redis that is gone has one cause: it is reported once it is known. */
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

  /** Reports what the user of the limit may not do, but must. Anything else that fails is reported when it is needed. */
  async #tryAll(): Promise<boolean> {
    const needs = { prefix: `${this.#prefix}:`, commands: COMMANDS };
    const refusal = await refusalOf(this.#redis, needs).catch(() => undefined);
    if (refusal === undefined) {
      this.#warnings.end('COUNTERSIGN_FAILURE_LIMIT_UNFIT');
      return true;
    }
    this.#warnings.begin('COUNTERSIGN_FAILURE_LIMIT_UNFIT', { message: told(refusal) });
    // It may be allowed by the next time.
    this.#test = undefined;
    return false;
  }
}

function told(reason: string): string {
  return `Cannot count failed signatures in Redis, each server counts alone: ${reason}`;
}
