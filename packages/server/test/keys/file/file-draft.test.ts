import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateMasterKey } from '@countersign/server';
import { describe, expect, it } from 'vitest';
import { create, sweep } from '../../../src/keys/file/file-draft.ts';
import { newFolder, openFile } from './file-support.ts';

const masterKey = generateMasterKey();
/** Eight random bytes, as they are in the names of drafts. */
const RANDOM = '0123456789abcdef';

describe('Drafts of a store', () => {
  it('that were left are removed, and no other files', async () => {
    const folder = await newFolder();
    const theirs = [
      'keys.json.next',
      'keys.json.what-to-do.next',
      `keys.json.${RANDOM}`,
      `keys.json.${RANDOM.toUpperCase()}.next`,
      `keys.json.${RANDOM}0.next`,
      `keys.json.staging.${RANDOM}.next`,
      `old-keys.json.${RANDOM}.next`,
      `keysxjson.${RANDOM}.next`,
    ];
    for (const name of [...theirs, `keys.json.${RANDOM}.next`])
      await writeFile(join(folder, name), 'mine');
    await openFile({ path: join(folder, 'keys.json'), masterKey }).create();
    expect((await readdir(folder)).sort()).toEqual(['keys.json', ...theirs].sort());
  });

  it('are left alone by a store beside it whose name begins alike', async () => {
    const folder = await newFolder();
    const names = ['keys.json', 'keys.json.staging', 'keys.json.next'];
    const stores = names.map((name) => openFile({ path: join(folder, name), masterKey }));
    await Promise.all(stores.flatMap((keys) => Array.from({ length: 20 }, () => keys.create())));
    for (const keys of stores) expect(await keys.list()).toHaveLength(20);
    expect((await readdir(folder)).sort()).toEqual(names.sort());
  });
});

describe('create()', () => {
  it('makes a file whole, and never in place of another', async () => {
    const folder = await newFolder();
    const path = join(folder, 'lock');
    const made = await Promise.all(
      Array.from({ length: 10 }, (_, index) => create(path, `${index}`.repeat(1_000))),
    );
    expect(made.filter(Boolean)).toHaveLength(1);
    expect(await readFile(path, 'utf8')).toBe(`${made.indexOf(true)}`.repeat(1_000));
    expect(await readdir(folder)).toEqual(['lock']);
  });

  it('leaves nothing where it cannot be written to the end, as on a full disk', async () => {
    const folder = await newFolder();
    async function* breakOff(): AsyncGenerator<string> {
      yield 'half of';
      throw new Error('ENOSPC');
    }
    const text = breakOff() as unknown as string;
    await expect(create(join(folder, 'lock'), text)).rejects.toThrow('ENOSPC');
    expect(await readdir(folder)).toEqual([]);
  });

  it('makes nothing of a draft that another process has swept meanwhile', async () => {
    const folder = await newFolder();
    const path = join(folder, 'lock');
    async function* heldUp(): AsyncGenerator<string> {
      yield 'text';
      await sweep(path);
    }
    expect(await create(path, heldUp() as unknown as string)).toBe(false);
    expect(await readdir(folder)).toEqual([]);
  });
});
