import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import { OperatorWarnings, type WarningHook, warningOption } from '../../lib/operator-warning.ts';
import { parseOptions } from '../../lib/options.ts';
import { CheckedRedis } from '../../lib/redis/checked-redis.ts';
import { duplicate, redisOption } from '../../lib/redis/own-connection.ts';
import { commandsOf } from '../../lib/redis/redis-commands.ts';
import { refusalOf } from '../../lib/redis/redis-permissions.ts';
import { BEGIN_SCRIPT, FINISH_SCRIPT, GO_ON_SCRIPT, RELEASE_SCRIPT } from './once-scripts.ts';
import { NO_SCOPE, type OnceScope, type OnceState, type OnceStore } from './once-store.ts';

export interface RedisOnceStoreOptions {
  /** A connection of ioredis. The store makes one of its own of it, at once. */
  readonly redis: Redis | Cluster;
  /** What the names of the store's keys begin with: `countersign:once` if not given. */
  readonly prefix?: string | undefined;
  /** Seconds that each question may take: 1 if not given. */
  readonly timeout?: number | undefined;
  /**
   * The most callbacks of one sender that are remembered at a time: 250,000 if not given. Further
   * ones of this sender are refused with 429 until some expire. Callbacks that are verified with
   * different secrets are those of different senders. The same on all servers.
   */
  readonly perSender?: number | undefined;
  /**
   * Called if Redis is unfit or unreachable. If not given, a process warning says so. See
   * docs/errors.md, "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const optionsSchema = z.strictObject({
  redis: redisOption,
  prefix: z.string().min(1).default('countersign:once'),
  timeout: z.number().min(0.05).max(10).default(1),
  perSender: z.int().min(1).max(16_000_000).default(250_000),
  onWarning: warningOption,
});

/** Characters of a hash that make a name: 132 bits. */
const NAME_LENGTH = 22;

/** What the user of the store must be allowed to run. */
const COMMANDS = [
  ...['EVAL', 'EVALSHA', 'INFO'],
  ...commandsOf(BEGIN_SCRIPT, GO_ON_SCRIPT, FINISH_SCRIPT, RELEASE_SCRIPT),
];

type Keys = [counted: string, others: string, run: string];

/** The scripts, as ioredis makes commands of them. */
interface OnceCommands {
  onceBegin(...args: [...Keys, ...(string | number)[]]): Promise<unknown>;
  onceGoOn(...args: [...Keys, ...(string | number)[]]): Promise<unknown>;
  onceFinish(...args: [...Keys, ...(string | number)[]]): Promise<unknown>;
  onceRelease(...args: [...Keys, ...(string | number)[]]): Promise<unknown>;
}

/**
 * Handled callbacks in Redis, 6.2 or newer, or Valkey: for all servers that receive them. One
 * script decides each step.
 *
 * What Redis forgets runs again when it is delivered again. So the store refuses a Redis that
 * evicts (`maxmemory-policy` must be `noeviction`), with an error and a process warning that say
 * what to change. Let Redis write an append-only file.
 *
 * @example
 * ```ts no-run
 * import { createOnce } from '@countersign/server/callbacks';
 * import { RedisOnceStore } from '@countersign/server/redis';
 * import { Redis } from 'ioredis';
 *
 * const redis = new Redis('redis://127.0.0.1:6379');
 * const once = createOnce({ store: new RedisOnceStore({ redis }) });
 * ```
 */
export class RedisOnceStore implements OnceStore {
  readonly #connection: CheckedRedis;
  readonly #redis: (Redis | Cluster) & OnceCommands;
  readonly #prefix: string;
  readonly #perSender: number;

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: RedisOnceStoreOptions) {
    const { redis, prefix, timeout, perSender, onWarning } = parseOptions(
      'RedisOnceStore',
      optionsSchema,
      options,
    );
    this.#prefix = prefix;
    this.#perSender = perSender;
    const own = duplicate(redis, timeout * 1000);
    own.defineCommand('onceBegin', { numberOfKeys: 3, lua: BEGIN_SCRIPT });
    own.defineCommand('onceGoOn', { numberOfKeys: 3, lua: GO_ON_SCRIPT });
    own.defineCommand('onceFinish', { numberOfKeys: 3, lua: FINISH_SCRIPT });
    own.defineCommand('onceRelease', { numberOfKeys: 3, lua: RELEASE_SCRIPT });
    this.#redis = own as (Redis | Cluster) & OnceCommands;
    this.#connection = new CheckedRedis(own, {
      what: 'handled callbacks',
      store: 'ONCE_STORE',
      warnings: new OperatorWarnings(onWarning),
      consequence: 'Callbacks that are handled once are answered 503',
      timeout: timeout * 1000,
      permissions: (redis) => refusalOf(redis, { prefix: `${prefix}:`, commands: COMMANDS }),
    });
  }

  /**
   * Waits until Redis can be relied on. Not needed before questions, which wait by themselves: for
   * a server that should not start with a Redis that is not fit for handled callbacks.
   *
   * @param seconds for how long to wait for a connection: 10 if not given
   * @throws Error that says what is wrong, and what to do
   * @throws RangeError if `seconds` is not from 0 to 3,600
   */
  async ready(seconds = 10): Promise<void> {
    await this.#connection.ready(seconds);
  }

  /** See {@link OnceStore.begin}. */
  async begin(key: string, token: string, lease: number, scope = NO_SCOPE): Promise<OnceState> {
    const most = this.#perSender;
    const args = [...facts(key, scope), token, milliseconds(lease), most];
    const reply = await this.#run('onceBegin', this.#keys(key, scope), args);
    const [state, left] = Array.isArray(reply) ? (reply as unknown[]) : [];
    const seconds = Math.max(0, Number(left)) / 1000;
    if (state === 'in-progress') return { state, seconds };
    if (state === 'full') return { state, of: 'sender', option: 'perSender', most, seconds };
    if (state === 'begun' || state === 'done') return { state };
    // What is not an answer of the script must not be taken for one.
    throw new TypeError('Cannot read the reply of Redis: expected the state of a callback');
  }

  /** See {@link OnceStore.goOn}. */
  async goOn(key: string, token: string, lease: number, scope = NO_SCOPE): Promise<boolean> {
    const args = [...facts(key, scope), token, milliseconds(lease)];
    return (await this.#run('onceGoOn', this.#keys(key, scope), args)) === 1;
  }

  /** See {@link OnceStore.finish}. */
  async finish(key: string, remember: number, scope = NO_SCOPE): Promise<void> {
    const args = [...facts(key, scope), milliseconds(remember)];
    await this.#run('onceFinish', this.#keys(key, scope), args);
  }

  /** See {@link OnceStore.release}. */
  async release(key: string, token: string, scope = NO_SCOPE): Promise<void> {
    await this.#run('onceRelease', this.#keys(key, scope), [...facts(key, scope), token]);
  }

  /** Closes the store's own connection, not the one that it was given. */
  close(): void {
    this.#connection.close();
  }

  async #run(
    script: keyof OnceCommands,
    keys: Keys,
    args: readonly (string | number)[],
  ): Promise<unknown> {
    await this.#connection.connected();
    return this.#redis[script](...keys, ...args).catch(async (error) => {
      throw await this.#connection.explain(error);
    });
  }

  /** In a cluster the braces keep them on one node. Empty ones would not. */
  #keys(key: string, { id }: OnceScope): Keys {
    const none = this.#redis.isCluster ? 'none' : '';
    const own = `${this.#prefix}:{${id.slice(0, NAME_LENGTH) || none}}`;
    return [own, `${own}:others`, `${own}:${nameOf(key)}`];
  }
}

/** What each script is told first. */
function facts(key: string, { id, countsFor }: OnceScope): [name: string, counts: number] {
  return [nameOf(key), id === countsFor ? 1 : 0];
}

function nameOf(key: string): string {
  return key.slice(0, NAME_LENGTH);
}

/** Redis takes whole ones only, and none that are zero. */
function milliseconds(seconds: number): number {
  return Math.max(1, Math.ceil(seconds * 1000));
}
