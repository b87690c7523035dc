import { encodeUtf8, hmacSha256, importMacKey } from '#digest';

/**
 * Derives a key in steps: HMAC of the first part under the root, of the second under what that gave, and so on.
 *
 * Whoever holds the result can sign for what the parts say (a day, an audience) and cannot go back to the root.
 */
export function deriveKey(root: Uint8Array, ...parts: string[]): Uint8Array {
  return parts.reduce((key, part) => hmacSha256(importMacKey(key), encodeUtf8(part)), root);
}
