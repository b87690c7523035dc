import { randomBytes } from 'node:crypto';
import { chown, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { quote } from '@countersign/shared';
import { OperationError } from '../lib/errors.ts';
import { isMasterKey } from '../store/master-key-provider.ts';

/**
 * Adds a master key as the first line of a file, so that it seals from then on. Only the owner can
 * read the file.
 *
 * @throws OperationError `ERR_MASTER_KEY_FILE`
 */
export async function addMasterKeyTo(path: string, id: string, key: string): Promise<void> {
  try {
    const before = await readIfThere(path);
    if (!before.split(/\r?\n/).every((line) => line === '' || isMasterKey(line)))
      throw new Error('it holds something other than master keys; name another file');
    // The new key would hide the old one of this id, and nothing sealed with that could be read.
    if (before.split(/\r?\n/).some((line) => line.startsWith(`${id}:`)))
      throw new Error(`it already has a master key ${quote(id)}; give another --id`);
    await replace(path, `${key}\n${before}`);
  } catch (cause) {
    throw new OperationError(
      'ERR_MASTER_KEY_FILE',
      `Cannot add a master key to ${quote(path, 200)}: ${(cause as Error).message}`,
      { cause },
    );
  }
}

async function readIfThere(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
}

/** Replaces the file in one step: a server reads the old content or the new one, never a part. */
async function replace(path: string, text: string): Promise<void> {
  const place = await realpath(path).catch(() => path);
  const draft = `${place}.${randomBytes(8).toString('hex')}`;
  try {
    await writeFile(draft, text, { mode: 0o600, flag: 'wx', flush: true });
    if (process.geteuid?.() === 0) {
      // Keep the owner of the file: the server that reads it rarely runs as root.
      const { uid, gid } = await stat(place).catch(() => stat(dirname(place)));
      await chown(draft, uid, gid).catch(() => undefined);
    }
    await rename(draft, place);
  } finally {
    await rm(draft, { force: true });
  }
}
