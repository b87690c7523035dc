import { inspect } from 'node:util';
import { generateMasterKey } from '@countersign/server';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { MasterKeys } from '../../src/keys/master-keys.ts';

const [first, second] = [generateMasterKey('first'), generateMasterKey('second')];

/** 32 bytes, of which so many are different, as they are written. */
const bytesOf = (different: number): string =>
  Buffer.from(Array.from({ length: 32 }, (_, index) => index % different)).toString('base64url');

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
    ['7 different bytes', `seven:${bytesOf(7)}`],
    ['something else', [42 as unknown as string]],
  ])('refuses %s, and does not show it', (_, provider) => {
    let error: unknown;
    try {
      new MasterKeys(provider);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({
      name: 'TypeError',
      message: expect.stringMatching(/^Cannot use master keys?(?: "\w+")?: /),
    });
    expect(inspect(error)).not.toContain(first.slice(-20));
  });

  it('takes 8 different bytes', async () => {
    expect((await new MasterKeys(`eight:${bytesOf(8)}`).current()).id).toBe('eight');
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
    expect((await keys.find('first'))?.id).toBe('first');
    expect(asked).toBe(2);
    // What seals is asked for each time: another may seal now.
    await keys.current();
    await keys.current();
    expect(asked).toBe(4);
  });

  it('finds a key that a function has, however many strangers name before', async () => {
    const keys = new MasterKeys(async (id) => (id === 'second' ? second : undefined));
    for (let index = 0; index < 20_000; index++)
      expect(await keys.find(`strange-${index}`)).toBeUndefined();
    expect((await keys.find('second'))?.id).toBe('second');
  });

  it('asks for few keys at a time, and waits for no answer for ever', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const now = vi.spyOn(performance, 'now').mockReturnValue(0);
    onTestFinished(() => now.mockRestore());
    const asked: (string | undefined)[] = [];
    const keys = new MasterKeys((id) => {
      asked.push(id);
      return id === undefined ? first : new Promise(() => undefined);
    });
    const hanging = Array.from({ length: 64 }, (_, index) => keys.find(`strange-${index}`));
    await expect(keys.find('second')).rejects.toMatchObject({ code: 'ERR_MASTER_KEY' });
    // What was sealed of late is sealed with the key that seals.
    expect(await keys.find('first')).toMatchObject({ id: 'first' });
    expect(asked).toHaveLength(64 + 1);
    now.mockReturnValue(5_001);
    hanging.push(keys.find('second'));
    expect(asked.at(-1)).toBe('second');
    const ends = Promise.allSettled(hanging);
    await vi.advanceTimersByTimeAsync(5_000);
    const codes = (await ends).map((it) => it.status === 'rejected' && it.reason.code);
    expect(codes).toEqual(Array(65).fill('ERR_MASTER_KEY'));
  });

  describe('of a function that tells all keys', () => {
    it('asks for none that strangers name', async () => {
      let asked = 0;
      const keys = new MasterKeys(() => {
        asked++;
        return [first, second];
      });
      for (let index = 0; index < 1_000; index++)
        expect(await keys.find(`strange-${index}`)).toBeUndefined();
      expect((await keys.find('second'))?.id).toBe('second');
      expect((await keys.find('first'))?.id).toBe('first');
      expect(asked).toBe(1);
      expect((await keys.current()).id).toBe('first');
    });

    it('hears of a new key after five seconds, and that one is gone after a minute', async () => {
      const now = vi.spyOn(performance, 'now').mockReturnValue(0);
      onTestFinished(() => now.mockRestore());
      let list = [first];
      let asked = 0;
      const keys = new MasterKeys(async () => {
        asked++;
        return list;
      });
      expect(await keys.find('second')).toBeUndefined();
      list = [second];
      now.mockReturnValue(5_000);
      expect(await keys.find('second')).toBeUndefined();
      expect(asked).toBe(1);
      expect(await keys.find('first')).toMatchObject({ id: 'first' });
      now.mockReturnValue(5_001);
      const found = await Promise.all(Array.from({ length: 10 }, () => keys.find('second')));
      expect(found.map((key) => key?.id)).toEqual(Array(10).fill('second'));
      expect(asked).toBe(2);
      expect(await keys.find('first')).toBeUndefined();
      list = [first];
      now.mockReturnValue(5_001 + 60_000);
      expect(await keys.find('second')).toMatchObject({ id: 'second' });
      now.mockReturnValue(5_001 + 60_001);
      expect(await keys.find('second')).toBeUndefined();
    });

    it('goes on with what it knows while the function fails', async () => {
      const now = vi.spyOn(performance, 'now').mockReturnValue(0);
      onTestFinished(() => now.mockRestore());
      let isDown = false;
      let asked = 0;
      const keys = new MasterKeys(async () => {
        asked++;
        if (isDown) throw new Error('the vault is closed');
        return [first];
      });
      expect(await keys.find('first')).toMatchObject({ id: 'first' });
      isDown = true;
      now.mockReturnValue(100_000);
      for (let index = 0; index < 5; index++) {
        expect(await keys.find('first')).toMatchObject({ id: 'first' });
        await expect(keys.find('strange')).rejects.toMatchObject({ code: 'ERR_MASTER_KEY' });
      }
      expect(asked).toBe(2);
    });

    it('goes on with what it knows while the function hangs, and takes its late answer', async () => {
      const now = vi.spyOn(performance, 'now').mockReturnValue(0);
      onTestFinished(() => now.mockRestore());
      const late: { answer?: (keys: string[]) => void } = {};
      let asked = 0;
      const keys = new MasterKeys(() => {
        asked++;
        if (asked === 1) return [first];
        return new Promise<string[]>((resolve) => {
          late.answer = resolve;
        });
      });
      expect(await keys.find('first')).toMatchObject({ id: 'first' });
      now.mockReturnValue(100_000);
      expect(await keys.find('first')).toMatchObject({ id: 'first' });
      expect(asked).toBe(2);
      late.answer?.([second]);
      await new Promise(setImmediate);
      expect(await keys.find('first')).toBeUndefined();
      expect(await keys.find('second')).toMatchObject({ id: 'second' });
    });

    it('refuses a list that holds no key, or one twice', async () => {
      for (const list of [[], [first, first], ['hush-hush']])
        await expect(new MasterKeys(() => list).find('first')).rejects.toMatchObject({
          code: 'ERR_MASTER_KEY',
          message: expect.not.stringContaining('hush'),
        });
    });
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
    // At once, as many as a stranger likes: but few are asked for, and no caller is told that there
    // is no such key.
    const strange = await Promise.allSettled(
      Array.from({ length: 3_000 }, (_, index) => keys.find(`strange-${index}`)),
    );
    expect(asked.length).toBeLessThanOrEqual(1 + 64 + 1);
    const told = strange.map((it) => (it.status === 'fulfilled' ? it.value : it.reason.code));
    expect(new Set(told)).toEqual(new Set([undefined, 'ERR_MASTER_KEY']));
  });

  it.each([
    ['given directly', first],
    [
      'of a function',
      async (id: string | undefined) => (id === undefined || id === 'first' ? first : undefined),
    ],
    ['of a function that tells all', async () => [second, first]],
  ])('finds a key %s, whatever strangers name meanwhile', async (_, provider) => {
    const now = vi.spyOn(performance, 'now').mockReturnValue(0);
    onTestFinished(() => now.mockRestore());
    const keys = new MasterKeys(provider);
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
