import { expect, test, vi } from 'vitest';
import { remember } from '../src/remember.ts';

const upperCase = () => vi.fn((text: string) => text.toUpperCase());

test('computes twice, and not again', () => {
  const compute = upperCase();
  const shout = remember(() => 7, compute);

  for (let time = 0; time < 5; time++) expect(shout('alice')).toBe('ALICE');

  expect(compute).toHaveBeenCalledTimes(2);
});

test('does not let texts that come once take the place of one that comes again', () => {
  const compute = upperCase();
  // All texts share one slot.
  const shout = remember((text) => text.length * 1_024, compute);
  shout('alice');
  shout('alice');

  for (let length = 6; length < 100; length++) {
    const once = 'x'.repeat(length);
    expect(shout(once)).toBe(once.toUpperCase());
    expect(shout('alice')).toBe('ALICE');
  }

  expect(compute).toHaveBeenCalledTimes(2 + 94);
});

test('gives each text its own result, whatever their hashes', () => {
  for (const hash of [0, 1_023, -1, 2 ** 31 - 1, -(2 ** 31)]) {
    const shout = remember(() => hash, upperCase());

    for (let time = 0; time < 4; time++) {
      expect(shout('alice')).toBe('ALICE');
      expect(shout('alicia')).toBe('ALICIA');
      expect(shout('')).toBe('');
    }
  }
});

test('does not remember what was thrown', () => {
  let answer: string | undefined;
  const read = remember(
    () => 1,
    () => {
      if (answer === undefined) throw new Error('not yet');
      return answer;
    },
  );
  for (let time = 0; time < 3; time++) expect(() => read('a')).toThrow('not yet');

  answer = 'now';

  expect(read('a')).toBe('now');
});

test('keeps nothing that is longer than what clients send', () => {
  const compute = upperCase();
  const shout = remember(() => 7, compute);

  for (let time = 0; time < 5; time++) expect(shout('x'.repeat(513))).toBe('X'.repeat(513));

  expect(compute).toHaveBeenCalledTimes(5);
});
