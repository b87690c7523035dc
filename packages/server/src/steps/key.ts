import { importMacKey, type MacKey, quote, type Scheme, SignatureError, type SignatureParams } from '@countersign/shared';
import { randomBytes } from 'node:crypto';
import type { AccessKey } from '../keys/key-store.ts';
import { SigningKeys } from './signing-keys.ts';

/** The key to verify a signature with, and why it cannot be accepted whatever the signature, if it cannot. */
export interface FoundKey {
  readonly signingKey: MacKey;
  readonly accessKey: AccessKey | undefined;
  readonly refusal: SignatureError | undefined;
}

/** Chooses the key to verify with, of what a key store gave. */
export type ChooseKey = (accessKey: AccessKey | undefined, scheme: Scheme, params: SignatureParams, now: number) => FoundKey;

/**
 * Builds the choice of keys. Where there is no usable key it gives one that nobody has, and the refusal to throw once the
 * signature was computed all the same: strangers cannot tell an unknown key from a wrong signature.
 */
export function createChooseKey(audience: string): ChooseKey {
  const signingKeys = new SigningKeys();
  const decoy = importMacKey(randomBytes(32));

  return (accessKey, scheme, params, now) => {
    const refusal = judge(accessKey, params, audience, now);
    if (refusal !== undefined || accessKey === undefined) return { signingKey: decoy, accessKey, refusal };
    const signingKey = signingKeys.get(accessKey, scheme, params);
    if (typeof signingKey !== 'string') return { signingKey, accessKey, refusal };
    return { signingKey: decoy, accessKey, refusal: inactive(params, `has an unusable secret: ${signingKey}`) };
  };
}

function judge(key: AccessKey | undefined, params: SignatureParams, audience: string, now: number): SignatureError | undefined {
  if (params.audience !== audience) {
    return new SignatureError('ERR_SIGNATURE_MISMATCH', `The request is for audience ${quote(params.audience)}, this server is ${quote(audience)}`);
  }
  // A store that looks up names in a plain object finds `__proto__`.
  if (key?.accessKeyId !== params.accessKeyId) {
    return new SignatureError('ERR_KEY_UNKNOWN', `Access key ${quote(params.accessKeyId)} is unknown`);
  }
  if (key.status !== 'active') return inactive(params, `is ${quote(key.status)}`);
  if (key.notBefore !== undefined && !(now >= key.notBefore)) return inactive(params, 'is not valid yet');
  if (key.expiresAt !== undefined && !(now < key.expiresAt)) return inactive(params, 'has expired');
  return undefined;
}

function inactive({ accessKeyId }: SignatureParams, state: string): SignatureError {
  return new SignatureError('ERR_KEY_INACTIVE', `Access key ${quote(accessKeyId)} ${state}`);
}
