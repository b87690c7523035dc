import type { Cluster, Redis } from 'ioredis';
import { evalAndWait, formatLack, type Waited } from '../../lib/redis/eval-and-wait.ts';
import { duplicate } from '../../lib/redis/own-connection.ts';
import { rememberFailures, whenReady } from '../../lib/redis/reachable.ts';
import { KeyStoreError } from '../key-store-error.ts';

/** A connection for a change, and a function that runs scripts on it. */
export interface WriteConnection {
  readonly redis: Redis | Cluster;
  run(script: string, keys: readonly string[], args: readonly (string | number)[]): Promise<Waited>;
}

/**
 * A connection for changes that replicas must acknowledge, one change at a time. `WAIT` blocks
 * everything that is sent behind it, and a look-up of a key must not wait for a replica that hangs.
 * A change reads and writes over this connection, so that it uses the same master for both.
 */
export class RedisWriter {
  readonly #given: Redis | Cluster;
  readonly #timeout: number;
  #redis: Redis | Cluster | undefined;
  #lastQueued: Promise<unknown> = Promise.resolve();
  #queued = 0;
  #lacks = false;
  #closed = false;

  /**
   * @param redis the connection that this one is made like, once it is needed
   * @param timeout milliseconds
   */
  constructor(redis: Redis | Cluster, timeout: number) {
    this.#given = redis;
    this.#timeout = timeout;
  }

  /**
   * Makes a change after all that are queued.
   *
   * @param replicas how many must acknowledge what its scripts write
   */
  enqueue<T>(replicas: number, make: (connection: WriteConnection) => Promise<T>): Promise<T> {
    this.#queued++;
    const made = this.#lastQueued
      .then(async () => {
        const redis = await this.#connected();
        return make({
          redis,
          run: (script, keys, args) => this.#run(redis, script, keys, args, replicas),
        });
      })
      .finally(() => {
        this.#queued--;
      });
    this.#lastQueued = made.catch(() => undefined);
    return made;
  }

  /** Closes the connection. Changes that are still queued fail. */
  close(): void {
    this.#closed = true;
    this.#redis?.disconnect();
  }

  async #run(
    redis: Redis | Cluster,
    script: string,
    keys: readonly string[],
    args: readonly (string | number)[],
    replicas: number,
  ): Promise<Waited> {
    // If replicas are away and other changes wait, each waits only briefly, and is still made on
    // the master: the next may be a revocation.
    const isBrief = this.#lacks && this.#queued > 1;
    const timeout = isBrief ? this.#timeout / 8 : this.#timeout;
    const waited = await evalAndWait(redis, script, keys, args, replicas, timeout);
    this.#lacks = !(waited.acknowledged >= replicas);
    return waited;
  }

  async #connected(): Promise<Redis | Cluster> {
    if (this.#closed) throw new Error('Cannot change a key: the key store is closed');
    if (this.#redis === undefined) {
      this.#redis = duplicate(this.#given, this.#timeout);
      rememberFailures(this.#redis);
    }
    if (this.#redis.status !== 'ready')
      await whenReady(this.#redis, this.#timeout, ' to change a key');
    return this.#redis;
  }
}

/** A connection for changes that need no replica. */
export function plainConnection(redis: Redis | Cluster): WriteConnection {
  return {
    redis,
    run: async (script, keys, args) => ({
      answer: await redis.eval(script, keys.length, ...keys, ...args),
      acknowledged: 0,
    }),
  };
}

/** @throws KeyStoreError `ERR_NOT_REPLICATED` */
export function checkReplicas(what: string, waited: Waited, replicas: number): void {
  if (waited.acknowledged >= replicas) return;
  const lack = formatLack(waited, replicas, what);
  throw new KeyStoreError('ERR_NOT_REPLICATED', `${lack}; do it again, or a failover may lose it`);
}

/** Whether Redis has refused a command because it is full. */
export function isFull({ name, message }: Error): boolean {
  return name === 'ReplyError' && message.includes('OOM command not allowed');
}

/**
 * The error if Redis is full.
 *
 * @param what was to be made
 */
export function full(what: string): KeyStoreError {
  return new KeyStoreError(
    'ERR_STORE_FULL',
    `Cannot make ${what}: Redis is full, so it was not made. Raise its maxmemory, or move nonces and queues to a Redis of their own; keys and sessions can be revoked meanwhile`,
  );
}
