import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { quote, sha256Hex } from '@countersign/shared';
import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import { parseOptions } from '../options.ts';
import { CLAIM_SCRIPT } from './claim-script.ts';
import { CLOCK_SLACK, type ClaimOutcome, type NonceClaim, type NonceStore } from './nonce-store.ts';

export interface RedisNonceStoreOptions {
  /** A connection of ioredis. The store makes one of its own of it, at once, with the settings that nonces need. */
  readonly redis: Redis | Cluster;
  /** What the names of the store's keys begin with: `countersign:nonces` if not given. */
  readonly prefix?: string | undefined;
  /** Seconds for which a claim waits for Redis, all in all: 0.5 if not given. */
  readonly timeout?: number | undefined;
}

const optionsSchema = z.strictObject({
  redis: z.custom<Redis | Cluster>(
    (redis) => typeof (redis as Redis | undefined)?.duplicate === 'function',
    'a Redis or Cluster of ioredis',
  ),
  prefix: z.string().min(1).default('countersign:nonces'),
  timeout: z.number().min(0.05).max(10).default(0.5),
});

/** Access keys are spread over this many sorted sets, so that a cluster shares the work; each has an epoch of its own. */
const PARTITIONS = 64;

/** Expired nonces that a claim removes: more than the one it adds, and not enough to be felt. */
const MOST_REMOVED = 1_000;

const OUTCOMES = new Set(['claimed', 'replayed', 'uncertain', 'stale']);

type ClaimCommand = (key: string, ...args: (string | number)[]) => Promise<unknown>;

/**
 * Nonces in Redis, 6.2 or newer, or Valkey: for all servers that share keys. One script decides each claim, on the
 * clock of Redis, so of any number of copies sent to any number of servers exactly one is claimed.
 *
 * Nonces and the name of the store's life, its epoch, lie in one key: they are lost together, and a store without memory
 * says so.
 *
 * @example
 * ```ts no-run
 * import { RedisNonceStore } from '@countersign/server/redis';
 * import { Redis } from 'ioredis';
 *
 * const nonces = new RedisNonceStore({ redis: new Redis('redis://127.0.0.1:6379') });
 * ```
 */
export class RedisNonceStore implements NonceStore {
  readonly #redis: Redis | Cluster;
  readonly #prefix: string;
  readonly #timeout: number;
  /** The epoch that each partition had when it was heard of last. */
  readonly #epochs: string[] = [];
  #connecting: Promise<unknown> | undefined;
  #births: Promise<unknown> | undefined;
  #closed = false;

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: RedisNonceStoreOptions) {
    const { redis, prefix, timeout } = parseOptions('RedisNonceStore', optionsSchema, options);
    this.#prefix = prefix;
    this.#timeout = timeout * 1000;
    this.#redis = duplicate(redis, this.#timeout);
    this.#redis.defineCommand('claimNonce', { numberOfKeys: 1, lua: CLAIM_SCRIPT });
    // Errors reach whoever claims; without a listener ioredis would print them.
    this.#redis.on('error', () => undefined);
    this.#redis.on('ready', () => this.#bearAll());
  }

  /** Claims a nonce. Rejects where Redis fails, or does not answer in time. */
  claim(claim: NonceClaim): Promise<ClaimOutcome> {
    return within(this.#timeout, this.#claim(claim));
  }

  /** Closes the store's own connection, not the one that it was given. What is claimed from then on is rejected. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#redis.disconnect();
  }

  async #claim({
    accessKeyId,
    audience,
    nonce,
    signedAt,
    acceptableFrom,
    acceptableUntil,
    epoch,
  }: NonceClaim): Promise<ClaimOutcome> {
    await this.#connected();
    const partition = Number.parseInt(sha256Hex(accessKeyId).slice(0, 2), 16) % PARTITIONS;
    const name = sha256Hex(`${audience}\n${accessKeyId}\n${nonce}`).slice(0, 32);
    const reply = await this.#run(
      partition,
      name,
      signedAt,
      acceptableFrom,
      acceptableUntil,
      epoch ?? '',
    );
    const outcome = parseReply(reply);
    if (this.#epochs[partition] !== outcome.epoch) {
      this.#epochs[partition] = outcome.epoch;
      this.#bearAll();
    }
    return outcome;
  }

  #run(
    partition: number,
    name: string,
    signedAt: number,
    from: number,
    until: number,
    echoed: string,
  ): Promise<unknown> {
    const command = (this.#redis as unknown as { claimNonce: ClaimCommand }).claimNonce.bind(
      this.#redis,
    );
    return command(
      `${this.#prefix}:${partition}`,
      name,
      signedAt,
      from,
      until,
      echoed,
      newEpoch(),
      CLOCK_SLACK,
      MOST_REMOVED,
    );
  }

  /** Waits for a connection that is being made. Fails with the attempt. */
  async #connected(): Promise<void> {
    if (this.#closed) throw new Error('Cannot claim: the nonce store is closed');
    if (this.#redis.status === 'ready') return;
    this.#connecting ??= once(this.#redis, 'ready').finally(() => {
      this.#connecting = undefined;
    });
    await this.#connecting;
  }

  /**
   * Lets all partitions be born that are not: when the store is connected, and when one is found to have lost its memory. So the
   * time after a birth in which clients without an epoch are refused passes for all access keys at once, and not for each
   * when it is used first. Partitions that have an epoch keep it. One that cannot be born now will be when it is claimed in.
   */
  #bearAll(): void {
    if (this.#births !== undefined) return;
    const births = Array.from({ length: PARTITIONS }, async (_, partition) => {
      const [, epoch] = (await this.#run(partition, '', 0, 0, 0, '')) as string[];
      this.#epochs[partition] = epoch as string;
    });
    this.#births = Promise.allSettled(births).then(() => {
      this.#births = undefined;
    });
  }
}

/**
 * A connection of the store's own, with settings under which no command is executed twice. By default ioredis sends a command
 * again after its answer was lost, and then the first use of a nonce comes back as "used before".
 */
function duplicate(redis: Redis | Cluster, timeout: number): Redis | Cluster {
  const common = { lazyConnect: false, enableAutoPipelining: false };
  const settings = {
    ...common,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    commandTimeout: timeout,
    // A connection that carries nothing any more can stay open for a quarter of an hour.
    socketTimeout: 2 * timeout,
    // It can ask for what failed to be sent again.
    reconnectOnError: null,
    retryStrategy: reconnectAfter,
    sentinelRetryStrategy: reconnectAfter,
    stringNumbers: false,
  };
  if (!redis.isCluster) return (redis as Redis).duplicate(settings);
  return (redis as Cluster).duplicate([], {
    ...common,
    // A node is connected to when it is first needed; what is sent to it meanwhile was not executed, and waits.
    enableOfflineQueue: true,
    // What was sent on a connection that closed may have been executed.
    retryDelayOnFailover: 0,
    clusterRetryStrategy: reconnectAfter,
    clusterNodeRetryStrategy: null,
    // ioredis 5 puts these in place of the given ones, passwords and all.
    redisOptions: { ...(redis as Cluster).options.redisOptions, ...settings },
  } as Parameters<Cluster['duplicate']>[1]);
}

/** For ever, whatever the given connection does: the store must come back by itself. */
function reconnectAfter(attempts: number): number {
  return Math.min(50 * attempts, 1_000);
}

function within<T>(milliseconds: number, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`Redis did not answer within ${milliseconds} ms`)),
      milliseconds,
    );
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function newEpoch(): string {
  return randomBytes(16).toString('base64url');
}

/** What is not an answer of the script must not be taken for one. */
function parseReply(reply: unknown): ClaimOutcome {
  const [outcome, epoch, retryAfter] = Array.isArray(reply) ? (reply as unknown[]) : [];
  if (
    !OUTCOMES.has(outcome as string) ||
    typeof epoch !== 'string' ||
    typeof retryAfter !== 'number'
  ) {
    throw new TypeError(
      `Cannot read the reply of Redis: expected an outcome, got ${quote(outcome)}`,
    );
  }
  return (
    outcome === 'uncertain' ? { outcome, epoch, retryAfter } : { outcome, epoch }
  ) as ClaimOutcome;
}
