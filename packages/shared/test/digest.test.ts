import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as browser from '../src/digest.browser.ts';
import * as node from '../src/digest.node.ts';

const seed = 20_261_121;
const numRuns = 300 * Number(process.env['PROPERTY_RUNS'] ?? 1);
/** These include lengths around the block size of SHA-256, at which padding goes wrong. */
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.uint8Array({ minLength: 50, maxLength: 140 }),
  fc.uint8Array({ maxLength: 5_000 }),
);
const text = fc.string({ unit: 'binary', maxLength: 200 });

function check<T extends unknown[]>(property: fc.IProperty<T>): void {
  fc.assert(property, { seed, numRuns });
}

describe('digest.browser', () => {
  it('exports the same names as digest.node', () => {
    expect(Object.keys(browser).sort()).toEqual(Object.keys(node).sort());
  });

  it('sha256Hex() equals that of Node, for bytes and text', () => {
    expect(browser.sha256Hex('')).toBe(
      'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    );
    check(
      fc.property(
        fc.oneof(bytes, text),
        (data) => void expect(browser.sha256Hex(data)).toBe(node.sha256Hex(data)),
      ),
    );
  });

  it('createSha256() gives the same hash for any pieces', () => {
    check(
      fc.property(fc.array(bytes, { maxLength: 6 }), (pieces) => {
        const [one, two] = [browser.createSha256(), node.createSha256()];
        for (const piece of pieces) for (const digest of [one, two]) digest.update(piece);
        const hex = one.hex();
        expect(hex).toBe(two.hex());
        expect(hex).toBe(node.sha256Hex(Buffer.concat(pieces)));
      }),
    );
  });

  it('hmacSha256() equals that of Node, for keys of any length', () => {
    check(
      fc.property(bytes, bytes, (key, data) => {
        const mac = browser.hmacSha256(browser.importMacKey(key), data);
        expect(mac).toHaveLength(32);
        expect(Buffer.from(mac)).toEqual(
          Buffer.from(node.hmacSha256(node.importMacKey(key), data)),
        );
      }),
    );
  });

  it('importMacKey() copies its bytes, so later changes to them have no effect', () => {
    for (const { importMacKey, hmacSha256 } of [browser, node]) {
      const raw = new Uint8Array(32).fill(7);
      const key = importMacKey(raw);
      const before = hmacSha256(key, raw.slice());
      raw.fill(8);
      expect(hmacSha256(key, new Uint8Array(32).fill(7))).toEqual(before);
    }
  });

  it('encodeUtf8() equals that of Node, for lone surrogates, too', () => {
    check(
      fc.property(
        fc.oneof(
          text,
          fc.string({ unit: fc.constantFrom('a', '\ud800', '\udc00', 'é', '\u2028') }),
        ),
        (it) => {
          expect(Buffer.from(browser.encodeUtf8(it))).toEqual(Buffer.from(node.encodeUtf8(it)));
        },
      ),
    );
  });

  it('timingSafeEqual() compares two of one length, and throws for two lengths, like that of Node', () => {
    check(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 40 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (one, at, flip) => {
          const other = Uint8Array.from(one);
          const index = at % one.length;
          other[index] = (other[index] as number) ^ flip;
          for (const { timingSafeEqual } of [browser, node]) {
            expect(timingSafeEqual(one, Uint8Array.from(one))).toBe(true);
            expect(timingSafeEqual(one, other)).toBe(false);
            expect(() => timingSafeEqual(one, one.subarray(1))).toThrow(
              /^Input buffers must have the same|^Cannot compare: the lengths differ$/,
            );
          }
        },
      ),
    );
  });
});
