import { encodeUtf8, hmacSha256, importMacKey } from '#digest';

/**
 * Derives a key in steps. The first step is the HMAC of the first part under the root. Each further
 * step is the HMAC of the next part under the result before it.
 *
 * The holder of the result can sign for these parts (a day, an audience), and cannot compute the
 * root from it.
 */
export function deriveKey(root: Uint8Array, ...parts: string[]): Uint8Array {
  return parts.reduce((key, part) => hmacSha256(importMacKey(key), encodeUtf8(part)), root);
}
