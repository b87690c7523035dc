import { describe, expect, it } from 'vitest';
import { findSecretFlaw } from '../src/secret.ts';

const PLACEHOLDER = 'it is a placeholder, not a secret';
const REPEATS = 'it repeats a few characters';

describe('findSecretFlaw()', () => {
  it.each([
    ['16 bytes', 'Qx7Qx7Rm2Rm2Tz9T'],
    ['8 characters of 2 bytes', 'äöüßéèêë'],
    ['6 different characters', 'qrstuvqrstuvqrst'],
    ['32 random bytes', 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA'],
  ])('finds none in %s', (_, secret) => {
    expect(findSecretFlaw(secret)).toBeUndefined();
  });

  it.each([
    [undefined, 'expected text, got undefined'],
    [null, 'expected text, got null'],
    [5, 'expected text, got number'],
    [new Uint8Array(32), 'expected text, got object'],
    ['', 'it has 0 bytes, at least 16 are needed'],
    ['Qx7Qx7Rm2Rm2Tz9', 'it has 15 bytes, at least 16 are needed'],
    ['qrstuqrstuqrstuqrstu', REPEATS],
    ['changeme-Qx7Rm2Tz9', PLACEHOLDER],
    ['Qx7Rm2Tz9-REPLACEME', PLACEHOLDER],
    ['Qx7-placeholder-Tz9', PLACEHOLDER],
    ['Qx7Rm2Tz9-example', PLACEHOLDER],
    ['Qx7Rm2Tz9password', PLACEHOLDER],
    ['your-secret-Qx7Rm2Tz9', PLACEHOLDER],
    ['your_secret_Qx7Rm2Tz9', PLACEHOLDER],
    ['secret-access-key-Qx7', PLACEHOLDER],
    ['Qx7Rm2Tz9secretkey', PLACEHOLDER],
    ['Qx7Rm2Tz9-0123456789', PLACEHOLDER],
    ['Qx7Rm2Tz9-ABCDEFGH', PLACEHOLDER],
  ])('finds one in %j', (secret, flaw) => {
    expect(findSecretFlaw(secret)).toBe(flaw);
  });
});
