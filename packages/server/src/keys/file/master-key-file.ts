import { mkdir, readFile, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { describeValue, quote } from '@countersign/shared';
import { generateMasterKey } from '../master-keys.ts';
import { create } from './file-draft.ts';

/**
 * Master keys in a file of their own, one per line; the first one seals. The file is created when a
 * key is first needed, readable by its owner only. To rotate, put a new line on top, and call
 * `rewrap()`. If a line is removed, its key opens nothing a minute later. The file lists all keys,
 * so ids that attackers make up cost nothing.
 *
 * @param path of the file; keep it out of backups of the key store
 * @returns a provider of master keys; it throws if the file cannot be read, or other users may read
 *   it
 * @throws TypeError if `path` is no path
 *
 * @example
 * ```ts no-run
 * import { FileKeyStore, masterKeyFile } from '@countersign/server/file';
 *
 * const masterKey = masterKeyFile('/etc/video-api/master-key');
 * const keys = new FileKeyStore({ path: 'keys.json', masterKey });
 * ```
 */
export function masterKeyFile(
  path: string,
): (id: string | undefined) => Promise<readonly string[]> {
  if (typeof path !== 'string' || path === '')
    throw new TypeError(`Cannot use master key file ${describeValue(path)}: expected a path`);
  // Resolved now: if the process changes its working directory, it must not create another key
  // there.
  const file = resolve(path);
  return async (id) => {
    const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
      // A new key could not open what is sealed already.
      if (error.code !== 'ENOENT' || id !== undefined) throw error;
      return make(file);
    });
    const { mode } = await stat(file);
    if (process.platform !== 'win32' && (mode & 0o077) !== 0)
      throw new Error(`others may read ${quote(path)}: chmod 600 it`);
    return text.split(/\r?\n/).filter((line) => line !== '');
  };
}

/** Creates the file. If two processes do so at once, both use the same key. */
async function make(path: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await create(path, `${generateMasterKey()}\n`, { flush: true });
  return readFile(path, 'utf8');
}
