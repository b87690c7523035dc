import { inspect } from 'node:util';
import { generateMasterKey } from '@countersign/server';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { MasterKeys } from '../src/keys/master-keys.ts';

const [first, second] = [generateMasterKey('first'), generateMasterKey('second')];

describe('generateMasterKey()', () => {
  it('makes 32 random bytes with a name, that of the day if none is given', () => {
    expect(first).toMatch(/^first:[\w-]{43}$/);
    expect(generateMasterKey()).toMatch(/^\d{4}-\d\d-\d\d:[\w-]{43}$/);
    expect(generateMasterKey('a')).not.toBe(generateMasterKey('a'));
    for (const id of ['', 'a:b', 'a b', 'x'.repeat(65)])
      expect(() => generateMasterKey(id)).toThrow('Cannot make master key');
  });
});

describe('MasterKeys', () => {
  it('takes one, or several of which the first seals and all open', async () => {
    expect((await new MasterKeys(first).current()).id).toBe('first');
    const keys = new MasterKeys([second, first]);
    expect((await keys.current()).id).toBe('second');
    expect((await keys.get('first')).id).toBe('first');
    expect((await keys.find('first'))?.id).toBe('first');
    expect(await keys.find('third')).toBeUndefined();
    const error = await keys.get('third').catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'ERR_MASTER_KEY',
      message: 'Cannot get the master key "third": it is not among those that there are',
    });
  });

  it.each([
    ['nothing', ''],
    ['no name', first.slice('first'.length)],
    ['half of it', first.slice(0, -1)],
    ['no key at all', []],
    ['two of one name', [first, generateMasterKey('first')]],
    ['zeros', `zeros:${'A'.repeat(43)}`],
    ['something else', [42 as unknown as string]],
  ])('refuses %s, and does not show it', (_, source) => {
    let error: unknown;
    try {
      new MasterKeys(source);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(TypeError);
    expect(inspect(error)).not.toContain(first.slice(-20));
  });

  it('asks a function for each key once, and for what it has not only so often', async () => {
    let asked = 0;
    const keys = new MasterKeys(async (id) => {
      asked++;
      if (id === undefined || id === 'first') return first;
      throw new Error(`no key ${id} in the vault`);
    });
    for (let round = 0; round < 5; round++) expect((await keys.find('first'))?.id).toBe('first');
    expect(asked).toBe(1);
    for (let round = 0; round < 5; round++)
      await expect(keys.find('strange')).rejects.toMatchObject({ code: 'ERR_MASTER_KEY' });
    expect(asked).toBe(2);
    // A stranger may name as many as he likes.
    for (let index = 0; index < 500; index++) await keys.find(`strange-${index}`).catch(() => {});
    // The first, a hundred, and once the one that seals.
    expect(asked).toBeLessThanOrEqual(102);
    expect((await keys.find('first'))?.id).toBe('first');
    // What seals is asked for each time: another may seal now.
    await keys.current();
    expect(asked).toBeGreaterThan(100);
  });

  it('shares one question among all who ask, and asks for nothing that is no id', async () => {
    const asked: (string | undefined)[] = [];
    const keys = new MasterKeys(async (id) => {
      asked.push(id);
      return id === 'first' ? first : undefined;
    });
    const found = await Promise.all(Array.from({ length: 100 }, () => keys.find('first')));
    expect(found.every((key) => key?.id === 'first')).toBe(true);
    for (const id of ['../../etc/passwd', '', 'a/b', 'x'.repeat(65), '__proto__ '])
      expect(await keys.find(id)).toBeUndefined();
    expect(asked).toEqual(['first']);
    // At once, as many as a stranger likes: but few are asked for, and nobody is told that there is no such key.
    const strange = await Promise.allSettled(
      Array.from({ length: 3_000 }, (_, index) => keys.find(`strange-${index}`)),
    );
    expect(asked.length).toBeLessThanOrEqual(1 + 100 + 1);
    const told = strange.map((it) => (it.status === 'fulfilled' ? it.value : it.reason.code));
    expect(new Set(told)).toEqual(new Set([undefined, 'ERR_MASTER_KEY']));
  });

  it.each([
    ['given directly', first],
    [
      'of a function',
      async (id: string | undefined) => (id === undefined || id === 'first' ? first : undefined),
    ],
  ])('finds a key %s, whatever strangers name meanwhile', async (_, source) => {
    const now = vi.spyOn(performance, 'now').mockReturnValue(0);
    onTestFinished(() => now.mockRestore());
    const keys = new MasterKeys(source);
    // Also where it has not been asked for before.
    // Of ten minutes each second, with room for no guess any more.
    for (let second = 0; second < 600; second++) {
      now.mockReturnValue(second * 1000);
      const guesses = Array.from({ length: 200 }, (_, index) => `guess-${second}-${index}`);
      await Promise.allSettled(guesses.map((id) => keys.find(id)));
      expect(await keys.find('first')).toMatchObject({ id: 'first' });
    }
  });

  it('refuses a function that gives another key than it was asked for, or none', async () => {
    await expect(new MasterKeys(() => second).get('first')).rejects.toThrow(
      'Cannot get the master key "first": another was given, "second"',
    );
    await expect(new MasterKeys(() => 'hush-hush').current()).rejects.toThrow(
      /^(?!.*hush).*expected <id>:<32 bytes in base64url>/,
    );
  });
});
