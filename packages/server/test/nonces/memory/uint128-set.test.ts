import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { createNonceBits } from '../../../src/nonces/memory/nonce-bits.ts';
import { hashUint128, type Uint128, Uint128Set } from '../../../src/nonces/memory/uint128-set.ts';

const wordsOf = createNonceBits();
const claimOf = (nonce: string, accessKeyId = 'CSAK1', audience = 'video-api') => ({
  accessKeyId,
  audience,
  nonce,
});
const of = (nonce: string | number, ...owner: string[]) =>
  wordsOf(claimOf(String(nonce), ...owner));
const base64url = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');

describe('createNonceBits()', () => {
  it('tells nonces apart that differ in one bit of their 128', () => {
    const bytes = randomBytes(16);
    const all = new Set([of(base64url(bytes)).join()]);
    for (let bit = 0; bit < 128; bit++) {
      const other = Buffer.from(bytes);
      other[bit >> 3] = (other[bit >> 3] as number) ^ (1 << (bit & 7));
      all.add(of(base64url(other)).join());
    }
    expect(all.size).toBe(129);
  });

  it('takes the 128 bits of a nonce as they are, masked', () => {
    const mask = of('A'.repeat(22));
    for (let run = 0; run < 500; run++) {
      const bytes = randomBytes(16);
      const words = of(base64url(bytes)).map((word, index) => word ^ (mask[index] as number));
      expect(words).toEqual([0, 4, 8, 12].map((at) => bytes.readInt32BE(at)));
    }
  });

  it('tells texts apart that no 16 bytes are written as', () => {
    const texts = [
      ...Array.from(
        'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_',
        (last) => 'A'.repeat(21) + last,
      ),
      ...['', 'A', 'A'.repeat(21), 'A'.repeat(23), `${'A'.repeat(21)}é`, `${'A'.repeat(21)} `],
      `!${'A'.repeat(21)}`,
    ];
    expect(new Set(texts.map((text) => of(text).join())).size).toBe(texts.length);
  });

  it('tells owners apart, and where the name of one ends', () => {
    const nonce = base64url(randomBytes(16));
    const owners = [
      ['CSAK1', 'video-api'],
      ['CSAK2', 'video-api'],
      ['CSAK1', 'other-api'],
      ['CSAK1v', 'ideo-api'],
      ['video-api', 'CSAK1'],
    ];
    expect(new Set(owners.map((owner) => of(nonce, ...owner).join())).size).toBe(owners.length);
  });

  it('gives the same for the same, however many owners there were between', () => {
    const nonce = base64url(randomBytes(16));
    const first = of(nonce);
    for (let owner = 0; owner < 25_000; owner++) of(nonce, `CSAK${owner}`, 'crowd');
    expect(of(nonce)).toEqual(first);
  });

  it('gives others in another process, so an attacker cannot know which', () => {
    expect(createNonceBits()(claimOf('A'.repeat(22)))).not.toEqual(of('A'.repeat(22)));
  });
});

describe('hashUint128()', () => {
  it('gives the same for what sets take for the same', () => {
    expect(hashUint128([0, 7, 7, 7])).toBe(hashUint128([1, 7, 7, 7]));
  });

  it('spreads words that differ in a few bits of each only, wherever these are', () => {
    for (let shift = 0; shift <= 28; shift += 4) {
      const places = new Set<number>();
      for (let index = 0; index < 65_536; index++) {
        const word = (at: number) => ((index >>> (4 * at)) & 15) << shift;
        places.add(hashUint128([word(0), word(1), word(2), word(3)]) >>> 16);
      }
      // By chance 63 % of the places are taken; what adds up products gets 16 of them.
      expect(places.size).toBeGreaterThan(65_536 / 4);
    }
  });
});

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** MiB in typed arrays that are still referenced. */
function arrayBuffers(): number {
  // Once more: by then what the first has found is freed.
  collectGarbage();
  collectGarbage();
  return process.memoryUsage().arrayBuffers / 2 ** 20;
}

describe('Uint128Set', () => {
  it('has what was added, and nothing else', () => {
    const set = new Uint128Set();
    for (let index = 0; index < 10_000; index++) {
      expect(set.has(of(index))).toBe(false);
      set.add(of(index));
      expect(set.has(of(index))).toBe(true);
      expect(set.size).toBe(index + 1);
    }
    for (let index = 0; index < 10_000; index++) expect(set.has(of(index))).toBe(true);
    for (let index = 10_000; index < 20_000; index++) expect(set.has(of(index))).toBe(false);
  });

  it('has all of it at every step of growing', () => {
    for (const size of [48, 96, 192, 384]) {
      const set = new Uint128Set();
      for (let index = 0; index <= size; index++) set.add(of(index));
      // It is growing now, and every call is a step of it.
      for (let round = 0; round < 20; round++) {
        for (let index = 0; index <= size; index += 7) expect(set.has(of(index))).toBe(true);
        expect(set.has(of('other'))).toBe(false);
      }
      expect(set.size).toBe(size + 1);
    }
  });

  it('moves little by little to a larger array, and lets go of the smaller one', () => {
    const set = new Uint128Set();
    // Three quarters of 131,072 slots, which are 2 MiB; calls that add nothing finish what moves.
    for (let index = 0; index < 98_304; index++) set.add([index, 0, 0, 0]);
    for (let calls = 0; calls < 131_072 / 8; calls++) set.has([0, 1, 0, 0]);
    const before = arrayBuffers();
    set.add([-1, 0, 0, 0]);
    expect(arrayBuffers() - before).toBeCloseTo(4, 0);
    for (let calls = 0; calls < 131_072 / 16; calls++) set.has([0, 1, 0, 0]);
    expect(arrayBuffers() - before).toBeCloseTo(4, 0);
    for (let calls = 0; calls < 131_072 / 16; calls++) set.has([0, 1, 0, 0]);
    expect(arrayBuffers() - before).toBeCloseTo(2, 0);
    expect(set.has([98_303, 0, 0, 0])).toBe(true);
  });

  it('holds words that are alike but for one bit, and nothing but zeros', () => {
    const set = new Uint128Set();
    const alike = Array.from({ length: 128 }, (_, bit): Uint128 => {
      const words = [0, 0, 0, 0];
      words[bit >> 5] = 1 << (bit & 31);
      return words as unknown as Uint128;
    });
    // The first word 1 is what a first word 0 is kept as.
    const all = [[0, 0, 0, 0] as const, ...alike.filter(([first]) => first !== 1)];
    for (const words of all) {
      expect(set.has(words)).toBe(false);
      set.add(words);
    }
    for (const words of all) expect(set.has(words)).toBe(true);
    expect(set.size).toBe(all.length);
  });

  it('spreads nonces that were chosen to lie side by side', () => {
    // Counting in any of the four words, or in the upper bits: 100,000 in one heap would take
    // minutes.
    for (const at of [0, 1, 2, 3]) {
      for (const shift of [0, 8, 15]) {
        const set = new Uint128Set();
        for (let index = 0; index < 100_000; index++) {
          const words = [7, 7, 7, 7];
          words[at] = (index + 2) << shift;
          if (!set.has(words as unknown as Uint128)) set.add(words as unknown as Uint128);
        }
        expect(set.size).toBe(100_000);
      }
    }
  });
});
