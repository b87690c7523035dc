import { randomBytes } from 'node:crypto';
import { quote } from '@countersign/shared';
import type { Cluster, Redis } from 'ioredis';
import type { Waited } from '../../lib/redis/eval-and-wait.ts';
import { KeyStoreError } from '../key-store-error.ts';
import type { MasterKeys } from '../master-keys.ts';
import type { Change, UpdateOptions } from '../record-store.ts';
import { changed, checkMasterKeys, seal } from '../seal.ts';
import type { StorePresence } from '../store-presence.ts';
import type { RecordReader } from './record-reader.ts';
import type { RedisChanges } from './redis-changes.ts';
import { COUNT_SCRIPT, NAME_SCRIPT, UPDATE_SCRIPT } from './redis-scripts.ts';
import { isFull, type WriteConnection } from './redis-writer.ts';

/** How often a change is tried if other servers change the same record each time. */
const MOST_ROUNDS = 1_000;

/** What a writer of records needs. */
export interface WriterParts {
  readonly reader: RecordReader;
  readonly masterKeys: MasterKeys;
  readonly presence: StorePresence;
  readonly changes: RedisChanges;
  /** Called if a command shows that its connection leads to a replica. */
  readonly leave: (redis: Redis) => void;
}

/**
 * Changes records in Redis, each in one step: a script writes the record only if its revision is
 * still the one that was read. Otherwise the change is made again on the new record.
 */
export class RecordWriter {
  readonly #reader: RecordReader;
  readonly #masterKeys: MasterKeys;
  readonly #presence: StorePresence;
  readonly #changes: RedisChanges;
  readonly #leave: WriterParts['leave'];

  constructor({ reader, masterKeys, presence, changes, leave }: WriterParts) {
    this.#reader = reader;
    this.#masterKeys = masterKeys;
    this.#presence = presence;
    this.#changes = changes;
    this.#leave = leave;
  }

  /** @returns how many replicas acknowledged each of the writes */
  async make(
    { redis, run }: WriteConnection,
    name: string,
    change: Change,
    { instead, revokes = false }: UpdateOptions,
  ): Promise<Waited[]> {
    const although = revokes ? 1 : 0;
    const names = this.#reader.key('names');
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const { found, revision, isLost } = await this.#reader.find(redis, name);
      const next =
        isLost && instead !== undefined
          ? instead
          : await changed(name, found, this.#masterKeys, { change, instead });
      if (next === undefined && found === undefined) {
        if (isLost) throw this.#presence.missingRecord(name);
        // The time of the record is over, and Redis has removed it.
        await this.#removeName(redis, name);
        return [];
      }
      if (found === undefined)
        await checkMasterKeys(this.#reader.anyRecords(redis), this.#masterKeys);
      const sealed = next && (await seal(name, next, this.#masterKeys));
      const { policy = '', sealed: text = '' } = sealed ?? {};
      const { until } = next?.metadata ?? {};
      const till = typeof until === 'number' ? Math.ceil(until) : '';
      const forHowLong = till === '' ? '+inf' : till;
      const isNamed = next !== undefined && (found === undefined || till !== '');
      // On a single node one script writes the record and its name. In a cluster the name is
      // written first: a record without a name could not be found, or missed.
      const together = !redis.isCluster;
      const nameArgs = [name, forHowLong, although];
      if (isNamed && !together && (await redis.eval(NAME_SCRIPT, 1, names, ...nameArgs)) !== 1)
        throw this.#presence.missing();
      const { channel } = this.#changes;
      const args = [channel, name, revision, randomName(), policy, text, till, although];
      args.push(randomName(), isNamed ? 1 : 0);
      const record = this.#reader.key(name);
      const keys = together ? [record, names] : [record];
      const written = await run(UPDATE_SCRIPT, keys, args).catch(async (error: Error) => {
        this.#leaveReplica(redis, error);
        // The node of the record is full, and the name was written for nothing.
        if (isFull(error) && found === undefined && isNamed && !together)
          await this.#removeName(redis, name);
        throw error;
      });
      if (written.answer === -1) throw this.#presence.missing();
      // Another server has changed the record meanwhile.
      if (written.answer !== 1) continue;
      this.#changes.notify(name);
      if (together) return [written];
      if (next === undefined) await this.#removeName(redis, name);
      // Written again: a server that did not see the record yet may have removed the name. It
      // may also lie on a node with other replicas.
      const named = isNamed ? [await run(NAME_SCRIPT, [names], nameArgs)] : [];
      const counted = await run(COUNT_SCRIPT, [names], [channel, name, randomName()]);
      return [written, ...named, counted];
    }
    throw new KeyStoreError(
      'ERR_STORE_BUSY',
      `Cannot change ${quote(name, 160)}: others have changed it each time`,
    );
  }

  /** Removes a name, unless another server has just created a record of that name. */
  async #removeName(redis: Redis | Cluster, name: string): Promise<void> {
    const names = this.#reader.key('names');
    await redis.zrem(names, name);
    if ((await redis.exists(this.#reader.key(name))) === 1)
      await redis.eval(NAME_SCRIPT, 1, names, name, '+inf');
  }

  /** Makes a new connection: through Sentinel, or by the host name, it may lead to the master. */
  #leaveReplica(redis: Redis | Cluster, error: Error): void {
    if (redis.isCluster || !error.message.includes('READONLY')) return;
    this.#leave(redis as Redis);
  }
}

/** A random name that is never used twice. */
export function randomName(): string {
  return randomBytes(12).toString('base64url');
}
