import { quote } from '@countersign/shared';
import type { Queue } from 'bullmq';
import type { Cluster, Redis } from 'ioredis';
import { GHOST_AFTER } from './bullmq-lanes.ts';
import type { BullmqSettings } from './bullmq-options.ts';
import type { QueuedCallback } from './callback-queue.ts';
import { OWNERS_IN_ALL, ownerOf } from './callback-queue.ts';
import { FINISH_SCRIPT, KEEP_SCRIPT, RESERVE_SCRIPT } from './owner-scripts.ts';

interface Commands {
  reserve(...keysAndArgs: (string | number)[]): Promise<number>;
  finish(waiting: string, finishing: string, id: string): Promise<unknown>;
  keep(...keysAndArgs: (string | number)[]): Promise<unknown>;
}

/** The states of BullMQ in which a job is finished. */
type Finished = 'completed' | 'failed';

/** Counts the callbacks of each owner in a queue in Redis, and keeps them within bounds. */
export class BullmqOwners {
  readonly #redis: (Redis | Cluster) & Commands;
  readonly #queue: Pick<Queue, 'toKey'>;
  readonly #settings: BullmqSettings;

  constructor(redis: Redis | Cluster, queue: Pick<Queue, 'toKey'>, settings: BullmqSettings) {
    redis.defineCommand('reserve', { numberOfKeys: 2, lua: RESERVE_SCRIPT });
    redis.defineCommand('finish', { numberOfKeys: 2, lua: FINISH_SCRIPT });
    redis.defineCommand('keep', { numberOfKeys: 4, lua: KEEP_SCRIPT });
    this.#redis = redis as (Redis | Cluster) & Commands;
    this.#queue = queue;
    this.#settings = settings;
  }

  /**
   * Takes a place among the callbacks of the owner that wait. It is taken before the job is added,
   * so that two senders at once do not both get the last place.
   *
   * @returns how many callbacks of the owner wait; `undefined` if the callback is known
   * @throws Error if the owner has no place left
   */
  async reserve(callback: QueuedCallback): Promise<number | undefined> {
    const { maxWaitingPerOwner } = this.#settings;
    const owner = ownerOf(callback);
    const keys = [this.#key('waiting', owner), this.#queue.toKey(callback.id)];
    const args = [callback.id, maxWaitingPerOwner, this.#queue.toKey(''), GHOST_AFTER];
    const rank = await this.#redis.reserve(...keys, ...args);
    if (rank === 0)
      throw new Error(
        `Cannot queue callback: ${maxWaitingPerOwner} wait already for owner ${quote(owner)}: raise maxWaitingPerOwner of BullmqCallbackQueue to allow more`,
      );
    return rank < 0 ? undefined : rank;
  }

  /** Gives the place back. */
  async leaveWaiting(callback: QueuedCallback, state: Finished): Promise<void> {
    const waiting = this.#key('waiting', ownerOf(callback));
    await this.#redis.finish(waiting, this.#key('finishing', state), callback.id);
  }

  /** Keeps a finished callback, and removes the oldest if the owner has too many. */
  async keep(callback: QueuedCallback, state: Finished): Promise<void> {
    const { seconds, count } = this.#settings[state === 'failed' ? 'keepDead' : 'keepDelivered'];
    const owner = ownerOf(callback);
    const jobs = this.#queue.toKey('');
    const owned = this.#key(state, '');
    await this.#redis.keep(
      ...[`${owned}${owner}`, this.#key('owners', state)],
      ...[this.#queue.toKey(state), this.#key('finishing', state)],
      ...[callback.id, owner, count, OWNERS_IN_ALL * count, seconds, jobs, owned],
    );
  }

  /** A finished callback waits again. @param since Unix seconds */
  async waitAgain(callback: QueuedCallback, state: Finished, since: number): Promise<void> {
    const owner = ownerOf(callback);
    await this.#redis.zrem(this.#key(state, owner), callback.id);
    await this.#redis.zadd(this.#key('waiting', owner), since, callback.id);
  }

  /** No queue has a "." in its name, so no other queue has such a key. */
  #key(what: string, of: string): string {
    const { prefix, name } = this.#settings;
    return `${prefix}:${name}.${what}:${of}`;
  }
}
