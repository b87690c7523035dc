import { quote, sha256Hex } from '@countersign/shared';
import type { Cluster, Redis } from 'ioredis';
import { randomBytes } from 'node:crypto';
import * as z from 'zod';
import { parseOptions } from '../options.ts';
import { CLAIM_SCRIPT } from './claim-script.ts';
import { CLOCK_SLACK, type ClaimOutcome, type NonceClaim, type NonceStore } from './nonce-store.ts';

export interface RedisNonceStoreOptions {
  /** A connection of ioredis. The store makes one of its own of it, with settings that nonces need. */
  readonly redis: Redis | Cluster;
  /** What the names of the store's keys begin with: `countersign:nonces` if not given. */
  readonly prefix?: string | undefined;
  /** Seconds after which an answer of Redis is no longer waited for: 0.5 if not given. */
  readonly timeout?: number | undefined;
}

type ClaimCommand = (key: string, ...args: (string | number)[]) => Promise<unknown>;

const optionsSchema = z.strictObject({
  redis: z.custom<Redis | Cluster>((redis) => typeof (redis as Redis | undefined)?.duplicate === 'function', 'a Redis or Cluster of ioredis'),
  prefix: z.string().min(1).default('countersign:nonces'),
  timeout: z.number().min(0.05).max(10).default(0.5),
});

/** Access keys are spread over this many sorted sets, so that a cluster shares the work; each has an epoch of its own. */
const PARTITIONS = 64;

const OUTCOMES = new Set(['claimed', 'replayed', 'uncertain', 'stale']);

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
  #opening: Promise<void> | undefined;

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: RedisNonceStoreOptions) {
    const { redis, prefix, timeout } = parseOptions('RedisNonceStore', optionsSchema, options);
    this.#prefix = prefix;
    this.#timeout = timeout * 1000;
    this.#redis = duplicate(redis, this.#timeout);
    this.#redis.defineCommand('claimNonce', { numberOfKeys: 1, lua: CLAIM_SCRIPT });
    // Errors reach whoever claims; without a listener ioredis would print them.
    this.#redis.on('error', () => undefined);
  }

  /** Claims a nonce. Rejects where Redis fails, or does not answer in time. */
  async claim(claim: NonceClaim): Promise<ClaimOutcome> {
    await this.#open();
    const name = sha256Hex(`${claim.audience}\n${claim.accessKeyId}\n${claim.nonce}`).slice(0, 32);
    const ahead = claim.signedAt - claim.acceptableFrom;
    const partition = Number.parseInt(sha256Hex(claim.accessKeyId).slice(0, 2), 16) % PARTITIONS;
    return parseReply(await this.#run(partition, name, claim.acceptableFrom, claim.acceptableUntil, ahead, claim.epoch ?? ''));
  }

  /** Closes the store's own connection, not the one that it was given. */
  async close(): Promise<void> {
    await this.#opening?.catch(() => undefined);
    this.#redis.disconnect();
  }

  #run(partition: number, name: string, from: number, until: number, ahead: number, epoch: string): Promise<unknown> {
    const command = (this.#redis as unknown as { claimNonce: ClaimCommand }).claimNonce.bind(this.#redis);
    return command(`${this.#prefix}:${partition}`, name, from, until, ahead, epoch, newEpoch(), CLOCK_SLACK);
  }

  /** Connects, and lets all partitions be born at once, so that no access key's first request finds a newborn one. */
  #open(): Promise<void> {
    this.#opening ??= this.#connect().catch((error) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #connect(): Promise<void> {
    await ready(this.#redis, this.#timeout);
    await Promise.all(Array.from({ length: PARTITIONS }, (_, partition) => this.#run(partition, '', 0, 0, 0, '')));
  }
}

/**
 * A connection of the store's own. By default ioredis sends a command again after its answer was lost, and then the first
 * use of a nonce comes back as "used before"; it also queues commands while there is no connection, without an end.
 */
function duplicate(redis: Redis | Cluster, timeout: number): Redis | Cluster {
  const settings = {
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    commandTimeout: timeout,
    lazyConnect: true,
  };
  if (redis.isCluster) {
    const cluster = redis as Cluster;
    const options = { enableOfflineQueue: false, lazyConnect: true, redisOptions: { ...cluster.options.redisOptions, ...settings } };
    return cluster.duplicate([], options as Parameters<Cluster['duplicate']>[1]);
  }
  return (redis as Redis).duplicate(settings);
}

/** Waits until commands can be sent, but not for ever. */
async function ready(redis: Redis | Cluster, timeout: number): Promise<void> {
  if (redis.status === 'ready') return;
  await new Promise<void>((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      redis.off('ready', onReady).off('error', onError);
      act();
    };
    const onReady = (): void => settle(resolve);
    const onError = (error: Error): void => settle(() => reject(error));
    const timer = setTimeout(() => settle(() => reject(new Error(`Redis is not ready after ${timeout} ms`))), timeout);
    redis.on('ready', onReady).on('error', onError);
    if (redis.status === 'wait' || redis.status === 'end') redis.connect().catch(onError);
  });
}

function newEpoch(): string {
  return randomBytes(16).toString('base64url');
}

/** What is not an answer of the script must not be taken for one. */
function parseReply(reply: unknown): ClaimOutcome {
  const [outcome, epoch, retryAfter] = Array.isArray(reply) ? (reply as unknown[]) : [];
  if (!OUTCOMES.has(outcome as string) || typeof epoch !== 'string' || typeof retryAfter !== 'number') {
    throw new TypeError(`Cannot read the reply of Redis: expected an outcome, got ${quote(outcome)}`);
  }
  return { outcome, epoch, retryAfter } as ClaimOutcome;
}
