import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster, Redis } from 'ioredis';
import type { SealedRecord } from '../seal.ts';
import type { StoreHistory, StoreLook } from '../store-history.ts';
import type { StorePresence } from '../store-presence.ts';
import type { RedisAccess } from './redis-access.ts';
import { ABOUT_STORE, LOOK_SCRIPT, MARKER, SAMPLE_SCRIPT } from './redis-scripts.ts';

/** Of which one mostly opens. */
const SAMPLES = 10;

/** Milliseconds before a record is looked up again that has a name and is not there: it may be written just now. */
const LOOK_AGAIN = [20, 100];

/** What lies under a name. Only a store that is there says that nothing does. */
export interface Found {
  readonly found: SealedRecord | undefined;
  readonly revision: string;
  /** It has a name, and is not there. */
  readonly isLost: boolean;
  /** Whether the store has all changes that were seen of it. */
  readonly isWhole: boolean;
}

/** What a reader of records stands on. */
export interface ReaderParts {
  readonly access: RedisAccess;
  readonly presence: StorePresence;
  readonly history: StoreHistory;
  /** Called if what is known of all records is out of date. */
  readonly forget: () => void;
}

/** Reads records in Redis, and notices what a store has lost. */
export class RecordReader {
  readonly #prefix: string;
  readonly #parts: ReaderParts;

  constructor(prefix: string, parts: ReaderParts) {
    this.#prefix = prefix;
    this.#parts = parts;
  }

  /** The key of a record, or of what the store keeps beside them. */
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

  /** Asks for the record and its name at once: it takes as long, whether there is such a record or not. */
  async find(redis: Redis | Cluster, name: string): Promise<Found> {
    const { presence } = this.#parts;
    for (let looks = 0; ; looks++) {
      const [record, { state, isWhole }] = await Promise.all([
        this.#fetch(redis, name),
        this.look(redis, name),
      ]);
      if (record.found !== undefined || state === 'unnamed')
        return { ...record, isLost: false, isWhole };
      // In the positive: what is no answer of the script is none.
      if (state !== 'named') throw presence.missing();
      const pause = LOOK_AGAIN[looks];
      if (pause === undefined) return { ...record, isLost: true, isWhole };
      await sleep(pause);
    }
  }

  /** Whether a name is there, and whether the store has all that was seen of it. */
  async look(
    redis: Redis | Cluster,
    name: string,
  ): Promise<{ readonly state: unknown; readonly isWhole: boolean }> {
    const { access, history, presence, forget } = this.#parts;
    const { seen, isBack } = history;
    const names = this.key('names');
    const reply = await redis.call(access.reader, LOOK_SCRIPT, 1, names, name, seen.last);
    const [state, count, last, since, isKnown] = Array.isArray(reply) ? reply : [];
    // What is no store has no history.
    if (state !== 'named' && state !== 'unnamed') return { state, isWhole: true };
    presence.found();
    const look = { count, last, since, isKnown: isKnown === 1 } as StoreLook;
    const isWhole = history.recordLook(seen, look);
    // What is known is of a later store.
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

  /** Some of the records, at random, and only for who goes on all of them: most often the first will do. */
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
