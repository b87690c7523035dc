import { readlink, realpath } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, sep } from 'node:path';

/**
 * Where a file really is, or shall be, whatever links lead there: what is put in the place of a link makes two files of one, and
 * who comes by another link must find the same lock.
 */
export async function placeOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const folder = await realpath(dirname(path));
  // A link to a file that is not there yet: it shall be made where that points to.
  const target = await readlink(path).catch(() => undefined);
  if (target === undefined) return join(folder, basename(path));
  // Not joined: what is above a folder that is itself a link only the system can tell.
  return placeOf(isAbsolute(target) ? target : `${folder}${sep}${target}`);
}
