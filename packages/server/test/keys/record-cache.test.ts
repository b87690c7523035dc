import { describe, expect, it, vi } from 'vitest';
import { RecordCache } from '../../src/keys/record-cache.ts';

/** A cache over a store whose reads end when the test says so. */
function slowCache(maxAge?: number) {
  const reads: {
    name: string;
    resolve(value: string | undefined): void;
    reject(error: Error): void;
  }[] = [];
  const load = (name: string) =>
    new Promise<string | undefined>((resolve, reject) => {
      reads.push({ name, resolve, reject });
    });
  return {
    cache: new RecordCache<string>(load, maxAge),
    reads,
    end: (index: number, value: string | undefined) => reads[index]?.resolve(value),
    fail: (index: number, error: Error) => reads[index]?.reject(error),
  };
}

describe.each([['one name'], ['everything']])('RecordCache, told that %s has changed', (what) => {
  const forgetIn = (cache: RecordCache<string>) =>
    what === 'everything' ? cache.forget() : cache.forget('a');

  it('reads again what it had read', async () => {
    const { cache, reads, end } = slowCache();
    const first = cache.get('a');
    end(0, 'before');
    expect(await first).toBe('before');
    expect(cache.get('a')).toBe('before');
    forgetIn(cache);
    const second = cache.get('a');
    end(1, 'after');
    expect(await second).toBe('after');
    expect(reads).toHaveLength(2);
  });

  it('reads again what was not there', async () => {
    const { cache, end } = slowCache();
    const first = cache.get('a');
    end(0, undefined);
    expect(await first).toBeUndefined();
    forgetIn(cache);
    const second = cache.get('a');
    end(1, 'made meanwhile');
    expect(await second).toBe('made meanwhile');
  });

  it.each([
    ['there', 'before'],
    ['not there', undefined],
  ])('does not keep what is being read, %s before the change', async (_, before) => {
    const { cache, reads, end } = slowCache();
    const asked = cache.get('a');
    forgetIn(cache);
    end(0, before);
    expect(await asked).toBe(before);
    const later = cache.get('a');
    expect(reads).toHaveLength(2);
    end(1, 'after');
    expect(await later).toBe('after');
    expect(cache.get('a')).toBe('after');
  });

  it('gives no caller that asks after a change the value of a read from before it', async () => {
    const { cache, end } = slowCache();
    const before = cache.get('a');
    forgetIn(cache);
    const after = cache.get('a');
    // The later read may end first: the earlier one must not take its place.
    end(1, 'after');
    expect(await after).toBe('after');
    end(0, 'before');
    expect(await before).toBe('before');
    expect(cache.get('a')).toBe('after');
  });

  it('keeps nothing of a read from before that ends first', async () => {
    const { cache, end } = slowCache();
    const before = cache.get('a');
    forgetIn(cache);
    const after = cache.get('a');
    end(0, 'before');
    expect(await before).toBe('before');
    expect(cache.get('a')).toBe(after);
    end(1, 'after');
    expect(await after).toBe('after');
  });

  it('is not made to read again by a read from before that fails', async () => {
    const { cache, reads, end, fail } = slowCache();
    const before = cache.get('a');
    forgetIn(cache);
    const after = cache.get('a');
    fail(0, new Error('down'));
    await expect(before).rejects.toThrow('down');
    expect(cache.get('a')).toBe(after);
    end(1, 'after');
    expect(await after).toBe('after');
    expect(reads).toHaveLength(2);
  });
});

describe('RecordCache', () => {
  it('forgets one name only', async () => {
    const { cache, reads, end } = slowCache();
    const both = [cache.get('a'), cache.get('b')];
    end(0, 'A');
    end(1, 'B');
    expect(await Promise.all(both)).toEqual(['A', 'B']);
    cache.forget('a');
    expect(cache.get('b')).toBe('B');
    expect(cache.get('a')).toBeInstanceOf(Promise);
    expect(reads.map(({ name }) => name)).toEqual(['a', 'b', 'a']);
  });

  it('reads a name once for all who ask meanwhile, and again after a failure', async () => {
    const { cache, reads, end, fail } = slowCache();
    const asked = Array.from({ length: 5 }, () => cache.get('a'));
    expect(reads).toHaveLength(1);
    fail(0, new Error('down'));
    for (const it of asked) await expect(it).rejects.toThrow('down');
    const again = cache.get('a');
    end(1, 'up');
    expect(await again).toBe('up');
  });

  it('reads again what is older than its age, counted from when it was asked for', async () => {
    const time = vi.spyOn(performance, 'now').mockReturnValue(1_000);
    try {
      const { cache, reads, end } = slowCache(3);
      const first = cache.get('a');
      time.mockReturnValue(2_000);
      end(0, 'old');
      expect(await first).toBe('old');
      time.mockReturnValue(4_000);
      expect(cache.get('a')).toBe('old');
      time.mockReturnValue(4_001);
      const second = cache.get('a');
      expect(reads).toHaveLength(2);
      end(1, 'new');
      expect(await second).toBe('new');
    } finally {
      time.mockRestore();
    }
  });

  it('keeps ten thousand names that are there, and what is not there pushes none of them out', async () => {
    const most = 10_000;
    let loads = 0;
    const cache = new RecordCache<string>(async (name) => {
      loads += 1;
      return name.startsWith('key') ? name : undefined;
    }, 1e9);
    for (let index = 0; index < most; index += 1) await cache.get(`key-${index}`);
    for (let index = 0; index < most + 1; index += 1) await cache.get(`guess-${index}`);
    loads = 0;
    for (const index of [0, 1, most - 1]) expect(cache.get(`key-${index}`)).toBe(`key-${index}`);
    expect(loads).toBe(0);
    // The oldest goes for the next.
    await cache.get(`key-${most}`);
    await cache.get('key-0');
    expect(cache.get(`key-${most}`)).toBe(`key-${most}`);
    // Of guesses as many are kept.
    await cache.get('guess-0');
    expect(loads).toBe(3);
  });

  it('knows that a name is there which was not, and the other way round', async () => {
    const time = vi.spyOn(performance, 'now').mockReturnValue(0);
    try {
      const values = [undefined, 'there', undefined];
      const cache = new RecordCache<string>(async () => values.shift(), 1);
      for (const [at, value] of [
        [0, undefined],
        [2_000, 'there'],
        [4_000, undefined],
      ] as const) {
        time.mockReturnValue(at);
        expect(await cache.get('a')).toBe(value);
        expect(cache.get('a')).toBe(value);
      }
    } finally {
      time.mockRestore();
    }
  });
});
