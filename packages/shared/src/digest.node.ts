/**
 * The primitives from `node:crypto`. `digest.browser.ts` has the same names for the `browser`
 * condition.
 */
import {
  createHash,
  createHmac,
  createSecretKey,
  hash,
  type KeyObject,
  timingSafeEqual,
} from 'node:crypto';
import type { MacKey, Sha256 } from './digest.ts';

export { timingSafeEqual };

/** SHA-256 in lower-case hex. A string is hashed as UTF-8. */
export function sha256Hex(data: string | Uint8Array): string {
  return hash('sha256', data, 'hex');
}

/** A SHA-256 of bytes that come in pieces. */
export function createSha256(): Sha256 {
  const digest = createHash('sha256');
  return { update: (bytes) => void digest.update(bytes), hex: () => digest.digest('hex') };
}

/** Makes a key of raw bytes. */
export function importMacKey(bytes: Uint8Array): MacKey {
  return createSecretKey(bytes) as unknown as MacKey;
}

/** HMAC-SHA256: 32 bytes. */
export function hmacSha256(key: MacKey, data: Uint8Array): Uint8Array {
  return bytesOf(hmacText(key, data));
}

/** Whether a MAC is the HMAC-SHA256 of the data, in constant time. */
export function verifyHmacSha256(key: MacKey, data: Uint8Array, mac: Uint8Array): boolean {
  expected.write(hmacText(key, data), 'latin1');
  return mac.length === expected.length && timingSafeEqual(expected, mac);
}

/** One buffer for all calls: it is written and compared without a pause in between. */
const expected = Buffer.alloc(32);

function hmacText(key: MacKey, data: Uint8Array): string {
  return createHmac('sha256', key as unknown as KeyObject)
    .update(data)
    .digest('binary');
}

/** Text to UTF-8. */
export function encodeUtf8(text: string): Uint8Array {
  return Buffer.from(text, 'utf8');
}

/**
 * Bytes, by way of text. A `Buffer` from `node:crypto` is allocated outside the heap, which costs
 * more than the hash.
 */
function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = text.charCodeAt(index);
  return bytes;
}
