import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { create, withLock } from '../src/keys/file-lock.ts';

async function newLock(): Promise<{ folder: string; path: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'countersign-lock-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return { folder, path: join(folder, 'lock') };
}

/** A process that is no more. */
const dead = (): number => spawnSync('true').pid;

const owner = (changes: object): string =>
  JSON.stringify({ token: 'x', pid: process.pid, host: hostname(), since: Date.now(), ...changes });

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
    ['nobody that can be told', () => owner({ since: 'yesterday' })],
  ])('takes away the lock of %s', async (_, text) => {
    const { folder, path } = await newLock();
    await writeFile(path, text());
    const all = await Promise.all(
      Array.from({ length: 5 }, (_, index) => withLock(path, async () => index)),
    );
    expect(all).toHaveLength(5);
    expect(await readdir(folder)).toEqual([]);
  });

  it('takes away what somebody left who was taking away, and died', async () => {
    const { folder, path } = await newLock();
    await writeFile(path, owner({ pid: dead() }));
    await writeFile(`${path}.stale`, '');
    const longAgo = new Date(Date.now() - 20_000);
    await utimes(`${path}.stale`, longAgo, longAgo);
    expect(await withLock(path, async () => 'mine')).toBe('mine');
    expect(await readdir(folder)).toEqual([]);
  });

  it.each(['', 'null', '{', '{"pid":1}'])(
    'takes away a lock that is only %j, after a while',
    async (text) => {
      const { path } = await newLock();
      await writeFile(path, text);
      const longAgo = new Date(Date.now() - 20_000);
      await utimes(path, longAgo, longAgo);
      expect(await withLock(path, async () => 'mine')).toBe('mine');
    },
  );

  it('notices that it was lost, and does not take away another’s', async () => {
    const { path } = await newLock();
    const lost = withLock(path, async (check) => {
      await writeFile(path, owner({ token: 'another' }));
      await check();
    });
    await expect(lost).rejects.toMatchObject({ code: 'ERR_STORE_BUSY' });
    expect(await readFile(path, 'utf8')).toContain('another');
  });
});

describe('create()', () => {
  it('makes a file whole, and never in place of another', async () => {
    const { folder, path } = await newLock();
    const made = await Promise.all(
      Array.from({ length: 10 }, (_, index) => create(path, `${index}`.repeat(1_000))),
    );
    expect(made.filter(Boolean)).toHaveLength(1);
    expect(await readFile(path, 'utf8')).toBe(`${made.indexOf(true)}`.repeat(1_000));
    expect(await readdir(folder)).toEqual(['lock']);
  });
});
