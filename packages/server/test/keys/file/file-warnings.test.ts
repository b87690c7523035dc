import { chmod, copyFile, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateMasterKey, type OperatorWarning, type WarningCode } from '@countersign/server';
import { FileKeyStore } from '@countersign/server/file';
import { afterEach, expect, it, onTestFinished, vi } from 'vitest';
import { until } from '../../../../../test/support/deadline.ts';

const masterKey = generateMasterKey();

afterEach(() => void vi.restoreAllMocks());

/** A store with a key, and what it tells its operator. */
async function begin() {
  const folder = await mkdtemp(join(tmpdir(), 'countersign-warnings-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'keys.json');
  const told: OperatorWarning[] = [];
  const onWarning = (warning: OperatorWarning) => void told.push(warning);
  const open = () => {
    const store = new FileKeyStore({ path, masterKey, onWarning });
    onTestFinished(() => store.close());
    return store;
  };
  const keys = open();
  const key = await keys.create({ subject: 'alice' });
  await keys.find(key.accessKeyId);
  const real = performance.now.bind(performance);
  let ahead = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => real() + ahead);
  return {
    folder,
    path,
    keys,
    key,
    told,
    open,
    move: (seconds: number) => {
      ahead += seconds * 1000;
    },
    of: (code: WarningCode) => told.filter((it) => it.code === code),
    come: (code: WarningCode, count: number) =>
      until(
        () => told.filter((it) => it.code === code).length >= count,
        `${code} did not come ${count} times`,
      ),
    /** Questions, whatever becomes of them. */
    askOften: async () => {
      for (let asked = 0; asked < 5; asked++) await keys.list().catch(() => undefined);
    },
    works: () =>
      until(
        () =>
          keys.list().then(
            () => true,
            () => false,
          ),
        'the store does not work again',
      ),
  };
}

/** In one step: a store that looked in the middle would rightly report what it saw. */
async function replace(path: string, copy: string): Promise<void> {
  await writeFile(`${path}.new`, await readFile(copy), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

it.each<[string, WarningCode, string, (path: string) => Promise<unknown>]>([
  ['is removed', 'COUNTERSIGN_KEY_STORE_EMPTY', 'its file was removed', (path) => rm(path)],
  [
    'is no key store any more',
    'COUNTERSIGN_KEY_STORE_UNREACHABLE',
    'it is not a file of format',
    (path) => writeFile(path, '{'),
  ],
  [
    'others may read',
    'COUNTERSIGN_KEY_STORE_UNFIT',
    'others may read or write it',
    (path) => chmod(path, 0o644),
  ],
])('a file that %s is reported once without a request, and again', async (_, code, why, harm) => {
  const { path, folder, told, of, come, askOften, works, move, keys } = await begin();
  const copy = join(folder, 'copy');
  await copyFile(path, copy);
  const mend = async () => {
    await replace(path, copy);
    await works();
  };
  await harm(path);
  await come(code, 1);
  await askOften();
  expect(of(code)).toMatchObject([{ message: expect.stringContaining(why) }]);
  await mend();
  move(61);
  await harm(path);
  await come(code, 2);
  await askOften();
  expect(of(code)).toHaveLength(2);
  expect(told.every((it) => it.code === code)).toBe(true);
  await mend();
  expect(await keys.list()).toHaveLength(1);
});

it('an older copy is reported once, and again', async () => {
  const CODE = 'COUNTERSIGN_KEY_STORE_WENT_BACK';
  const { path, folder, keys, told, of, come, askOften, move } = await begin();
  for (const round of [1, 2]) {
    const copy = join(folder, `copy-${round}`);
    await copyFile(path, copy);
    await keys.create();
    await keys.list();
    await replace(path, copy);
    await come(CODE, round);
    await askOften();
    expect(of(CODE)).toHaveLength(round);
    await keys.acceptRestore();
    await keys.list();
    move(61);
  }
  expect(told).toHaveLength(2);
});

it('uses that cannot be noted are reported', async () => {
  const { path, keys, key, of } = await begin();
  keys.recordUse(key.accessKeyId, 1);
  await rm(path);
  await keys.close();
  expect(of('COUNTERSIGN_KEY_USE_NOT_RECORDED')).toHaveLength(1);
});
