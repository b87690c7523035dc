import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster, Redis } from 'ioredis';
import type { SealedRecord } from '../seal.ts';
import type { StoreHistory, StoreLook } from '../store-history.ts';
import type { StorePresence } from '../store-presence.ts';
import type { RedisAccess } from './redis-access.ts';
import { ABOUT_STORE, LOOK_SCRIPT, MARKER, SAMPLE_SCRIPT } from './redis-scripts.ts';

/** How many records are tried first. Usually one of them opens. */
const SAMPLES = 10;

/**
 * Milliseconds to wait before a record that has a name and is missing is looked up again: another
 * server may be writing it.
 */
const LOOK_AGAIN = [20, 100];

/** What is stored under a name. Only an existing store can answer that there is nothing. */
export interface Found {
  readonly found: SealedRecord | undefined;
  readonly revision: string;
  /** Whether the record has a name and is missing. */
  readonly isLost: boolean;
  /** Whether the store has all changes that this server has seen. */
  readonly isWhole: boolean;
}

/** What a reader of records needs. */
export interface ReaderParts {
  readonly access: RedisAccess;
  readonly presence: StorePresence;
  readonly history: StoreHistory;
  /** Called if everything in the caches is out of date. */
  readonly forget: () => void;
}

/** Reads records in Redis, and notices if the store has lost some. */
export class RecordReader {
  readonly #prefix: string;
  readonly #parts: ReaderParts;

  constructor(prefix: string, parts: ReaderParts) {
    this.#prefix = prefix;
    this.#parts = parts;
  }

  /** The Redis key of a record, or of another part of the store. */
  key(name: string): string {
    return `${this.#prefix}:${name}`;
  }

  /** The names of all records. */
  async names(redis: Redis | Cluster): Promise<readonly string[]> {
    const { presence } = this.#parts;
    const names = await redis.zrange(this.key('names'), '0', '-1');
    if (names.length === 0) throw presence.missing();
    presence.found();
    return names.filter((name) => name !== MARKER && !name.startsWith(ABOUT_STORE)).sort();
  }

  /**
   * Reads a record and its name at once. It takes the same time whether or not there is such a
   * record.
   */
  async find(redis: Redis | Cluster, name: string): Promise<Found> {
    const { presence } = this.#parts;
    for (let looks = 0; ; looks++) {
      const [record, { state, isWhole }] = await Promise.all([
        this.#fetch(redis, name),
        this.look(redis, name),
      ]);
      if (record.found !== undefined || state === 'unnamed')
        return { ...record, isLost: false, isWhole };
      // Checked in the positive: any other value is not an answer of the script.
      if (state !== 'named') throw presence.missing();
      const pause = LOOK_AGAIN[looks];
      if (pause === undefined) return { ...record, isLost: true, isWhole };
      await sleep(pause);
    }
  }

  /**
   * Asks whether a name is there, and whether the store has all changes that this server has seen.
   */
  async look(
    redis: Redis | Cluster,
    name: string,
  ): Promise<{ readonly state: unknown; readonly isWhole: boolean }> {
    const { access, history, presence, forget } = this.#parts;
    const { seen, isBack } = history;
    const names = this.key('names');
    const reply = await redis.call(access.reader, LOOK_SCRIPT, 1, names, name, seen.last);
    const [state, count, last, since, isKnown] = Array.isArray(reply) ? reply : [];
    // A missing store has no history.
    if (state !== 'named' && state !== 'unnamed') return { state, isWhole: true };
    presence.found();
    const look = { count, last, since, isKnown: isKnown === 1 } as StoreLook;
    const isWhole = history.recordLook(seen, look);
    // The caches hold records of the later store.
    if (isBack !== history.isBack) forget();
    return { state, isWhole };
  }

  async #fetch(
    redis: Redis | Cluster,
    name: string,
  ): Promise<{ found: SealedRecord | undefined; revision: string }> {
    const [policy, sealed, revision] = await redis.hmget(
      this.key(name),
      'policy',
      'sealed',
      'revision',
    );
    if (typeof revision !== 'string') return { found: undefined, revision: '' };
    return { found: { policy, sealed } as SealedRecord, revision };
  }

  /**
   * Gives some records at random, and all of them to a caller that reads on. Usually the first one
   * is enough.
   */
  async *anyRecords(redis: Redis | Cluster): AsyncGenerator<[string, SealedRecord]> {
    const some = await redis.eval(SAMPLE_SCRIPT, 1, this.key('names'), SAMPLES);
    yield* this.#recordsOf(redis, some as string[]);
    yield* this.#recordsOf(redis, await this.names(redis));
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
}
