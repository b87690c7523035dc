/** The primitives for runtimes without `node:crypto`: the audited, synchronous `@noble/hashes`. */
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js';
import { encodeHex } from './bytes.ts';
import type { MacKey, Sha256 } from './digest.ts';

const encoder = new TextEncoder();

/** SHA-256 in lower-case hex. A string is hashed as UTF-8. */
export function sha256Hex(data: string | Uint8Array): string {
  return encodeHex(nobleSha256(typeof data === 'string' ? encoder.encode(data) : data));
}

/** A SHA-256 of bytes that come in pieces. */
export function createSha256(): Sha256 {
  const digest = nobleSha256.create();
  return { update: (bytes) => void digest.update(bytes), hex: () => encodeHex(digest.digest()) };
}

/** Makes a key of raw bytes. */
export function importMacKey(bytes: Uint8Array): MacKey {
  return Uint8Array.from(bytes) as unknown as MacKey;
}

/** HMAC-SHA256: 32 bytes. */
export function hmacSha256(key: MacKey, data: Uint8Array): Uint8Array {
  return hmac(nobleSha256, key as unknown as Uint8Array, data);
}

/** Whether a MAC is the HMAC-SHA256 of the data, in constant time. */
export function verifyHmacSha256(key: MacKey, data: Uint8Array, mac: Uint8Array): boolean {
  return mac.length === 32 && timingSafeEqual(hmacSha256(key, data), mac);
}

/** Text to UTF-8. */
export function encodeUtf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/**
 * Compares in constant time, so the duration does not show the first difference. The lengths must
 * be equal.
 */
export function timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) throw new RangeError('Cannot compare: the lengths differ');
  let difference = 0;
  for (let index = 0; index < a.length; index++)
    difference |= (a[index] as number) ^ (b[index] as number);
  return difference === 0;
}
