import { lstat, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, sep } from 'node:path';
import { quote } from '@countersign/shared';
import { KeyStoreError } from '../key-store-error.ts';

/**
 * Where a file really is, or shall be, whatever links lead there: what is put in the place of a link makes two files of one, and
 * who comes by another link must find the same lock.
 *
 * @throws KeyStoreError `ERR_STORE_UNFIT` where root would follow somebody's link to what is not theirs
 */
export async function placeOf(path: string): Promise<string> {
  const place = await follow(path);
  if (process.geteuid?.() === 0) await checkLink(path, place);
  return place;
}

/** Whoever may put a link into a folder could else have root write wherever they like. */
async function checkLink(path: string, place: string): Promise<void> {
  const link = await lstat(path).catch(() => undefined);
  if (!link?.isSymbolicLink() || link.uid === 0) return;
  const { uid } = await stat(place).catch(() => stat(dirname(place)));
  if (uid !== link.uid)
    throw new KeyStoreError(
      'ERR_STORE_UNFIT',
      `Cannot use key store ${quote(path, 200)}: it is a link of user ${link.uid} to what belongs to user ${uid}; name the file itself`,
    );
}

async function follow(path: string): Promise<string> {
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
  return follow(isAbsolute(target) ? target : `${folder}${sep}${target}`);
}
