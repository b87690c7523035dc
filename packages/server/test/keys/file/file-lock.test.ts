import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { withLock } from '../../../src/keys/file/file-lock.ts';

async function newLock(): Promise<{ folder: string; path: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'countersign-lock-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return { folder, path: join(folder, 'lock') };
}

/** Eight random bytes, as they are in the names of drafts. */
const RANDOM = '0123456789abcdef';

/** A file that was made so many milliseconds ago. */
async function makeOld(path: string, age: number, text = ''): Promise<void> {
  await writeFile(path, text);
  await utimes(path, new Date(Date.now() - age), new Date(Date.now() - age));
}

/** A process that is no more. */
const dead = (): number => spawnSync('true').pid;

/** What a lock says of whose it is: of this process, if not said otherwise. */
async function owner(changes: object): Promise<string> {
  const { path } = await newLock();
  const own = await withLock(path, () => readFile(path, 'utf8'));
  return JSON.stringify({ ...JSON.parse(own), token: 'x', ...changes });
}

describe('withLock()', () => {
  it('lets one at a time, and leaves nothing', async () => {
    const { folder, path } = await newLock();
    let inside = 0;
    let most = 0;
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        withLock(path, async (check) => {
          most = Math.max(most, ++inside);
          await sleep(1);
          await check();
          inside--;
          return index;
        }),
      ),
    );
    expect(most).toBe(1);
    expect(results).toEqual(Array.from({ length: 20 }, (_, index) => index));
    expect(await readdir(folder)).toEqual([]);
  });

  it('is let go of where what is done under it fails', async () => {
    const { path } = await newLock();
    await expect(withLock(path, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await withLock(path, async () => 'next')).toBe('next');
  });

  it.each([
    ['a process that is no more', () => owner({ pid: dead() })],
    ['another machine, long ago', () => owner({ host: 'elsewhere', since: Date.now() - 11_000 })],
    ['this machine, and was held up', () => owner({ since: Date.now() - 11_000 })],
    ['a clock that was set back', () => owner({ since: Date.now() + 3_600_000 })],
    ['an owner without a valid time', () => owner({ since: 'yesterday' })],
  ])('takes away the lock of %s', async (_, text) => {
    const { folder, path } = await newLock();
    await writeFile(path, await text());
    const all = await Promise.all(
      Array.from({ length: 5 }, (_, index) => withLock(path, async () => index)),
    );
    expect(all).toHaveLength(5);
    expect(await readdir(folder)).toEqual([]);
  });

  it.each([
    ['', 20_000],
    [', as a clock said that was ahead', -86_400_000],
  ])('removes a guard that a killed process left%s', async (_, age) => {
    const { folder, path } = await newLock();
    await writeFile(path, await owner({ pid: dead() }));
    await makeOld(`${path}.stale`, age);
    expect(await withLock(path, async () => 'mine')).toBe('mine');
    expect(await readdir(folder)).toEqual([]);
  });

  it('takes away the drafts of locks that were left long ago, and nothing else', async () => {
    const { folder, path } = await newLock();
    vi.useFakeTimers({ toFake: ['Date'] });
    onTestFinished(() => void vi.useRealTimers());
    const others = ['lock.stale', 'lock.old', `lock.${RANDOM}0`, `lock.${RANDOM}.next`];
    const ages = { [`lock.${RANDOM}`]: 11_000, 'lock.aaaaaaaaaaaaaaaa': -86_400_000 };
    const young = 'lock.bbbbbbbbbbbbbbbb';
    for (const [name, age] of Object.entries({ ...ages, [young]: 9_000 }))
      await makeOld(join(folder, name), age);
    for (const name of [...others, `my-lock.${RANDOM}`]) await makeOld(join(folder, name), 20_000);
    await withLock(path, async () => undefined);
    expect((await readdir(folder)).sort()).toEqual([...others, `my-lock.${RANDOM}`, young].sort());
  });

  it.each(['', 'null', '{', '{"pid":1}'])(
    'takes away a lock that is only %j, after a while',
    async (text) => {
      const { path } = await newLock();
      await makeOld(path, 20_000, text);
      expect(await withLock(path, async () => 'mine')).toBe('mine');
    },
  );

  it.runIf(process.platform === 'linux').each([
    ['from a container', 'pid:[1]'],
    ['that does not say from where', ''],
  ])('waits for a process %s, though the host has the same name', async (_, namespace) => {
    const { path } = await newLock();
    const since = Date.now() - 9_000;
    const ours = await owner({ pid: dead(), since });
    await writeFile(path, ours.replace(/ ?pid:\[\d+\]/, namespace && ` ${namespace}`));
    await withLock(path, async () => undefined);
    expect(Date.now() - since).toBeGreaterThan(10_000);
  });

  it('notices that it was lost, and does not take away another’s', async () => {
    const { path } = await newLock();
    const lost = withLock(path, async (check) => {
      await writeFile(path, await owner({ token: 'another' }));
      await check();
    });
    await expect(lost).rejects.toMatchObject({ code: 'ERR_STORE_BUSY' });
    expect(await readFile(path, 'utf8')).toContain('another');
  });
});
