import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

const RANDOM = /^[0-9a-f]{16}$/;

/** A name beside a file, and nobody else's: who has lost the lock, and does not know it yet, must not get at another's. */
export function draftOf(path: string, ending: string): string {
  return `${path}.${randomBytes(8).toString('hex')}${ending}`;
}

/** Takes away what processes have left that were killed while they wrote: what {@link draftOf} has named, and nothing else. */
export async function sweep(path: string, ending: string): Promise<void> {
  const folder = dirname(path);
  const start = `${basename(path)}.`;
  for (const name of await readdir(folder)) {
    const isDraft =
      name.startsWith(start) &&
      name.endsWith(ending) &&
      RANDOM.test(name.slice(start.length, name.length - ending.length));
    if (isDraft) await rm(join(folder, name), { force: true });
  }
}
