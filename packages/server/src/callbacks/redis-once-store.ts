import { once } from 'node:events';
import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import { parseOptions } from '../options.ts';
import { duplicate, redisOption } from '../redis-connection.ts';
import type { OnceState, OnceStore } from './once-store.ts';

export interface RedisOnceStoreOptions {
  /** A connection of ioredis. The store makes one of its own of it, at once. */
  readonly redis: Redis | Cluster;
  /** What the names of the store's keys begin with: `countersign:once` if not given. */
  readonly prefix?: string | undefined;
  /** Seconds that each question may take: 1 if not given. */
  readonly timeout?: number | undefined;
}

const optionsSchema = z.strictObject({
  redis: redisOption,
  prefix: z.string().min(1).default('countersign:once'),
  timeout: z.number().min(0.05).max(10).default(1),
});

/** What is kept of a callback that is done. Of one in progress it is the token of the run, which is longer. */
const DONE = 'done';

/** KEYS: the callback. ARGV: the token, the lease in ms. Asked again by the run that has it, it is that run's still. */
const BEGIN = `
local holder = redis.call('GET', KEYS[1])
if holder == '${DONE}' then return {'done', 0} end
if holder and holder ~= ARGV[1] then return {'in-progress', redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {'begun', 0}`;

/** KEYS: the callback. ARGV: the token, the lease in ms. */
const GO_ON = `
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`;

/** KEYS: the callback. ARGV: the token. */
const GIVE_UP = `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`;

/** The scripts, as ioredis makes commands of them. */
interface OnceCommands {
  onceBegin(key: string, token: string, milliseconds: number): Promise<unknown>;
  onceGoOn(key: string, token: string, milliseconds: number): Promise<unknown>;
  onceGiveUp(key: string, token: string): Promise<unknown>;
}

/**
 * Handled callbacks in Redis, 6.2 or newer, or Valkey: for all servers that receive them. One script decides each step.
 *
 * What Redis forgets runs again when it is delivered again: let it write an append-only file, and evict nothing.
 *
 * @example
 * ```ts no-run
 * import { createOnce } from '@countersign/server/callbacks';
 * import { RedisOnceStore } from '@countersign/server/redis';
 * import { Redis } from 'ioredis';
 *
 * const once = createOnce({ store: new RedisOnceStore({ redis: new Redis('redis://127.0.0.1:6379') }) });
 * ```
 */
export class RedisOnceStore implements OnceStore {
  readonly #redis: (Redis | Cluster) & OnceCommands;
  readonly #prefix: string;
  readonly #timeout: number;
  #ready: Promise<unknown> | undefined;

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: RedisOnceStoreOptions) {
    const { redis, prefix, timeout } = parseOptions('RedisOnceStore', optionsSchema, options);
    this.#prefix = prefix;
    this.#timeout = timeout * 1000;
    const own = duplicate(redis, this.#timeout);
    own.defineCommand('onceBegin', { numberOfKeys: 1, lua: BEGIN });
    own.defineCommand('onceGoOn', { numberOfKeys: 1, lua: GO_ON });
    own.defineCommand('onceGiveUp', { numberOfKeys: 1, lua: GIVE_UP });
    this.#redis = own as (Redis | Cluster) & OnceCommands;
    // Errors reach whoever asks; without a listener ioredis would print them.
    this.#redis.on('error', () => undefined);
  }

  /** See {@link OnceStore.begin}. */
  async begin(key: string, token: string, lease: number): Promise<OnceState> {
    const redis = await this.#connected();
    const reply = await redis.onceBegin(this.#name(key), token, milliseconds(lease));
    const [state, left] = Array.isArray(reply) ? (reply as unknown[]) : [];
    if (state === 'in-progress') return { state, seconds: Math.max(0, Number(left)) / 1000 };
    if (state === 'begun' || state === 'done') return { state };
    // What is not an answer of the script must not be taken for one.
    throw new TypeError('Cannot read the reply of Redis: expected the state of a callback');
  }

  /** See {@link OnceStore.goOn}. */
  async goOn(key: string, token: string, lease: number): Promise<boolean> {
    const redis = await this.#connected();
    return (await redis.onceGoOn(this.#name(key), token, milliseconds(lease))) === 1;
  }

  /** See {@link OnceStore.finish}. */
  async finish(key: string, remember: number): Promise<void> {
    const redis = await this.#connected();
    await redis.set(this.#name(key), DONE, 'PX', milliseconds(remember));
  }

  /** See {@link OnceStore.giveUp}. */
  async giveUp(key: string, token: string): Promise<void> {
    const redis = await this.#connected();
    await redis.onceGiveUp(this.#name(key), token);
  }

  /** Closes the store's own connection, not the one that it was given. */
  close(): void {
    this.#redis.disconnect();
  }

  /** What is asked before there is a connection waits for it, not longer than for an answer. */
  async #connected(): Promise<(Redis | Cluster) & OnceCommands> {
    if (this.#redis.status === 'ready') return this.#redis;
    this.#ready ??= once(this.#redis, 'ready', {
      signal: AbortSignal.timeout(this.#timeout),
    }).finally(() => {
      this.#ready = undefined;
    });
    await this.#ready;
    return this.#redis;
  }

  #name(key: string): string {
    return `${this.#prefix}:${key}`;
  }
}

/** Redis takes whole ones only, and none that are zero. */
function milliseconds(seconds: number): number {
  return Math.max(1, Math.ceil(seconds * 1000));
}
