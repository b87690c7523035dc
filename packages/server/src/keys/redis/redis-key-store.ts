import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import { OperatorWarnings, type WarningHook, warningOption } from '../../lib/operator-warning.ts';
import { clockOption, parseOptions } from '../../lib/options.ts';
import { redisOption } from '../../lib/redis/own-connection.ts';
import { ManagedKeyStore } from '../managed-key-store.ts';
import { masterKeyOption } from '../master-key-option.ts';
import { type MasterKeyProvider, MasterKeys } from '../master-keys.ts';
import { RedisRecords } from './redis-records.ts';

export interface RedisKeyStoreOptions {
  /**
   * A connection of ioredis. The store makes its own connections from it: one to ask and one for
   * announcements at once, and one for changes that must reach replicas when it is needed.
   */
  readonly redis: Redis | Cluster;
  /** What secrets are sealed with: see {@link MasterKeyProvider}. */
  readonly masterKey: MasterKeyProvider;
  /** The prefix of the store's names in Redis: `countersign:keys` if not given. */
  readonly prefix?: string | undefined;
  /** Seconds to wait for each answer of Redis: 0.4 if not given. */
  readonly timeout?: number | undefined;
  /**
   * How many replicas must acknowledge a change, so that a failover does not lose a revocation. If
   * not given: one if this store has ever seen a replica, otherwise none. If fewer acknowledge a
   * change, it is made on the master and rejected with `ERR_NOT_REPLICATED`: do it again. A new key
   * is removed again then, and a rotation is undone.
   */
  readonly waitForReplicas?: number | undefined;
  /** Unix seconds; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /**
   * Called if the operator must know something of the store, such as that Redis is unreachable or
   * has lost its records. If not given, process warnings say so. See docs/errors.md, "Process
   * warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const optionsSchema = z.strictObject({
  redis: redisOption,
  masterKey: masterKeyOption('a function that gives one'),
  prefix: z.string().min(1).default('countersign:keys'),
  timeout: z.number().min(0.05).max(10).default(0.4),
  waitForReplicas: z.int().min(0).max(100).optional(),
  clock: clockOption,
  onWarning: warningOption,
});

/**
 * Access keys in Redis, for all servers that share them. Secrets are sealed. All servers learn of a
 * change at once. If Redis has lost its records, the store says so (`ERR_STORE_EMPTY`, and a
 * process warning). It does not say that a key is unknown.
 *
 * @example
 * ```ts no-run
 * import { RedisKeyStore } from '@countersign/server/redis';
 * import { Redis } from 'ioredis';
 *
 * const keys = new RedisKeyStore({
 *   redis: new Redis('redis://127.0.0.1:6379'),
 *   masterKey: process.env['COUNTERSIGN_MASTER_KEY'] ?? '',
 * });
 * await keys.revoke({ accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC' });
 * ```
 * @see docs/keys.md
 */
export class RedisKeyStore extends ManagedKeyStore {
  readonly #records: RedisRecords;

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: RedisKeyStoreOptions) {
    const { masterKey, clock, onWarning, ...redis } = parseOptions(
      'RedisKeyStore',
      optionsSchema,
      options,
    );
    const warnings = new OperatorWarnings(onWarning);
    const records = new RedisRecords(redis, new MasterKeys(masterKey), warnings);
    super(records, clock, warnings);
    this.#records = records;
  }

  /**
   * Waits until Redis is reachable and fit for keys. Questions wait by themselves, so only a server
   * that should not start without Redis needs this. It does not tell whether Redis holds a store;
   * `list()` does.
   *
   * @param seconds to wait for a connection: 10 if not given
   * @throws KeyStoreError `ERR_STORE_UNFIT`, which says what to change
   * @throws Error if Redis cannot be reached
   * @throws RangeError if `seconds` is not from 0 to 3,600
   */
  async ready(seconds = 10): Promise<void> {
    await this.#records.ready(seconds);
  }
}
