import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, readdir, readlink, symlink } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { generateMasterKey } from '@countersign/server';
import { masterKeyFile } from '@countersign/server/file';
import { describe, expect, it, onTestFinished } from 'vitest';
import { placeOf } from '../../../src/keys/file/file-place.ts';
import { judge } from '../key-store-contract.ts';
import { newFolder, openFile } from './file-support.ts';

const masterKey = generateMasterKey();

/** Two folders, and in one of them a link to a file of the other. */
async function newLink(): Promise<{ app: string; real: string; link: string; file: string }> {
  const folder = await newFolder();
  const [app, real] = [join(folder, 'app'), join(folder, 'real')];
  await Promise.all([mkdir(app), mkdir(real)]);
  const link = join(app, 'keys.json');
  await symlink('../real/store.json', link);
  return { app, real, link, file: join(real, 'store.json') };
}

describe('FileKeyStore behind a link', () => {
  it('is one store, by whichever name: what is revoked by one is revoked by the other', async () => {
    const { app, real, link, file } = await newLink();
    const byLink = openFile({ path: link, masterKey });
    const byFile = openFile({ path: file, masterKey });
    const key = await byFile.create();
    expect(await judge(byLink, key)).toBe('accepted');
    await byLink.revoke({ accessKeyId: key.accessKeyId });
    expect((await lstat(link)).isSymbolicLink()).toBe(true);
    for (const path of [link, file])
      expect((await openFile({ path, masterKey }).show(key.accessKeyId))?.status).toBe('revoked');
    expect(await readdir(app)).toEqual(['keys.json']);
    expect(await readdir(real)).toEqual(['store.json']);
  });

  it('has its lock where the file is', async () => {
    const { app, real, link } = await newLink();
    const seen: string[][] = [];
    const keys = openFile({
      path: link,
      // Asked for in the middle of a change.
      masterKey: async () => {
        seen.push(await readdir(app), await readdir(real));
        return masterKey;
      },
    });
    await keys.createEmpty();
    seen.length = 0;
    await keys.create();
    expect(seen).toEqual([['keys.json'], ['store.json', 'store.json.lock']]);
  });

  it('is made where a link points to that leads nowhere yet', async () => {
    const { real, link, file } = await newLink();
    const second = join(real, '..', 'second.json');
    await symlink(link, second);
    const key = await openFile({ path: second, masterKey }).create();
    expect(await readlink(link)).toBe('../real/store.json');
    expect((await lstat(file)).isFile()).toBe(true);
    expect(await judge(openFile({ path: file, masterKey }), key)).toBe('accepted');
  });
});

describe('FileKeyStore at something that is no file', () => {
  const make: Record<string, (path: string) => unknown> = {
    'a folder': (path) => mkdir(path),
    'a pipe without a writer': (path) => spawnSync('sh', ['-c', 'mkfifo -m 600 "$0"', path]),
    'a socket': async (path) => {
      const server = createServer().listen(path);
      onTestFinished(() => void server.close());
      await once(server, 'listening');
    },
  };

  it.each(Object.keys(make))('refuses %s, and says so', async (what) => {
    const folder = await newFolder();
    const path = join(folder, 'keys.json');
    await make[what]?.(path);
    const keys = openFile({ path, masterKey });
    for (const act of [() => keys.list(), () => keys.create()])
      await expect(act()).rejects.toMatchObject({
        code: 'ERR_STORE_UNFIT',
        message: `Cannot use key store "${path}": it is no regular file; give the path of one, or of none yet`,
      });
    expect(await readdir(folder)).toEqual(['keys.json']);
  });
});

describe('placeOf()', () => {
  it('follows links of folders as the system does', async () => {
    const { app, real } = await newLink();
    await mkdir(join(real, 'deep'));
    await symlink('../real/deep', join(app, 'here'));
    // One above `app/here` is `real`, and not `app`.
    await symlink('here/../later.json', join(app, 'later'));
    expect(await placeOf(join(app, 'later'))).toBe(join(real, 'later.json'));
    expect(await placeOf(join(app, 'here', 'keys.json'))).toBe(join(real, 'deep', 'keys.json'));
  });

  it('does not follow links for ever', async () => {
    const { app } = await newLink();
    await symlink('two', join(app, 'one'));
    await symlink('one', join(app, 'two'));
    await expect(placeOf(join(app, 'one'))).rejects.toMatchObject({ code: 'ELOOP' });
  });
});

it('A store and its master key stay where they are when the process changes its folder', async () => {
  const [folder, elsewhere] = [await newFolder(), await newFolder()];
  const before = process.cwd();
  onTestFinished(() => process.chdir(before));
  process.chdir(folder);
  const keys = openFile({ path: 'keys.json', masterKey: masterKeyFile('master-key') });
  const key = await keys.create();
  process.chdir(elsewhere);
  expect(await judge(keys, await keys.create())).toBe('accepted');
  expect(await judge(keys, key)).toBe('accepted');
  expect(await keys.list()).toHaveLength(2);
  expect(await readdir(elsewhere)).toEqual([]);
  expect((await readdir(folder)).sort()).toEqual(['keys.json', 'master-key']);
});
