import { randomBytes } from 'node:crypto';
import { type FileHandle, link, open, readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

const RANDOM = /^[0-9a-f]{16}$/;

interface DraftOptions {
  /** The ending of its name. */
  readonly ending?: string;
  /** Whether it must survive a loss of power. */
  readonly flush?: boolean;
}

/**
 * Writes a draft beside a file that it is to replace. If `act` does not put it in place, the draft
 * is removed.
 *
 * @param act puts the draft in its place
 */
export async function withDraft<T>(
  path: string,
  text: string,
  { ending = '', flush = false }: DraftOptions,
  act: (draft: string) => Promise<T>,
): Promise<T> {
  // A name of its own: a process that has lost the lock unnoticed must not touch another's
  // draft.
  const draft = `${path}.${randomBytes(8).toString('hex')}${ending}`;
  try {
    const file = await open(draft, 'wx', 0o600);
    try {
      await give(file, path);
      await file.writeFile(text);
      if (flush) await file.sync();
    } finally {
      await file.close();
    }
    return await act(draft);
  } finally {
    await rm(draft, { force: true });
  }
}

/**
 * If root writes, gives the draft to the owner of the file or of the folder. Servers run as that
 * user, and must read it.
 */
async function give(draft: FileHandle, path: string): Promise<void> {
  if (process.geteuid?.() !== 0) return;
  const { uid, gid } = await stat(path).catch(() => stat(dirname(path)));
  // Root may lack the right, as in a container. Then the draft stays root's.
  await draft.chown(uid, gid).catch(() => undefined);
}

/**
 * Creates a file completely or not at all, and never replaces one.
 *
 * @returns whether it created the file
 */
export async function create(
  path: string,
  text: string,
  options: DraftOptions = {},
): Promise<boolean> {
  return withDraft(path, text, options, async (draft) => {
    try {
      await link(draft, path);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // The draft is gone if another process has swept while this one was held up.
      if (code !== 'EEXIST' && code !== 'ENOENT') throw error;
      return false;
    }
  });
}

/**
 * Removes the drafts of a file that killed processes have left, and nothing else.
 *
 * @param age milliseconds; if other processes may be writing, only drafts older than this are
 *   removed
 */
export async function sweep(path: string, ending = '', age = 0): Promise<void> {
  const folder = dirname(path);
  const start = `${basename(path)}.`;
  for (const name of await readdir(folder)) {
    const isDraft =
      name.startsWith(start) &&
      name.endsWith(ending) &&
      RANDOM.test(name.slice(start.length, name.length - ending.length));
    const draft = join(folder, name);
    // In a folder where only the owner may remove files, a draft of another user stays.
    if (isDraft && (await isOlder(draft, age)))
      await rm(draft, { force: true }).catch(() => undefined);
  }
}

/**
 * Whether a file is older than `age`. A time in the future counts too: the clock was corrected
 * since.
 */
async function isOlder(path: string, age: number): Promise<boolean> {
  const made = await stat(path).catch(() => undefined);
  return made !== undefined && Math.abs(Date.now() - made.mtimeMs) >= age;
}
