import { quote, SignatureError } from '@countersign/shared';
import type { AnyKey, FoundKey, KeyFlaw } from './choose-key.ts';

const MISMATCH: KeyFlaw = {
  code: 'ERR_SIGNATURE_MISMATCH',
  text: 'the signature does not match; compare the canonical request that this server built with the one that was signed',
};

/**
 * Verifies the signature, in constant time if the key is a secret. A flaw of the key is told only
 * afterwards, in the same way as a wrong signature, so that an attacker cannot tell them apart.
 *
 * @param accessKeyId as the request names it
 * @returns the access key that the request was signed with
 * @throws SignatureError `ERR_SIGNATURE_MISMATCH`, `ERR_KEY_UNKNOWN`, `ERR_KEY_INACTIVE`
 */
export function checkSignature(
  stringToSign: Uint8Array,
  received: Uint8Array,
  accessKeyId: string,
  found: FoundKey,
): AnyKey {
  const { verifyKey, accessKey, flaw } = found;
  const matches = verifyKey.verify(stringToSign, received);
  if (matches === true && flaw === undefined && accessKey !== undefined) return accessKey;
  throw refusal(accessKeyId, flaw ?? MISMATCH);
}

function refusal(accessKeyId: string, { code, text }: KeyFlaw): SignatureError {
  return new SignatureError(code, `Cannot accept access key ${quote(accessKeyId)}: ${text}`);
}
