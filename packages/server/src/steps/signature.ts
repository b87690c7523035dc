import { hmacSha256, SignatureError, timingSafeEqual } from '@countersign/shared';
import type { AccessKey } from '../keys/key-store.ts';
import type { FoundKey } from './key.ts';

/**
 * Computes the signature anew and compares, in constant time. Whether the key is any good is said only afterwards.
 *
 * @returns the access key that the request was signed with
 * @throws SignatureError `ERR_SIGNATURE_MISMATCH`, or what was found wrong with the key
 */
export function checkSignature(stringToSign: Uint8Array, received: Uint8Array, { signingKey, accessKey, refusal }: FoundKey): AccessKey {
  const expected = hmacSha256(signingKey, stringToSign);
  const matches = expected.length === received.length && timingSafeEqual(expected, received);
  if (refusal !== undefined) throw refusal;
  if (!matches || accessKey === undefined) {
    throw new SignatureError(
      'ERR_SIGNATURE_MISMATCH',
      'The signature does not match: compare the canonical request that this server built with the one that was signed',
    );
  }
  return accessKey;
}
