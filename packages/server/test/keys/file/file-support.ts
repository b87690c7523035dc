import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileKeyStore } from '@countersign/server/file';
import { onTestFinished } from 'vitest';

/** A folder, until the test is over. */
export async function newFolder(): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'countersign-keys-')));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

/** A store as a server has one, until the test is over. */
export function openFile(...[options]: ConstructorParameters<typeof FileKeyStore>): FileKeyStore {
  const keys = new FileKeyStore(options);
  onTestFinished(() => keys.close());
  return keys;
}
