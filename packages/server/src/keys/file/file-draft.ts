import { randomBytes } from 'node:crypto';
import { type FileHandle, link, open, readdir, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

const RANDOM = /^[0-9a-f]{16}$/;

interface DraftOptions {
  /** What its name ends in. */
  readonly ending?: string;
  /** Whether it must outlive a loss of power. */
  readonly flush?: boolean;
}

/**
 * Writes beside a file what shall take its place. If it is not put there nothing is left of it.
 *
 * @param act puts it in its place
 */
export async function withDraft<T>(
  path: string,
  text: string,
  { ending = '', flush = false }: DraftOptions,
  act: (draft: string) => Promise<T>,
): Promise<T> {
  // A name of its own: who has lost the lock, and does not know it yet, must not get at another's.
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

/** What root writes goes to whose file it replaces, or whose folder it is new in: servers run as others, and must read it. */
async function give(draft: FileHandle, path: string): Promise<void> {
  if (process.geteuid?.() !== 0) return;
  const { uid, gid } = await stat(path).catch(() => stat(dirname(path)));
  // Not every root may, as in a container: then it stays root's, as it would be everybody else's who writes it.
  await draft.chown(uid, gid).catch(() => undefined);
}

/** Makes a file that appears whole, or not at all, and never in place of another. It says whether it did. */
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
      // Gone where this process was held up for so long that another has swept.
      if (code !== 'EEXIST' && code !== 'ENOENT') throw error;
      return false;
    }
  });
}

/**
 * Takes away the drafts of a file that processes have left which were killed while they wrote, and nothing else.
 *
 * @param age milliseconds: where others may be writing, how old a draft is that is nobody's any more
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
    // One that somebody else has left in a folder where only he may take it away stays.
    if (isDraft && (await isOlder(draft, age)))
      await rm(draft, { force: true }).catch(() => undefined);
  }
}

/** Also of a time that lies ahead: the clock was put right since. */
async function isOlder(path: string, age: number): Promise<boolean> {
  const made = await stat(path).catch(() => undefined);
  return made !== undefined && Math.abs(Date.now() - made.mtimeMs) >= age;
}
