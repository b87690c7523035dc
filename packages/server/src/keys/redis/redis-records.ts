import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { quote } from '@countersign/shared';
import type { Cluster, Redis } from 'ioredis';
import type { OperatorWarnings } from '../../lib/operator-warning.ts';
import { TestedRedis } from '../../lib/redis/checked-redis.ts';
import { tellLack, type Waited } from '../../lib/redis/eval-and-wait.ts';
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
import { changed, checkMasterKeys, open, type SealedRecord, seal } from '../seal.ts';
import { StoreHistory, type StoreLook } from '../store-history.ts';
import { StorePresence } from '../store-presence.ts';
import { RedisAccess } from './redis-access.ts';
import { RedisChanges } from './redis-changes.ts';
import {
  ABOUT_STORE,
  ACCEPT_SCRIPT,
  COUNT_SCRIPT,
  CREATE_SCRIPT,
  LOOK_SCRIPT,
  MARKER,
  NAME_SCRIPT,
  SAMPLE_SCRIPT,
  UPDATE_SCRIPT,
  USE_SCRIPT,
} from './redis-scripts.ts';
import { type Line, RedisWriter } from './redis-writer.ts';

/** Of which one mostly opens. */
const SAMPLES = 10;

/** Times that others may change a record while it is changed. */
const MOST_ROUNDS = 1_000;

/** Milliseconds before a record is looked up again that has a name and is not there: it may be written just now. */
const LOOK_AGAIN = [20, 100];

export interface RedisRecordsOptions {
  readonly redis: Redis | Cluster;
  readonly prefix: string;
  /** Seconds. */
  readonly timeout: number;
  /** How many replicas must have a change; one where there are any if not given. */
  readonly waitForReplicas?: number | undefined;
}

/** What lies under a name. Only a store that is there says that nothing does. */
interface Found {
  readonly found: SealedRecord | undefined;
  readonly revision: string;
  /** It has a name, and is not there. */
  readonly isLost: boolean;
  /** Whether the store has all changes that were seen of it. */
  readonly isWhole: boolean;
}

/**
 * Records in Redis, sealed: a hash each, and a sorted set of their names by how long they are there. By that set it is noticed that
 * Redis has lost records: all of them, or those on one node of a cluster.
 */
export class RedisRecords implements RecordStore {
  readonly #connection: TestedRedis;
  readonly #redis: Redis | Cluster;
  readonly #writer: RedisWriter;
  readonly #changes: RedisChanges;
  readonly #prefix: string;
  readonly #timeout: number;
  readonly #waitForReplicas: number | undefined;
  readonly #masterKeys: MasterKeys;
  readonly #access: RedisAccess;
  readonly #presence: StorePresence;
  readonly #history: StoreHistory;
  #closed = false;

  constructor(options: RedisRecordsOptions, masterKeys: MasterKeys, warnings: OperatorWarnings) {
    const { redis, prefix, timeout, waitForReplicas } = options;
    this.#prefix = prefix;
    this.#timeout = timeout * 1000;
    this.#waitForReplicas = waitForReplicas;
    this.#masterKeys = masterKeys;
    this.#presence = new StorePresence(prefix, 'Redis has lost its records', warnings);
    this.#history = new StoreHistory(prefix, warnings);
    this.#access = new RedisAccess(this.#key(''), this.#key('changes'), warnings);
    this.#redis = duplicate(redis, this.#timeout);
    this.#connection = new TestedRedis(this.#redis, {
      what: 'access keys',
      store: 'KEY_STORE',
      warnings,
      consequence: 'Requests are answered 503',
      timeout: this.#timeout,
      permissions: (own, hasReplicas) => this.#testAccess(own, hasReplicas),
      // So that it is known how far the store has come before anybody asks.
      whenFit: () => void this.#look(this.#redis, MARKER).catch(() => undefined),
      toError: (message) => new KeyStoreError('ERR_STORE_UNFIT', message),
    });
    this.#writer = new RedisWriter(redis, this.#timeout);
    this.#changes = new RedisChanges(
      redis,
      this.#key('changes'),
      this.#timeout,
      this.#history,
      warnings,
    );
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
    return this.#asking(() => this.#names());
  }

  update(name: string, change: Change, how: UpdateOptions = {}): Promise<void> {
    const what = `the change of ${quote(name, 160)}`;
    const update = () => this.#write(what, (line) => this.#make(line, name, change, how));
    // A revocation is made as far as it can be.
    return how.revokes === true ? this.#asking(update) : this.#changing(update);
  }

  async #create(how: 'by-name' | 'first-record'): Promise<void> {
    const names = this.#key('names');
    if ((await this.#redis.exists(names)) === 0) {
      if (how === 'first-record' && this.#presence.wasThere) throw this.#presence.missing();
      // Where nothing can be sealed, none is made.
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
      const accepted = await run(ACCEPT_SCRIPT, [this.#key('names')], args);
      if (accepted.answer !== 1) throw this.#presence.missing();
      return [accepted];
    });
    this.#changes.tell();
  }

  async #read(name: string): Promise<StoredRecord | undefined> {
    const { found, isLost, isWhole } = await this.#find(this.#redis, name);
    if (!isWhole) throw this.#history.error();
    if (isLost) throw this.#presence.missingRecord(name);
    this.#presence.foundRecord(name);
    return found && open(name, found, this.#masterKeys);
  }

  async #names(): Promise<readonly string[]> {
    const names = await this.#redis.zrange(this.#key('names'), '0', '-1');
    if (names.length === 0) throw this.#presence.missing();
    this.#presence.found();
    return names.filter((name) => name !== MARKER && !name.startsWith(ABOUT_STORE)).sort();
  }

  /** Writes what replicas must have too, if there are any. */
  async #write(what: string, make: (line: Line) => Promise<Waited[]>): Promise<void> {
    const replicas = await this.#replicas();
    const making =
      replicas === 0 ? make(plainLine(this.#redis)) : this.#writer.turn(replicas, make);
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

  /** @returns what became of each write that replicas must have */
  async #make(
    { redis, run }: Line,
    name: string,
    change: Change,
    { instead, revokes = false }: UpdateOptions,
  ): Promise<Waited[]> {
    const although = revokes ? 1 : 0;
    const names = this.#key('names');
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const { found, revision, isLost } = await this.#find(redis, name);
      const next =
        isLost && instead !== undefined
          ? instead
          : await changed(name, found, this.#masterKeys, { change, instead });
      if (next === undefined && found === undefined) {
        if (isLost) throw this.#presence.missingRecord(name);
        // It has had its time.
        await this.#removeName(redis, name);
        return [];
      }
      if (found === undefined) await checkMasterKeys(this.#anyRecords(redis), this.#masterKeys);
      const sealed = next && (await seal(name, next, this.#masterKeys));
      const { policy = '', sealed: text = '' } = sealed ?? {};
      const { until } = next?.policy ?? {};
      const till = typeof until === 'number' ? Math.ceil(until) : '';
      const forHowLong = till === '' ? '+inf' : till;
      const isNamed = next !== undefined && (found === undefined || till !== '');
      // On one node the name is written with the record. In a cluster it comes first: a record that nobody finds would do harm.
      const together = !redis.isCluster;
      const nameArgs = [name, forHowLong, although];
      if (isNamed && !together && (await redis.eval(NAME_SCRIPT, 1, names, ...nameArgs)) !== 1)
        throw this.#presence.missing();
      const { channel } = this.#changes;
      const args = [channel, name, revision, randomName(), policy, text, till, although];
      args.push(randomName(), isNamed ? 1 : 0);
      const record = this.#key(name);
      const keys = together ? [record, names] : [record];
      const written = await run(UPDATE_SCRIPT, keys, args).catch(async (error: Error) => {
        this.#leaveReplica(redis, error);
        // The node of the record is full, the one of the names is not: nothing is lost there.
        if (isFull(error) && found === undefined && isNamed && !together)
          await this.#removeName(redis, name);
        throw error;
      });
      if (written.answer === -1) throw this.#presence.missing();
      // Somebody else has changed it meanwhile.
      if (written.answer !== 1) continue;
      this.#changes.tell(name);
      if (together) return [written];
      if (next === undefined) await this.#removeName(redis, name);
      // Once more, for who saw no record yet and removed the name; it may lie with other replicas.
      const named = isNamed ? [await run(NAME_SCRIPT, [names], nameArgs)] : [];
      const counted = await run(COUNT_SCRIPT, [names], [channel, name, randomName()]);
      return [written, ...named, counted];
    }
    throw new KeyStoreError(
      'ERR_STORE_BUSY',
      `Cannot change ${quote(name, 160)}: others have changed it each time`,
    );
  }

  /** Some of the records, at random, and only for who goes on all of them: most often the first will do. */
  async *#anyRecords(redis: Redis | Cluster): AsyncGenerator<[string, SealedRecord]> {
    const some = await redis.eval(SAMPLE_SCRIPT, 1, this.#key('names'), SAMPLES);
    yield* this.#recordsOf(redis, some as string[]);
    yield* this.#recordsOf(redis, await this.#names());
  }

  async *#recordsOf(
    redis: Redis | Cluster,
    names: readonly string[],
  ): AsyncGenerator<[string, SealedRecord]> {
    for (const name of names) {
      const { found } = await this.#fetch(redis, name);
      if (found !== undefined) yield [name, found];
    }
  }

  /** Unless somebody has just begun another record of that name. */
  async #removeName(redis: Redis | Cluster, name: string): Promise<void> {
    const names = this.#key('names');
    await redis.zrem(names, name);
    if ((await redis.exists(this.#key(name))) === 1)
      await redis.eval(NAME_SCRIPT, 1, names, name, '+inf');
  }

  /** Another connection may lead to the master: through Sentinel, or by its name. */
  #leaveReplica(redis: Redis | Cluster, error: Error): void {
    if (redis.isCluster || !error.message.includes('READONLY')) return;
    for (const it of new Set([redis, this.#redis])) (it as Redis).disconnect(true);
  }

  /** How many replicas a change must reach. Those that came lately count too. */
  async #replicas(): Promise<number> {
    if (this.#waitForReplicas !== undefined) return this.#waitForReplicas;
    if (!this.#connection.hasReplicas) {
      const { replicas } = await testRedis(this.#redis, NOEVICTION);
      this.#connection.noteReplicas(replicas);
    }
    return this.#connection.hasReplicas ? 1 : 0;
  }

  readUses(names: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return this.#asking(async () => {
      const keys = names.map((name) => this.#key(name));
      const uses = await Promise.all(keys.map((key) => this.#redis.hget(key, 'used')));
      return new Map(names.map((name, index) => [name, Number(uses[index] ?? 0)]));
    });
  }

  /** A server that may only find keys notes nothing. */
  async writeUses(uses: ReadonlyMap<string, number>): Promise<void> {
    await this.#asking(async () => {
      if (this.#access.isReadOnly) return;
      await Promise.all(
        [...uses].map(([name, time]) => this.#redis.eval(USE_SCRIPT, 1, this.#key(name), time)),
      );
    });
  }

  watch(listener: (name?: string) => void): void {
    this.#changes.watch(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#connection.close();
    this.#writer.close();
    this.#changes.close();
  }

  #key(name: string): string {
    return `${this.#prefix}:${name}`;
  }

  /** Asks for the record and its name at once: it takes as long, whether there is such a record or not. */
  async #find(redis: Redis | Cluster, name: string): Promise<Found> {
    for (let looks = 0; ; looks++) {
      const [record, { state, isWhole }] = await Promise.all([
        this.#fetch(redis, name),
        this.#look(redis, name),
      ]);
      if (record.found !== undefined || state === 'unnamed')
        return { ...record, isLost: false, isWhole };
      // In the positive: what is no answer of the script is none.
      if (state !== 'named') throw this.#presence.missing();
      const pause = LOOK_AGAIN[looks];
      if (pause === undefined) return { ...record, isLost: true, isWhole };
      await sleep(pause);
    }
  }

  /** Whether a name is there, and whether the store has all that was seen of it. */
  async #look(
    redis: Redis | Cluster,
    name: string,
  ): Promise<{ readonly state: unknown; readonly isWhole: boolean }> {
    const { seen, isBack } = this.#history;
    const { reader } = this.#access;
    const names = this.#key('names');
    const reply = await redis.call(reader, LOOK_SCRIPT, 1, names, name, seen.last);
    const [state, count, last, since, isKnown] = Array.isArray(reply) ? reply : [];
    // What is no store has no history.
    if (state !== 'named' && state !== 'unnamed') return { state, isWhole: true };
    this.#presence.found();
    const look = { count, last, since, isKnown: isKnown === 1 } as StoreLook;
    const isWhole = this.#history.note(seen, look);
    // What is known is of a later store.
    if (isBack !== this.#history.isBack) this.#changes.tell();
    return { state, isWhole };
  }

  async #fetch(
    redis: Redis | Cluster,
    name: string,
  ): Promise<{ found: SealedRecord | undefined; revision: string }> {
    const [policy, sealed, revision] = await redis.hmget(
      this.#key(name),
      'policy',
      'sealed',
      'revision',
    );
    if (typeof revision !== 'string') return { found: undefined, revision: '' };
    return { found: { policy, sealed } as SealedRecord, revision };
  }

  /** Asks over a connection that was tested. */
  async #asking<T>(ask: () => Promise<T>): Promise<T> {
    this.#checkOpen();
    await this.#connection.connected();
    try {
      return await ask();
    } catch (error) {
      throw await this.#explain(error);
    }
  }

  /** Changes nothing if this server may not do all that a change needs: half of one would do harm. */
  #changing(change: () => Promise<void>): Promise<void> {
    return this.#asking(async () => {
      // It may be allowed by now.
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

  /** Why something failed: what this server may not do, if that is why. */
  async #explain(error: unknown): Promise<unknown> {
    // It was made.
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

/** Of which no replica needs to have anything. */
function plainLine(redis: Redis | Cluster): Line {
  return {
    redis,
    run: async (script, keys, args) => ({
      answer: await redis.eval(script, keys.length, ...keys, ...args),
      acknowledged: 0,
    }),
  };
}

function checkReplicas(what: string, waited: Waited, replicas: number): void {
  if (waited.acknowledged >= replicas) return;
  const lack = tellLack(waited, replicas, what);
  throw new KeyStoreError(
    'ERR_NOT_REPLICATED',
    `${lack}; do it again, or it may be lost where one of them takes over`,
  );
}

/** Whether Redis has refused a command because it is full. */
function isFull({ name, message }: Error): boolean {
  return name === 'ReplyError' && message.includes('OOM command not allowed');
}

function full(what: string): KeyStoreError {
  return new KeyStoreError(
    'ERR_STORE_FULL',
    `Cannot make ${what}: Redis is full, so it was not made. Raise its maxmemory, or move nonces and queues to a Redis of their own; keys and sessions can be revoked meanwhile`,
  );
}

function randomName(): string {
  return randomBytes(12).toString('base64url');
}
