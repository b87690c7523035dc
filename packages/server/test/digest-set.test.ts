import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { DigestSet, wordsOf } from '../src/nonces/digest-set.ts';

const digestOf = (text: string | number) =>
  wordsOf(createHash('sha256').update(String(text)).digest());

describe('DigestSet', () => {
  it('has what was added, and nothing else', () => {
    const set = new DigestSet();
    for (let index = 0; index < 10_000; index++) {
      expect(set.has(digestOf(index))).toBe(false);
      set.add(digestOf(index));
      expect(set.has(digestOf(index))).toBe(true);
      expect(set.size).toBe(index + 1);
    }
    for (let index = 0; index < 10_000; index++) expect(set.has(digestOf(index))).toBe(true);
    for (let index = 10_000; index < 20_000; index++) expect(set.has(digestOf(index))).toBe(false);
  });

  it('tells digests apart that differ in one bit of their first 128', () => {
    const set = new DigestSet();
    const bytes = createHash('sha256').update('one').digest();
    set.add(wordsOf(bytes));
    for (let bit = 0; bit < 128; bit++) {
      const other = Buffer.from(bytes);
      other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(set.has(wordsOf(other))).toBe(false);
    }
    expect(set.has(wordsOf(Buffer.from(bytes)))).toBe(true);
  });

  it('holds digests that begin alike, and one of nothing but zeros', () => {
    const set = new DigestSet();
    const alike = Array.from({ length: 200 }, (_, index) => {
      const bytes = Buffer.alloc(16);
      bytes.writeUInt32BE(index, 12);
      return wordsOf(bytes);
    });
    for (const digest of alike) {
      expect(set.has(digest)).toBe(false);
      set.add(digest);
    }
    for (const digest of alike) expect(set.has(digest)).toBe(true);
    expect(set.size).toBe(200);
  });
});
