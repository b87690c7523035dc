import { hash, randomBytes } from 'node:crypto';
import { BoundedMap } from '../../lib/bounded-map.ts';
import type { NonceClaim } from '../../verify/nonce-store.ts';
import type { Uint128 } from './uint128-set.ts';

type Named = Pick<NonceClaim, 'accessKeyId' | 'audience' | 'nonce'>;

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const NOT_A_DIGIT = 64;
const DIGITS = Uint8Array.from({ length: 128 }, (_, code) => {
  const digit = BASE64URL.indexOf(String.fromCharCode(code));
  return digit === -1 ? NOT_A_DIGIT : digit;
});

/** How many masks are kept at most. There is one for each access key and audience. */
const MOST_MASKS = 10_000;

/**
 * Builds a function that turns nonces into numbers of 128 bits. A nonce has 128 random bits
 * already, so they are used as they are. A secret mask keeps the nonces of one access key and
 * audience apart from those of another. So two nonces of one key never become the same number, and
 * an attacker cannot make a nonce that collides with one of another key. It costs a fifth of a
 * hash.
 */
export function createNonceBits(): (claim: Named) => Uint128 {
  const secret = randomBytes(16).toString('base64url');
  const masks = new BoundedMap<string, Uint128>(MOST_MASKS);
  // No part can hold a line feed, so different parts never make the same text.
  const digest = (text: string): Uint128 => wordsOf(hash('sha256', `${secret}\n${text}`, 'binary'));

  return ({ accessKeyId, audience, nonce }) => {
    const owner = `${audience}\n${accessKeyId}`;
    let mask = masks.get(owner);
    if (mask === undefined) {
      mask = digest(owner);
      masks.set(owner, mask);
    }
    const words = decodeNonce(nonce) ?? digest(nonce);
    return [words[0] ^ mask[0], words[1] ^ mask[1], words[2] ^ mask[2], words[3] ^ mask[3]];
  };
}

/**
 * The bits of a nonce of 16 bytes in base64url. `undefined` for any other text: nonces of other
 * schemes may have another form.
 */
function decodeNonce(nonce: string): Uint128 | undefined {
  if (nonce.length !== 22) return undefined;
  const words: [number, number, number, number] = [0, 0, 0, 0];
  let flaws = 0;
  for (let index = 0, bits = 0; index < 22; index++) {
    const digit = DIGITS[nonce.charCodeAt(index)] ?? NOT_A_DIGIT;
    flaws |= digit;
    const at = bits >> 5;
    const room = 32 - (bits & 31);
    // The sixth bit of a digit may be the first of the next word.
    if (room >= 6) words[at as 0] |= digit << (room - 6);
    else {
      words[at as 0] |= digit >> (6 - room);
      if (at < 3) words[(at + 1) as 1] |= digit << (26 + room);
      // The last digit has four bits too many. If they were not zero, two texts would give the same
      // number.
      else if ((digit & 15) !== 0) return undefined;
    }
    bits += 6;
  }
  return flaws < NOT_A_DIGIT ? words : undefined;
}

/** Signed integers of 32 bits: V8 stores larger numbers as objects. */
function wordsOf(digest: string): Uint128 {
  return [word(digest, 0), word(digest, 4), word(digest, 8), word(digest, 12)];
}

function word(digest: string, at: number): number {
  return (
    (digest.charCodeAt(at) << 24) |
    (digest.charCodeAt(at + 1) << 16) |
    (digest.charCodeAt(at + 2) << 8) |
    digest.charCodeAt(at + 3)
  );
}
