import { generateAccessKey, MemoryKeyStore } from '@countersign/server';
import { describe, expect, it } from 'vitest';

const generated = Array.from({ length: 10_000 }, () => generateAccessKey());

describe('generateAccessKey()', () => {
  it('makes ids of CSAK and 20 characters of Crockford base32', () => {
    for (const { accessKeyId } of generated)
      expect(accessKeyId).toMatch(/^CSAK[0-9A-HJKMNP-TV-Z]{20}$/);
  });

  it('makes secrets of 32 bytes in base64url', () => {
    for (const { secretAccessKey } of generated) {
      expect(secretAccessKey).toMatch(/^[A-Za-z0-9_-]{43}$/);
      expect(Buffer.from(secretAccessKey, 'base64url')).toHaveLength(32);
    }
  });

  it('makes no id and no secret twice', () => {
    expect(new Set(generated.map(({ accessKeyId }) => accessKeyId)).size).toBe(10_000);
    expect(new Set(generated.map(({ secretAccessKey }) => secretAccessKey)).size).toBe(10_000);
  });

  it('uses every character of the alphabet, at every place, alike', () => {
    const counts = new Map<string, number>();
    for (const { accessKeyId } of generated) {
      for (const [place, character] of [...accessKeyId.slice(4)].entries()) {
        counts.set(`${place}${character}`, (counts.get(`${place}${character}`) ?? 0) + 1);
      }
    }
    expect(counts.size).toBe(20 * 32);
    // 312 are expected; nine standard deviations off would be no accident.
    expect(Math.min(...counts.values())).toBeGreaterThan(312 - 9 * 18);
    expect(Math.max(...counts.values())).toBeLessThan(312 + 9 * 18);
  });

  it('makes keys that every store takes', async () => {
    expect(await new MemoryKeyStore(generated).list()).toHaveLength(generated.length);
  });

  it('says whose the key is, and what it is for', () => {
    const key = generateAccessKey();
    expect(key).toMatchObject({ subject: key.accessKeyId, scopes: [], status: 'active' });
    const owner = { subject: 'alice', scopes: ['videos:parse'], notBefore: 1, expiresAt: 2 };
    expect(generateAccessKey(owner)).toMatchObject({ ...owner, status: 'active' });
  });
});
