import { constants, type FileHandle, open as openFile, rename, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { quote } from '@countersign/shared';
import * as z from 'zod';
import { sweep, withDraft } from './file-draft.ts';
import { withLock } from './file-lock.ts';
import { placeOf } from './file-place.ts';
import { isUnreadable, KeyStoreError } from './key-store-error.ts';
import type { MasterKeys } from './master-keys.ts';
import {
  type Change,
  isOver,
  type RecordStore,
  type Resealed,
  type StoredRecord,
} from './record-store.ts';
import { changed, checkMasterKeys, open, type SealedRecord, seal } from './seal.ts';

const FORMAT = 'countersign keys 1';
/** What the names of drafts end in. */
const ENDING = '.next';
/** Milliseconds between two looks at the file: how long a change by another process takes to be seen. */
const LOOK_EVERY = 50;

/**
 * Seconds for which a record is kept that has had its time. It says that a session is revoked: one command whose clock is some days
 * ahead must not bring that back to life.
 */
const KEPT_BEYOND = 30 * 86_400;

const fileSchema = z.strictObject({
  format: z.literal(FORMAT),
  records: z.record(z.string(), z.strictObject({ policy: z.string(), sealed: z.string() })),
  uses: z.record(z.string(), z.number()),
});

/** All that is in the file. */
interface Contents {
  readonly records: ReadonlyMap<string, SealedRecord>;
  readonly uses: ReadonlyMap<string, number>;
}

const NOTHING: Contents = { records: new Map(), uses: new Map() };

/**
 * Records in one file, sealed: read as a whole, and replaced as a whole by one process at a time. Who reads sees the old one or
 * the new one.
 */
export class FileRecords implements RecordStore {
  readonly #path: string;
  readonly #masterKeys: MasterKeys;
  readonly #clock: () => number;
  readonly #listeners: ((name?: string) => void)[] = [];
  readonly #looking: NodeJS.Timeout;
  /** What the file was when it was read last. */
  #seen = '';
  #contents: Promise<Contents> | undefined;
  /** Within a process one follows the other: only processes wait for the lock. */
  #last: Promise<unknown> = Promise.resolve();

  /** @param clock Unix seconds */
  constructor(path: string, masterKeys: MasterKeys, clock: () => number) {
    // Now: where the process changes its folder it goes on with the same file.
    this.#path = resolve(path);
    this.#masterKeys = masterKeys;
    this.#clock = clock;
    this.#looking = setInterval(() => void this.#look(), LOOK_EVERY).unref();
  }

  async read(name: string): Promise<StoredRecord | undefined> {
    const { records } = await this.#present();
    const sealed = records.get(name);
    return sealed === undefined ? undefined : open(name, sealed, this.#masterKeys);
  }

  async names(): Promise<readonly string[]> {
    return [...(await this.#present()).records.keys()];
  }

  async update(name: string, change: Change, instead?: StoredRecord): Promise<void> {
    await this.#replace(async ({ records, uses }) => {
      const present = records.get(name);
      if (present === undefined) await checkMasterKeys(records, this.#masterKeys);
      const next = await changed(name, present, this.#masterKeys, { change, instead });
      const now = this.#clock();
      const kept = new Map([...records].filter(([, sealed]) => !hasHadItsTime(sealed, now)));
      if (next === undefined) kept.delete(name);
      else kept.set(name, await seal(name, next, this.#masterKeys));
      return { records: kept, uses: new Map([...uses].filter(([used]) => kept.has(used))) };
    });
  }

  /** All at once: the file is written as a whole, and the lock is held no longer than for one. */
  async reseal(): Promise<Resealed> {
    let total = 0;
    const failures = new Map<string, KeyStoreError>();
    // What is not there yet is not made for this, nor a master key.
    if ((await this.#present()).records.size === 0) return { total, failures };
    // One that seals for all: whoever is asked may take his time.
    const present = await this.#masterKeys.current();
    const masterKeys = { current: async () => present };
    await this.#replace(async ({ records, uses }) => {
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
      return { records: resealed, uses };
    });
    return { total, failures };
  }

  async readUses(): Promise<ReadonlyMap<string, number>> {
    return (await this.#present()).uses;
  }

  async writeUses(uses: ReadonlyMap<string, number>): Promise<void> {
    await this.#replace(async (contents) => {
      const all = new Map(contents.uses);
      for (const [name, time] of uses) {
        if (contents.records.has(name)) all.set(name, Math.max(time, all.get(name) ?? 0));
      }
      return { records: contents.records, uses: all };
    });
  }

  watch(listener: (name?: string) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    clearInterval(this.#looking);
    await this.#last;
  }

  /** What is in the file now. It is read again only where it has changed. */
  async #present(): Promise<Contents> {
    await this.#look();
    this.#contents ??= readContents(this.#path);
    const reading = this.#contents;
    return reading.catch((error) => {
      if (this.#contents === reading) this.#contents = undefined;
      throw error;
    });
  }

  async #look(): Promise<void> {
    const { ino, ctimeNs, mtimeNs, size } = await stat(this.#path, { bigint: true }).catch(
      () => NO_FILE,
    );
    const seen = `${ino} ${ctimeNs} ${mtimeNs} ${size}`;
    if (seen === this.#seen) return;
    this.#seen = seen;
    this.#contents = undefined;
    for (const listener of this.#listeners) listener();
  }

  async #replace(change: (contents: Contents) => Promise<Contents>): Promise<void> {
    const replaced = this.#last.then(async () => {
      const path = await placeOf(this.#path);
      await withLock(`${path}.lock`, async (check) => {
        const next = await change(await readContents(path));
        await write(path, next, check);
      });
    });
    this.#last = replaced.catch(() => undefined);
    await replaced;
    await this.#look();
  }
}

/** What somebody has changed so that it is no policy any more stays there: it must be seen. */
function hasHadItsTime({ policy }: SealedRecord, now: number): boolean {
  try {
    return isOver(JSON.parse(policy), now - KEPT_BEYOND);
  } catch {
    return false;
  }
}

const NO_FILE = { ino: 0n, ctimeNs: 0n, mtimeNs: 0n, size: 0n };

const NOT_A_FILE = 'it is no regular file; give the path of one, or of none yet';

async function readContents(path: string): Promise<Contents> {
  // A pipe must not keep it waiting for whoever writes to it.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  const file = await openFile(path, flags).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    if (error.code === 'EACCES')
      throw unfit(path, 'this user may not read it; run as its owner, or chown it', error);
    // Of a socket.
    if (error.code === 'ENXIO') throw unfit(path, NOT_A_FILE, error);
    throw error;
  });
  if (file === undefined) return NOTHING;
  try {
    const found = await file.stat();
    if (!found.isFile()) throw unfit(path, NOT_A_FILE);
    if (process.platform !== 'win32' && (found.mode & 0o077) !== 0)
      throw unfit(path, 'others may read or write it; chmod 600 it');
    const { records, uses } = parse(path, await file.readFile('utf8'));
    return { records: new Map(Object.entries(records)), uses: new Map(Object.entries(uses)) };
  } finally {
    await file.close();
  }
}

function unfit(path: string, why: string, cause?: unknown): KeyStoreError {
  const message = `Cannot use key store ${quote(path, 200)}: ${why}`;
  return new KeyStoreError('ERR_STORE_UNFIT', message, { cause });
}

function parse(path: string, text: string): z.output<typeof fileSchema> {
  try {
    return fileSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new KeyStoreError(
      'ERR_RECORD_UNREADABLE',
      `Cannot read key store ${quote(path, 200)}: it is not a file of format ${quote(FORMAT)}`,
      { cause },
    );
  }
}

/** Beside it, then in its place: a process that dies in the middle leaves the old one as it was. */
async function write(
  path: string,
  { records, uses }: Contents,
  check: () => Promise<void>,
): Promise<void> {
  // Who writes now holds the lock.
  await sweep(path, ENDING);
  const text = JSON.stringify(
    { format: FORMAT, records: Object.fromEntries(records), uses: Object.fromEntries(uses) },
    undefined,
    1,
  );
  await withDraft(path, `${text}\n`, { ending: ENDING, flush: true }, async (draft) => {
    await checkOwner(path, draft);
    await check();
    await rename(draft, path);
  });
  await syncFolder(dirname(path));
}

/** With a file of ours in place of theirs, others could not read what they wrote. */
async function checkOwner(path: string, draft: string): Promise<void> {
  const present = await stat(path).catch(() => undefined);
  if (present === undefined || present.uid === (await stat(draft)).uid) return;
  throw unfit(path, `it belongs to user ${present.uid}; write to it as that user, or as root`);
}

/** That a file has another name is written down only with its folder. Not all systems can. */
async function syncFolder(path: string): Promise<void> {
  let folder: FileHandle | undefined;
  try {
    folder = await openFile(path, 'r');
    await folder.sync();
  } catch {
    // Windows does not open folders.
  } finally {
    await folder?.close();
  }
}
