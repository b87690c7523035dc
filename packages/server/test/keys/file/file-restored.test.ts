import { copyFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { generateMasterKey } from '@countersign/server';
import { NOW } from '../../../../../test/support/now.ts';
import { restoredStoreContract } from '../key-restored-contract.ts';
import { newFolder, openFile } from './file-support.ts';

const masterKey = generateMasterKey();

restoredStoreContract('FileKeyStore', async () => {
  const folder = await newFolder();
  const path = join(folder, 'keys.json');
  let copies = 0;
  return {
    open: () => openFile({ path, masterKey, clock: () => NOW }),
    async copy() {
      const copy = join(folder, `${++copies}.backup`);
      await copyFile(path, copy);
      return async (meanwhile) => {
        await copyFile(copy, `${copy}.restored`);
        await rename(`${copy}.restored`, path);
        await meanwhile?.();
      };
    },
  };
});
