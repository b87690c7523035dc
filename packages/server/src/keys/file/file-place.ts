import { lstat, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, sep } from 'node:path';
import { quote } from '@countersign/shared';
import { KeyStoreError } from '../key-store-error.ts';

/**
 * The real path of a file, which need not exist yet. A rename onto a link would make a second file.
 * And processes that use different links to one file must find the same lock.
 *
 * @throws KeyStoreError `ERR_STORE_UNFIT` if root would follow a user's link to a file of another
 *   user
 */
export async function placeOf(path: string): Promise<string> {
  const place = await follow(path);
  if (process.geteuid?.() === 0) await checkLink(path, place);
  return place;
}

/** Without this check, a user who may put a link into the folder could make root write anywhere. */
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
  // A link to a file that does not exist yet: the file is created where the link points to.
  const target = await readlink(path).catch(() => undefined);
  if (target === undefined) return join(folder, basename(path));
  // Not join(): if a folder is itself a link, only the system knows what is above it.
  return follow(isAbsolute(target) ? target : `${folder}${sep}${target}`);
}
