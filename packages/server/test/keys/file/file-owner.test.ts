import { chmod, chown, readdir, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateMasterKey } from '@countersign/server';
import { masterKeyFile } from '@countersign/server/file';
import { describe, expect, it, onTestFinished } from 'vitest';
import { withLock } from '../../../src/keys/file/file-lock.ts';
import { judge } from '../key-store-contract.ts';
import { newFolder, openFile } from './file-support.ts';

const masterKey = generateMasterKey();
/** The user of a server, and another user. */
const SERVICE = 65_534;
const OTHER = 65_533;

/** Makes this process one of another user, until it is made root's again or the test is over. */
function become(user: number): void {
  const process = globalThis.process as Required<NodeJS.Process>;
  process.seteuid(0);
  process.setegid(user);
  process.seteuid(user);
}
const becomeRoot = (): void => become(0);

async function newFolderOf(user: number): Promise<string> {
  const folder = await newFolder();
  await chown(folder, user, user);
  // Before the folder is removed.
  onTestFinished(becomeRoot);
  return folder;
}

const ownerOf = async (path: string): Promise<number[]> => {
  const { uid, gid } = await stat(path);
  return [uid, gid];
};

/** Only root can become another user. */
describe.runIf(process.getuid?.() === 0)('FileKeyStore of a user', () => {
  it('stays his when root writes to it', async () => {
    const path = join(await newFolderOf(SERVICE), 'keys.json');
    become(SERVICE);
    const server = openFile({ path, masterKey });
    const key = await server.create();
    becomeRoot();
    await openFile({ path, masterKey }).revoke({ accessKeyId: key.accessKeyId });
    expect(await ownerOf(path)).toEqual([SERVICE, SERVICE]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    become(SERVICE);
    expect(await judge(server, key)).toBe('ERR_KEY_INACTIVE: it is revoked');
    expect(await judge(server, await server.create())).toBe('accepted');
  });

  it('is his where root makes it, and so is its master key', async () => {
    const folder = await newFolderOf(SERVICE);
    const [path, master] = [join(folder, 'keys.json'), join(folder, 'keys.json.master-key')];
    const key = await openFile({ path, masterKey: masterKeyFile(master) }).create();
    for (const made of [path, master]) expect(await ownerOf(made)).toEqual([SERVICE, SERVICE]);
    become(SERVICE);
    const server = openFile({ path, masterKey: masterKeyFile(master) });
    expect(await judge(server, key)).toBe('accepted');
    expect(await judge(server, await server.create())).toBe('accepted');
  });

  it('gives him no way to have root write elsewhere', async () => {
    const [folder, elsewhere] = [await newFolderOf(SERVICE), await newFolder()];
    const path = join(folder, 'keys.json');
    for (const target of [join(elsewhere, 'nologin'), join(folder, 'real.json')]) {
      await rm(path, { force: true });
      become(SERVICE);
      await symlink(target, path);
      becomeRoot();
      const made = openFile({ path, masterKey }).create();
      // His link to what is his is followed.
      if (target.startsWith(folder)) await made;
      else await expect(made).rejects.toMatchObject({ code: 'ERR_STORE_UNFIT' });
    }
    expect(await readdir(elsewhere)).toEqual([]);
    expect(await ownerOf(join(folder, 'real.json'))).toEqual([SERVICE, SERVICE]);
  });

  it('stays with its owner in a folder of another user', async () => {
    const folder = await newFolderOf(OTHER);
    const path = join(folder, 'keys.json');
    await openFile({ path, masterKey }).create();
    await chown(path, SERVICE, SERVICE);
    await openFile({ path, masterKey }).create();
    expect(await ownerOf(path)).toEqual([SERVICE, SERVICE]);
  });

  it('is locked by root so that he can read whose lock it is', async () => {
    const path = join(await newFolderOf(SERVICE), 'keys.json.lock');
    await withLock(path, async () => expect(await ownerOf(path)).toEqual([SERVICE, SERVICE]));
  });

  it('is not kept from him by a lock that he cannot read, once that is stale', async () => {
    const folder = await newFolderOf(SERVICE);
    const path = join(folder, 'keys.json');
    await writeFile(`${path}.lock`, '{}', { mode: 0o600 });
    const longAgo = new Date(Date.now() - 20_000);
    await utimes(`${path}.lock`, longAgo, longAgo);
    become(SERVICE);
    await openFile({ path, masterKey }).create();
    expect(await readdir(folder)).toEqual(['keys.json']);
  });

  it('is not read by others, who are told what to do', async () => {
    const folder = await newFolderOf(SERVICE);
    await chmod(folder, 0o777);
    const path = join(folder, 'keys.json');
    await openFile({ path, masterKey }).create();
    become(OTHER);
    const others = openFile({ path, masterKey });
    for (const act of [() => others.list(), () => others.create()])
      await expect(act()).rejects.toMatchObject({
        code: 'ERR_STORE_UNFIT',
        message: `Cannot use key store "${path}": this user may not read it; run as its owner, or chown it`,
      });
    expect(await readdir(folder)).toEqual(['keys.json']);
  });

  it('is not replaced by a file of others', async () => {
    const folder = await newFolderOf(OTHER);
    const path = join(folder, 'keys.json');
    const master = async (id?: string): Promise<string> => {
      // In the middle of a change the file is given to another user.
      if (id === undefined) {
        becomeRoot();
        await chown(path, SERVICE, SERVICE);
        become(OTHER);
      }
      return masterKey;
    };
    become(OTHER);
    const key = await openFile({ path, masterKey }).create();
    await expect(openFile({ path, masterKey: master }).create()).rejects.toMatchObject({
      code: 'ERR_STORE_UNFIT',
      message: `Cannot use key store "${path}": it belongs to user ${SERVICE}; write to it as that user, or as root`,
    });
    becomeRoot();
    expect(await ownerOf(path)).toEqual([SERVICE, SERVICE]);
    expect(await openFile({ path, masterKey }).list()).toMatchObject([
      { accessKeyId: key.accessKeyId },
    ]);
    expect(await readdir(folder)).toEqual(['keys.json']);
  });
});
