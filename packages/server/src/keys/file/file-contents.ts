import { randomBytes } from 'node:crypto';
import { constants, type FileHandle, open, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { quote } from '@countersign/shared';
import * as z from 'zod';
import { KeyStoreError } from '../key-store-error.ts';
import type { SealedRecord } from '../seal.ts';
import { KEPT_CHANGES, type StoreLook, type StoreState } from '../store-history.ts';
import { sweep, withDraft } from './file-draft.ts';

const FORMAT = 'countersign keys 1';
/** The ending of the names of drafts. */
const ENDING = '.next';

const fileSchema = z.strictObject({
  format: z.literal(FORMAT),
  records: z.record(z.string(), z.strictObject({ policy: z.string(), sealed: z.string() })),
  uses: z.record(z.string(), z.number()),
  history: z
    .strictObject({
      count: z.int().min(0),
      since: z.number(),
      changes: z.array(z.string().min(1)).max(KEPT_CHANGES),
    })
    // A file of an earlier build has no history.
    .default({ count: 0, since: 0, changes: [] }),
});

/** All that is in the file. */
export interface Contents {
  readonly records: ReadonlyMap<string, SealedRecord>;
  readonly uses: ReadonlyMap<string, number>;
  readonly history: FileHistory;
}

/**
 * How many changes the file has seen, and the names of the last ones. They show whether an older
 * copy was put in its place.
 */
export interface FileHistory extends Pick<StoreState, 'count' | 'since'> {
  readonly changes: readonly string[];
}

/** A store without records. */
export const NOTHING: Contents = {
  records: new Map(),
  uses: new Map(),
  history: { count: 0, since: 0, changes: [] },
};

/** Adds a change to a history. */
export function withChange({ count, since, changes }: FileHistory): FileHistory {
  const change = randomBytes(12).toString('base64url');
  return { count: count + 1, since, changes: [...changes, change].slice(-KEPT_CHANGES) };
}

/** Begins a history again: of a new store, or of a copy that was accepted. */
export function begun(history: FileHistory): FileHistory {
  return withChange({ ...history, since: Math.max(Date.now(), history.since + 1) });
}

/** What the file answers to a process that has seen it before. */
export function lookAt({ count, since, changes }: FileHistory, { last }: StoreState): StoreLook {
  return { count, since, last: changes.at(-1) ?? '', isKnown: changes.includes(last) };
}

const NOT_A_FILE = 'it is no regular file; give the path of one, or of none yet';

/**
 * Reads the file; `undefined` if there is none.
 *
 * @throws KeyStoreError `ERR_STORE_UNFIT`, `ERR_RECORD_UNREADABLE`
 */
export async function readContents(path: string): Promise<Contents | undefined> {
  // If the path leads to a pipe, reading must not wait for a writer.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  const file = await open(path, flags).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    if (error.code === 'EACCES')
      throw unfit(path, 'this user may not read it; run as its owner, or chown it', error);
    // The path leads to a socket.
    if (error.code === 'ENXIO') throw unfit(path, NOT_A_FILE, error);
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const found = await file.stat();
    if (!found.isFile()) throw unfit(path, NOT_A_FILE);
    if (process.platform !== 'win32' && (found.mode & 0o077) !== 0)
      throw unfit(path, 'others may read or write it; chmod 600 it');
    const { records, uses, history } = parse(path, await file.readFile('utf8'));
    return {
      records: new Map(Object.entries(records)),
      uses: new Map(Object.entries(uses)),
      history,
    };
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

/**
 * Writes a draft beside the file, then renames it. If the process dies in between, the old file
 * stays as it was.
 *
 * @param check makes sure at the last moment that this process may still write
 * @throws KeyStoreError `ERR_STORE_UNFIT`, and what `check` throws
 */
export async function writeContents(
  path: string,
  { records, uses, history }: Contents,
  check: () => Promise<void>,
): Promise<void> {
  // This process holds the lock, so all drafts are left over.
  await sweep(path, ENDING);
  const text = JSON.stringify(
    {
      format: FORMAT,
      records: Object.fromEntries(records),
      uses: Object.fromEntries(uses),
      history,
    },
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

/** Refuses to replace a file of another user: that user could not read the new one. */
async function checkOwner(path: string, draft: string): Promise<void> {
  const present = await stat(path).catch(() => undefined);
  if (present === undefined || present.uid === (await stat(draft)).uid) return;
  throw unfit(path, `it belongs to user ${present.uid}; write to it as that user, or as root`);
}

/** Flushes the folder: only then is the new name safe on disk. Not all systems can do that. */
async function syncFolder(path: string): Promise<void> {
  let folder: FileHandle | undefined;
  try {
    folder = await open(path, 'r');
    await folder.sync();
  } catch {
    // Windows cannot open folders.
  } finally {
    await folder?.close();
  }
}
