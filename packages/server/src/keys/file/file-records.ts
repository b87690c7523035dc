import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { quote } from '@countersign/shared';
import type { OperatorWarnings } from '../../lib/operator-warning.ts';
import { isUnreadable, KeyStoreError } from '../key-store-error.ts';
import type { MasterKeys } from '../master-keys.ts';
import {
  type Change,
  isOver,
  type RecordStore,
  type Resealed,
  type StoredRecord,
  type UpdateOptions,
} from '../record-store.ts';
import { changed, checkMasterKeys, open, type SealedRecord, seal } from '../seal.ts';
import { StoreHistory } from '../store-history.ts';
import { StorePresence } from '../store-presence.ts';
import {
  begun,
  type Contents,
  lookAt,
  NOTHING,
  readContents,
  withChange,
  writeContents,
} from './file-contents.ts';
import { withLock } from './file-lock.ts';
import { placeOf } from './file-place.ts';

/**
 * Milliseconds between two looks at the file, and so the delay until a change by another process is
 * seen.
 */
const LOOK_EVERY = 50;

const UNFIT = 'COUNTERSIGN_KEY_STORE_UNFIT';
const UNREACHABLE = 'COUNTERSIGN_KEY_STORE_UNREACHABLE';

/**
 * Sealed records in one file. It is read as a whole, and replaced as a whole by one process at a
 * time, so a reader sees either the old contents or the new ones.
 */
export class FileRecords implements RecordStore {
  readonly #path: string;
  readonly #masterKeys: MasterKeys;
  readonly #clock: () => number;
  readonly #presence: StorePresence;
  readonly #history: StoreHistory;
  readonly #warnings: OperatorWarnings;
  readonly #listeners: ((name?: string) => void)[] = [];
  readonly #looking: NodeJS.Timeout;
  /** The inode, times and size of the file when it was last read. */
  #seen = '';
  #contents: Promise<Contents | undefined> | undefined;
  /**
   * Changes of this process are made one after the other, so that only different processes wait for
   * the lock.
   */
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** @param clock Unix seconds */
  constructor(
    path: string,
    masterKeys: MasterKeys,
    clock: () => number,
    warnings: OperatorWarnings,
  ) {
    // Resolved now: the process may change its working directory.
    this.#path = resolve(path);
    this.#masterKeys = masterKeys;
    this.#clock = clock;
    this.#presence = new StorePresence(this.#path, 'its file was removed', warnings);
    this.#history = new StoreHistory(this.#path, warnings);
    this.#warnings = warnings;
    this.#looking = setInterval(() => void this.#follow(), LOOK_EVERY).unref();
  }

  async create(how: 'by-name' | 'first-record'): Promise<void> {
    if ((await this.#contentsNow()) !== undefined) return;
    if (how === 'first-record' && this.#presence.wasThere) throw this.#presence.missing();
    // If nothing can be sealed, the store is not created.
    await this.#masterKeys.current();
    const made = { ...NOTHING, history: begun(NOTHING.history) };
    await this.#replace(async (contents) => contents ?? made);
  }

  async acceptRestore(): Promise<void> {
    await this.#replace(async (contents) => {
      const present = this.#checked(contents);
      return { ...present, history: begun(present.history) };
    });
  }

  async read(name: string): Promise<StoredRecord | undefined> {
    const { records } = await this.#present();
    if (this.#history.isBack) throw this.#history.error();
    const sealed = records.get(name);
    return sealed === undefined ? undefined : open(name, sealed, this.#masterKeys);
  }

  async names(): Promise<readonly string[]> {
    return [...(await this.#present()).records.keys()];
  }

  async update(name: string, change: Change, { instead }: UpdateOptions = {}): Promise<void> {
    await this.#change(async ({ records, uses, history }) => {
      const present = records.get(name);
      if (present === undefined) await checkMasterKeys(records, this.#masterKeys);
      const next = await changed(name, present, this.#masterKeys, { change, instead });
      const now = this.#clock();
      const kept = new Map([...records].filter(([, sealed]) => !hasHadItsTime(sealed, now)));
      if (next === undefined) kept.delete(name);
      else kept.set(name, await seal(name, next, this.#masterKeys));
      return {
        records: kept,
        uses: new Map([...uses].filter(([used]) => kept.has(used))),
        history: withChange(history),
      };
    });
  }

  /** Seals all records in one change, since the file is written as a whole anyway. */
  async reseal(): Promise<Resealed> {
    let total = 0;
    const failures = new Map<string, KeyStoreError>();
    // An empty store needs no change, and no new master key.
    if ((await this.#present()).records.size === 0) return { total, failures };
    // One key for all records: a provider may take long for each answer.
    const present = await this.#masterKeys.current();
    const masterKeys = { current: async () => present };
    await this.#change(async ({ records, uses, history }) => {
      const resealed = new Map(records);
      total = records.size;
      for (const [name, sealed] of records) {
        try {
          const opened = await open(name, sealed, this.#masterKeys);
          resealed.set(name, await seal(name, opened, masterKeys));
        } catch (error) {
          if (!isUnreadable(error)) throw error;
          failures.set(name, error);
        }
      }
      return { records: resealed, uses, history: withChange(history) };
    });
    return { total, failures };
  }

  async readUses(): Promise<ReadonlyMap<string, number>> {
    return (await this.#present()).uses;
  }

  async writeUses(uses: ReadonlyMap<string, number>): Promise<void> {
    await this.#change(async (contents) => {
      const all = new Map(contents.uses);
      for (const [name, time] of uses) {
        if (contents.records.has(name)) all.set(name, Math.max(time, all.get(name) ?? 0));
      }
      return { ...contents, uses: all };
    });
  }

  watch(listener: (name?: string) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#looking);
    this.#warnings.close();
    await this.#last;
  }

  /** Reads the file as it is now. */
  async #present(): Promise<Contents> {
    return this.#checked(await this.#contentsNow());
  }

  /**
   * @throws KeyStoreError `ERR_STORE_EMPTY` if there is no file: it was removed, or never created
   */
  #checked(contents: Contents | undefined): Contents {
    if (contents === undefined) throw this.#presence.missing();
    this.#presence.found();
    return contents;
  }

  /** Reads the file if it has changed. */
  async #contentsNow(): Promise<Contents | undefined> {
    this.#checkOpen();
    await this.#look();
    this.#contents ??= this.#read();
    const reading = this.#contents;
    return reading.catch((error) => {
      if (this.#contents === reading) this.#contents = undefined;
      throw error;
    });
  }

  async #read(): Promise<Contents | undefined> {
    const { seen } = this.#history;
    const contents = await readContents(this.#path).catch((error: Error) => {
      const isUnfit = error instanceof KeyStoreError && error.code === 'ERR_STORE_UNFIT';
      const why =
        error instanceof KeyStoreError
          ? error.message
          : `Cannot read key store ${quote(this.#path, 200)}: ${error.message}`;
      const message = `${why}. Requests are answered 503 until it can be read`;
      this.#warnings.begin(isUnfit ? UNFIT : UNREACHABLE, { message });
      throw error;
    });
    this.#warnings.end(UNFIT);
    this.#warnings.end(UNREACHABLE);
    if (contents !== undefined) this.#history.recordLook(seen, lookAt(contents.history, seen));
    // The operator is told of a loss even if no request comes.
    if (this.#presence.wasThere) {
      if (contents === undefined) this.#presence.missing();
      else this.#presence.found();
    }
    return contents;
  }

  /**
   * Reads what other processes have written. A server must know the latest changes to notice that
   * an older copy has replaced the file.
   */
  async #follow(): Promise<void> {
    if (await this.#look()) await this.#contentsNow().catch(() => undefined);
  }

  /** @returns whether the file has changed */
  async #look(): Promise<boolean> {
    const { ino, ctimeNs, mtimeNs, size } = await stat(this.#path, { bigint: true }).catch(
      () => NO_FILE,
    );
    const seen = `${ino} ${ctimeNs} ${mtimeNs} ${size}`;
    if (seen === this.#seen) return false;
    this.#seen = seen;
    this.#contents = undefined;
    for (const listener of this.#listeners) listener();
    return true;
  }

  #change(change: (contents: Contents) => Promise<Contents>): Promise<void> {
    return this.#replace(async (contents) => change(this.#checked(contents)));
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error('Cannot use the key store: it is closed');
  }

  async #replace(change: (contents: Contents | undefined) => Promise<Contents>): Promise<void> {
    this.#checkOpen();
    const replaced = this.#last.then(async () => {
      const path = await placeOf(this.#path);
      await withLock(`${path}.lock`, async (check) => {
        const next = await change(await readContents(path));
        await writeContents(path, next, check);
      });
    });
    this.#last = replaced.catch(() => undefined);
    await replaced;
    await this.#look();
  }
}

/** A record whose metadata was damaged never expires: the operator must be able to see it. */
function hasHadItsTime({ policy }: SealedRecord, now: number): boolean {
  try {
    return isOver(JSON.parse(policy), now);
  } catch {
    return false;
  }
}

const NO_FILE = { ino: 0n, ctimeNs: 0n, mtimeNs: 0n, size: 0n };
