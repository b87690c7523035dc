import { encodeUtf8, hmacSha256, importMacKey } from '#digest';

/**
 * Derives a key in steps. The first step is the HMAC of the first part with the root as key. Each
 * further step uses the result of the step before as key.
 *
 * The holder of the result can sign for the day and the audience in the parts, and cannot compute
 * the root.
 */
export function deriveKey(root: Uint8Array, ...parts: string[]): Uint8Array {
  return parts.reduce((key, part) => hmacSha256(importMacKey(key), encodeUtf8(part)), root);
}
