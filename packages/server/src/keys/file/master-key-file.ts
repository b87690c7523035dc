import { mkdir, readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { describeValue, quote } from '@countersign/shared';
import { generateMasterKey } from '../master-keys.ts';
import { create } from './file-draft.ts';

/**
 * Master keys in a file of their own, one per line; the first one seals. It is made when it is first asked for, readable by its
 * owner only. To rotate, put a new line on top, and call `rewrap()`. A line that is taken away opens nothing any more, a minute later.
 * The file tells all keys that there are, so ids that strangers make up cost nothing.
 *
 * @param path where it is, or shall be: not where backups of the key store go
 * @returns a provider of master keys; it throws where the file cannot be read, or others may read it
 * @throws TypeError if the path is none
 *
 * @example
 * ```ts no-run
 * import { FileKeyStore, masterKeyFile } from '@countersign/server/file';
 *
 * const keys = new FileKeyStore({ path: 'keys.json', masterKey: masterKeyFile('/etc/video-api/master-key') });
 * ```
 */
export function masterKeyFile(
  path: string,
): (id: string | undefined) => Promise<readonly string[]> {
  if (typeof path !== 'string' || path === '')
    throw new TypeError(`Cannot use master key file ${describeValue(path)}: expected a path`);
  // Now: where the process changes its folder another key must not be made there.
  const file = resolve(path);
  return async (id) => {
    const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      // To open, it is too late to make one.
      if (error.code !== 'ENOENT' || id !== undefined) throw error;
      return make(file);
    });
    const { mode } = await stat(file);
    if (process.platform !== 'win32' && (mode & 0o077) !== 0)
      throw new Error(`others may read ${quote(path)}: chmod 600 it`);
    return text.split(/\r?\n/).filter((line) => line !== '');
  };
}

/** Of two processes that make it at once both use the same. */
async function make(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await create(path, `${generateMasterKey()}\n`, { flush: true });
  return readFile(path, 'utf8');
}
