import {
  type Algorithm,
  deriveMacKey,
  hmacSha256,
  isSignatureLength,
  type MacKey,
  type MakeSignature,
  type SignKey,
} from '@countersign/shared';
import type { CheckedCredentials, Signature } from './credentials.ts';

/** Signs with credentials. Keeps the signing key that was derived last: it is good for a day. */
export function createMakeSignature(): (
  credentials: CheckedCredentials,
  signKey: SignKey | undefined,
) => MakeSignature {
  let last: { readonly secret: string; readonly scope: string; readonly key: MacKey } | undefined;
  return ({ secretAccessKey, sign, algorithm = 'hmac-sha256' }, signKey) =>
    (scheme, params, stringToSign) => {
      if (signKey !== undefined) return signKey.sign(stringToSign);
      const scope = scheme.derive?.scope(params) ?? '';
      if (sign !== undefined)
        return Promise.resolve(sign(stringToSign, scope)).then((it) =>
          checkSignature(it, algorithm),
        );
      const secret = secretAccessKey as string;
      if (last?.secret !== secret || last.scope !== scope)
        last = { secret, scope, key: deriveMacKey(scheme, params, secret) };
      return hmacSha256(last.key, stringToSign);
    };
}

function checkSignature(signature: Signature, algorithm: Algorithm): Uint8Array {
  const bytes = signature instanceof ArrayBuffer ? new Uint8Array(signature) : signature;
  if (bytes instanceof Uint8Array && isSignatureLength(algorithm, bytes.length)) return bytes;
  throw new TypeError(
    `Cannot sign: the "sign" of the credentials gave something else than the bytes of a signature of ${algorithm}`,
  );
}
