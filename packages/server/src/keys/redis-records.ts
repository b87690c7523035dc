import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { quote } from '@countersign/shared';
import type { Cluster, Redis } from 'ioredis';
import { duplicate } from '../redis-connection.ts';
import { testRedis } from '../redis-self-test.ts';
import { tellLack, type Waited } from '../redis-wait.ts';
import { KeyStoreError } from './key-store-error.ts';
import type { MasterKeys } from './master-keys.ts';
import type { Change, RecordStore, StoredRecord } from './record-store.ts';
import { type Line, RedisWriter } from './redis-writer.ts';
import { changed, open, type SealedRecord, seal } from './seal.ts';

/**
 * Writes a record where it is still what it was, and tells everybody: in one step, so that nobody hears of what did not happen, and
 * nothing happens of which nobody hears.
 */
const UPDATE_SCRIPT = `
local key, channel = KEYS[1], ARGV[1]
local name, revision, new, policy, sealed, till = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if (redis.call('HGET', key, 'revision') or '') ~= revision then return 0 end
-- First, so that nothing is written where it may not be told.
redis.call('PUBLISH', channel, name)
if sealed == '' then
  redis.call('DEL', key)
else
  redis.call('HSET', key, 'revision', new, 'policy', policy, 'sealed', sealed)
  if till ~= '' then redis.call('EXPIREAT', key, till) end
end
return 1`;

const NAME_SCRIPT = "return redis.call('SADD', KEYS[1], ARGV[1])";

/** A time of use counts where it is the latest, and the record is still there. */
const USE_SCRIPT = `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if tonumber(redis.call('HGET', KEYS[1], 'used') or 0) < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'used', ARGV[1])
end
return 1`;

/** What evicts nothing, also not what has an expiry. */
const NOEVICTION = /^noeviction$/;

/** Times that others may change a record while it is changed. */
const MOST_ROUNDS = 1_000;

/** Milliseconds. */
const PING_EVERY = 1_000;

interface Commands {
  useRecord(key: string, time: number): Promise<unknown>;
}

export interface RedisRecordsOptions {
  readonly redis: Redis | Cluster;
  readonly prefix: string;
  /** Seconds. */
  readonly timeout: number;
  /** How many replicas must have a change; one where there are any if not given. */
  readonly waitForReplicas?: number | undefined;
}

/** Records in Redis, sealed: a hash each, and a set of their names. */
export class RedisRecords implements RecordStore {
  readonly #redis: (Redis | Cluster) & Commands;
  readonly #writer: RedisWriter;
  readonly #subscriber: Redis | Cluster;
  readonly #prefix: string;
  readonly #timeout: number;
  readonly #waitForReplicas: number | undefined;
  readonly #masterKeys: MasterKeys;
  readonly #listeners: ((name?: string) => void)[] = [];
  readonly #beat: NodeJS.Timeout;
  #connected: Promise<void> | undefined;
  /** Why the connection could not be made last. */
  #failure: Error | undefined;
  /** Replicas were seen: from then on one is waited for, since it may be the next master. */
  #hasReplicas = false;
  #closed = false;

  constructor(options: RedisRecordsOptions, masterKeys: MasterKeys) {
    const { redis, prefix, timeout, waitForReplicas } = options;
    this.#prefix = prefix;
    this.#timeout = timeout * 1000;
    this.#waitForReplicas = waitForReplicas;
    this.#masterKeys = masterKeys;
    const own = duplicate(redis, this.#timeout);
    own.defineCommand('useRecord', { numberOfKeys: 1, lua: USE_SCRIPT });
    this.#redis = own as (Redis | Cluster) & Commands;
    this.#redis.on('error', (error) => {
      this.#failure = error;
    });
    this.#redis.on('ready', () => {
      this.#failure = undefined;
    });
    this.#redis.on('close', () => {
      this.#connected = undefined;
    });
    this.#writer = new RedisWriter(redis, this.#timeout);
    this.#subscriber = this.#subscribe(redis);
    // A connection over which nothing comes any more is noticed only by who asks for something.
    this.#beat = setInterval(
      () => void this.#subscriber.ping().catch(() => undefined),
      PING_EVERY,
    ).unref();
  }

  async read(name: string): Promise<StoredRecord | undefined> {
    await this.#connect();
    const { found } = await this.#fetch(this.#redis, name);
    return found && open(name, found, this.#masterKeys);
  }

  async names(): Promise<readonly string[]> {
    await this.#connect();
    return (await this.#redis.smembers(this.#key('names'))).sort();
  }

  async update(name: string, change: Change, instead?: StoredRecord): Promise<void> {
    await this.#connect();
    const replicas = await this.#replicas();
    const make = (line: Line): Promise<Waited[]> => this.#make(line, name, change, instead);
    const writes =
      replicas === 0 ? await make(plainLine(this.#redis)) : await this.#writer.turn(replicas, make);
    for (const waited of writes) checkReplicas(name, waited, replicas);
  }

  /** @returns what became of each write that replicas must have */
  async #make(
    { redis, run }: Line,
    name: string,
    change: Change,
    instead: StoredRecord | undefined,
  ): Promise<Waited[]> {
    const names = this.#key('names');
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const { found, revision } = await this.#fetch(redis, name);
      const next = await changed(name, found, this.#masterKeys, { change, instead });
      if (next === undefined && found === undefined) {
        // It has had its time.
        await this.#removeName(redis, name);
        return [];
      }
      const sealed = next && (await seal(name, next, this.#masterKeys));
      const begins = next !== undefined && found === undefined;
      // First the name: one without a record does no harm, a record that nobody finds would.
      if (begins) await redis.sadd(names, name);
      const { policy = '', sealed: text = '' } = sealed ?? {};
      const { until } = next?.policy ?? {};
      const till = typeof until === 'number' ? Math.ceil(until) : '';
      const args = [this.#key('changes'), name, revision, newRevision(), policy, text, till];
      const written = await run(UPDATE_SCRIPT, this.#key(name), args).catch((error: Error) => {
        this.#leaveReplica(redis, error);
        throw error;
      });
      // Somebody else has changed it meanwhile.
      if (written.answer !== 1) continue;
      for (const listener of this.#listeners) listener(name);
      if (next === undefined) await this.#removeName(redis, name);
      if (!begins) return [written];
      // And once more, for who saw no record yet and removed the name; in a cluster it may lie with other replicas.
      if (redis.isCluster) return [written, await run(NAME_SCRIPT, names, [name])];
      await redis.sadd(names, name);
      return [written];
    }
    throw new KeyStoreError(
      'ERR_STORE_BUSY',
      `Cannot change ${quote(name, 160)}: others have changed it each time`,
    );
  }

  /** Unless somebody has just begun another record of that name. */
  async #removeName(redis: Redis | Cluster, name: string): Promise<void> {
    const names = this.#key('names');
    await redis.srem(names, name);
    if ((await redis.exists(this.#key(name))) === 1) await redis.sadd(names, name);
  }

  /** Another connection may lead to the master: through Sentinel, or by its name. */
  #leaveReplica(redis: Redis | Cluster, error: Error): void {
    if (redis.isCluster || !error.message.includes('READONLY')) return;
    for (const it of new Set([redis, this.#redis])) (it as Redis).disconnect(true);
  }

  /** How many replicas a change must reach. Those that came lately count too. */
  async #replicas(): Promise<number> {
    if (this.#waitForReplicas !== undefined) return this.#waitForReplicas;
    if (!this.#hasReplicas) {
      const { replicas } = await testRedis(this.#redis, NOEVICTION);
      this.#hasReplicas = replicas > 0;
    }
    return this.#hasReplicas ? 1 : 0;
  }

  async readUses(names: readonly string[]): Promise<ReadonlyMap<string, number>> {
    await this.#connect();
    const uses = await Promise.all(names.map((name) => this.#redis.hget(this.#key(name), 'used')));
    return new Map(names.map((name, index) => [name, Number(uses[index] ?? 0)]));
  }

  async writeUses(uses: ReadonlyMap<string, number>): Promise<void> {
    await this.#connect();
    await Promise.all(
      [...uses].map(([name, time]) => this.#redis.useRecord(this.#key(name), time)),
    );
  }

  watch(listener: (name?: string) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#beat);
    this.#redis.disconnect();
    this.#writer.close();
    this.#subscriber.disconnect();
  }

  #key(name: string): string {
    return `${this.#prefix}:${name}`;
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

  /** Waits for a connection that is being made, and finds out whether Redis keeps what it is given. */
  async #connect(): Promise<void> {
    if (this.#closed) throw new Error('Cannot use the key store: it is closed');
    this.#connected ??= this.#test();
    const connected = this.#connected;
    try {
      await connected;
    } catch (error) {
      if (this.#connected === connected) this.#connected = undefined;
      throw error;
    }
  }

  async #test(): Promise<void> {
    if (this.#redis.status !== 'ready')
      await once(this.#redis, 'ready', { signal: AbortSignal.timeout(this.#timeout) }).catch(() => {
        const why = this.#failure?.message ?? `no answer within ${this.#timeout} ms`;
        // Without its cause, which holds the password where it is wrong.
        throw new Error(`Cannot reach Redis: ${why}`);
      });
    const { flaw, replicas } = await testRedis(this.#redis, NOEVICTION);
    if (flaw !== undefined)
      throw new KeyStoreError('ERR_STORE_UNFIT', `Redis is not fit for access keys: ${flaw}`);
    if (replicas > 0) this.#hasReplicas = true;
  }

  #subscribe(redis: Redis | Cluster): Redis | Cluster {
    const subscriber = duplicate(redis, this.#timeout);
    subscriber.on('error', () => undefined);
    const channel = this.#key('changes');
    subscriber.on('message', (_, name: string) => {
      for (const listener of this.#listeners) listener(name);
    });
    // What happened while nobody listened is not known.
    subscriber.on('ready', () => {
      subscriber.subscribe(channel).then(
        () => {
          for (const listener of this.#listeners) listener();
        },
        (error) => {
          // Where the connection is gone, the next one subscribes.
          if (error.name !== 'ReplyError') return;
          const message = `Changes of keys are noticed after seconds only: ${error.message}`;
          process.emitWarning(message, { code: 'COUNTERSIGN_KEY_STORE' });
        },
      );
    });
    return subscriber;
  }
}

/** Of which no replica needs to have anything. */
function plainLine(redis: Redis | Cluster): Line {
  return {
    redis,
    run: async (script, key, args) => ({
      answer: await redis.eval(script, 1, key, ...args),
      acknowledged: 0,
    }),
  };
}

function checkReplicas(name: string, waited: Waited, replicas: number): void {
  if (waited.acknowledged >= replicas) return;
  const lack = tellLack(waited, replicas, `the change of ${quote(name, 160)}`);
  throw new KeyStoreError(
    'ERR_NOT_REPLICATED',
    `${lack}; do it again, or it may be lost where one of them takes over`,
  );
}

function newRevision(): string {
  return randomBytes(12).toString('base64url');
}
