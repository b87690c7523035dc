import { quote } from '@countersign/shared';
import type { Cluster, Redis } from 'ioredis';
import type { OperatorWarnings } from '../../lib/operator-warning.ts';
import { CheckedRedis } from '../../lib/redis/checked-redis.ts';
import type { Waited } from '../../lib/redis/eval-and-wait.ts';
import { duplicate } from '../../lib/redis/own-connection.ts';
import { isRefusal } from '../../lib/redis/redis-permissions.ts';
import { NOEVICTION, testRedis } from '../../lib/redis/self-test.ts';
import { isNotReplicated, isUnreadable, KeyStoreError } from '../key-store-error.ts';
import type { MasterKeys } from '../master-keys.ts';
import type {
  Change,
  RecordStore,
  Resealed,
  StoredRecord,
  UpdateOptions,
} from '../record-store.ts';
import { open } from '../seal.ts';
import { StoreHistory } from '../store-history.ts';
import { StorePresence } from '../store-presence.ts';
import { RecordReader } from './record-reader.ts';
import { RecordWriter, randomName } from './record-writer.ts';
import { RedisAccess } from './redis-access.ts';
import { RedisChanges } from './redis-changes.ts';
import { ACCEPT_SCRIPT, CREATE_SCRIPT, MARKER, USE_SCRIPT } from './redis-scripts.ts';
import {
  checkReplicas,
  full,
  isFull,
  plainConnection,
  RedisWriter,
  type WriteConnection,
} from './redis-writer.ts';

export interface RedisRecordsOptions {
  readonly redis: Redis | Cluster;
  readonly prefix: string;
  /** Seconds. */
  readonly timeout: number;
  /** How many replicas must have a change. If not given: one if there are any. */
  readonly waitForReplicas?: number | undefined;
}

/**
 * Sealed records in Redis. Each is a hash. A sorted set has all their names, scored by the time
 * until which they must exist. So the store notices if Redis has lost records: all of them, or
 * those of one node of a cluster.
 */
export class RedisRecords implements RecordStore {
  readonly #connection: CheckedRedis;
  readonly #redis: Redis | Cluster;
  readonly #reader: RecordReader;
  readonly #writer: RecordWriter;
  readonly #redisWriter: RedisWriter;
  readonly #changes: RedisChanges;
  readonly #timeout: number;
  readonly #waitForReplicas: number | undefined;
  readonly #masterKeys: MasterKeys;
  readonly #access: RedisAccess;
  readonly #presence: StorePresence;
  readonly #history: StoreHistory;
  #closed = false;

  constructor(options: RedisRecordsOptions, masterKeys: MasterKeys, warnings: OperatorWarnings) {
    const { redis, prefix, timeout, waitForReplicas } = options;
    this.#timeout = timeout * 1000;
    this.#waitForReplicas = waitForReplicas;
    this.#masterKeys = masterKeys;
    this.#presence = new StorePresence(prefix, 'Redis has lost its records', warnings);
    this.#history = new StoreHistory(prefix, warnings);
    this.#access = new RedisAccess(`${prefix}:`, `${prefix}:changes`, warnings);
    this.#reader = new RecordReader(prefix, {
      access: this.#access,
      presence: this.#presence,
      history: this.#history,
      forget: () => this.#changes.notify(),
    });
    this.#redis = duplicate(redis, this.#timeout);
    this.#connection = new CheckedRedis(this.#redis, {
      what: 'access keys',
      store: 'KEY_STORE',
      warnings,
      consequence: 'Requests are answered 503',
      timeout: this.#timeout,
      permissions: (own, hasReplicas) => this.#testAccess(own, hasReplicas),
      // So that the latest change is known before the first question.
      whenFit: () => void this.#reader.look(this.#redis, MARKER).catch(() => undefined),
      toError: (message) => new KeyStoreError('ERR_STORE_UNFIT', message),
    });
    this.#redisWriter = new RedisWriter(redis, this.#timeout);
    this.#changes = new RedisChanges(
      redis,
      `${prefix}:changes`,
      this.#timeout,
      this.#history,
      warnings,
    );
    this.#writer = new RecordWriter({
      reader: this.#reader,
      masterKeys,
      presence: this.#presence,
      changes: this.#changes,
      leave: (line) => {
        for (const it of new Set([line, this.#redis as Redis])) it.disconnect(true);
      },
    });
  }

  async ready(seconds: number): Promise<void> {
    this.#checkOpen();
    await this.#connection.ready(seconds);
    const { lack, isReadOnly } = this.#access;
    if (lack !== undefined && !isReadOnly) throw new KeyStoreError('ERR_STORE_UNFIT', lack);
    const deafness = await this.#changes.ready(Math.max(seconds * 1000, this.#timeout));
    if (deafness !== undefined) throw new KeyStoreError('ERR_STORE_UNFIT', deafness);
  }

  create(how: 'by-name' | 'first-record'): Promise<void> {
    return this.#changing(() => this.#create(how));
  }

  acceptRestore(): Promise<void> {
    return this.#changing(() => this.#acceptRestore());
  }

  read(name: string): Promise<StoredRecord | undefined> {
    return this.#asking(() => this.#read(name));
  }

  names(): Promise<readonly string[]> {
    return this.#asking(() => this.#reader.names(this.#redis));
  }

  update(name: string, change: Change, how: UpdateOptions = {}): Promise<void> {
    const what = `the change of ${quote(name, 160)}`;
    const update = () => this.#write(what, (line) => this.#writer.make(line, name, change, how));
    // A revocation is made even if the user lacks some of the permissions.
    return how.revokes === true ? this.#asking(update) : this.#changing(update);
  }

  async #create(how: 'by-name' | 'first-record'): Promise<void> {
    const names = this.#reader.key('names');
    if ((await this.#redis.exists(names)) === 0) {
      if (how === 'first-record' && this.#presence.wasThere) throw this.#presence.missing();
      // If nothing can be sealed, the store is not created.
      await this.#masterKeys.current();
      await this.#write('the store', async ({ run }) => [
        await run(CREATE_SCRIPT, [names], [randomName(), this.#changes.channel]),
      ]);
    }
    this.#presence.found();
  }

  async #acceptRestore(): Promise<void> {
    await this.#write('the store', async ({ run }) => {
      const args = [randomName(), this.#changes.channel];
      const accepted = await run(ACCEPT_SCRIPT, [this.#reader.key('names')], args);
      if (accepted.answer !== 1) throw this.#presence.missing();
      return [accepted];
    });
    this.#changes.notify();
  }

  async #read(name: string): Promise<StoredRecord | undefined> {
    const { found, isLost, isWhole } = await this.#reader.find(this.#redis, name);
    if (!isWhole) throw this.#history.error();
    if (isLost) throw this.#presence.missingRecord(name);
    this.#presence.foundRecord(name);
    return found && open(name, found, this.#masterKeys);
  }

  /** Makes a change that replicas must have too, if there are any. */
  async #write(
    what: string,
    make: (connection: WriteConnection) => Promise<Waited[]>,
  ): Promise<void> {
    const replicas = await this.#replicas();
    const making =
      replicas === 0
        ? make(plainConnection(this.#redis))
        : this.#redisWriter.enqueue(replicas, make);
    const writes = await making.catch((error: Error) => {
      throw isFull(error) ? full(what) : error;
    });
    for (const waited of writes) checkReplicas(what, waited, replicas);
  }

  async reseal(): Promise<Resealed> {
    const names = await this.names();
    const failures = new Map<string, KeyStoreError>();
    for (const name of names) {
      try {
        await this.update(name, (current) => current);
      } catch (error) {
        if (!isUnreadable(error)) throw error;
        failures.set(name, error);
      }
    }
    return { total: names.length, failures };
  }

  /** How many replicas a change must reach. A replica that joined a moment ago counts too. */
  async #replicas(): Promise<number> {
    if (this.#waitForReplicas !== undefined) return this.#waitForReplicas;
    if (!this.#connection.hasReplicas) {
      const { replicas } = await testRedis(this.#redis, NOEVICTION);
      this.#connection.recordReplicas(replicas);
    }
    return this.#connection.hasReplicas ? 1 : 0;
  }

  readUses(names: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return this.#asking(async () => {
      const keys = names.map((name) => this.#reader.key(name));
      const uses = await Promise.all(keys.map((key) => this.#redis.hget(key, 'used')));
      return new Map(names.map((name, index) => [name, Number(uses[index] ?? 0)]));
    });
  }

  /** Records nothing if the user may only find keys. */
  async writeUses(uses: ReadonlyMap<string, number>): Promise<void> {
    await this.#asking(async () => {
      if (this.#access.isReadOnly) return;
      await Promise.all(
        [...uses].map(([name, time]) =>
          this.#redis.eval(USE_SCRIPT, 1, this.#reader.key(name), time),
        ),
      );
    });
  }

  watch(listener: (name?: string) => void): void {
    this.#changes.watch(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#connection.close();
    this.#redisWriter.close();
    this.#changes.close();
  }

  /** Asks over a checked connection. */
  async #asking<T>(ask: () => Promise<T>): Promise<T> {
    this.#checkOpen();
    await this.#connection.connected();
    try {
      return await ask();
    } catch (error) {
      throw await this.#explain(error);
    }
  }

  /** Makes no change if the user lacks a permission for it: half of a change would do harm. */
  #changing(change: () => Promise<void>): Promise<void> {
    return this.#asking(async () => {
      // The permission may have been added.
      if (this.#access.lack !== undefined)
        await this.#testAccess(this.#redis, this.#connection.hasReplicas);
      const { lack } = this.#access;
      if (lack !== undefined) throw new KeyStoreError('ERR_STORE_UNFIT', lack);
      await change();
    });
  }

  #testAccess(redis: Redis | Cluster, hasReplicas: boolean): Promise<string | undefined> {
    return this.#access.test(redis, (this.#waitForReplicas ?? (hasReplicas ? 1 : 0)) > 0);
  }

  /** Explains an error by the permission that the user lacks, if that is the cause. */
  async #explain(error: unknown): Promise<unknown> {
    // The change was made.
    if (isNotReplicated(error)) return error;
    const why = await this.#connection.explain(error);
    const { lack } = this.#access;
    if (why !== error || !isRefusal(error) || lack === undefined) return why;
    return new KeyStoreError('ERR_STORE_UNFIT', lack);
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error('Cannot use the key store: it is closed');
  }
}
