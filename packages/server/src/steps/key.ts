import { findSecretFlaw, importMacKey, type MacKey, quote, type Scheme, SignatureError, type SignatureErrorCode, type SignatureParams } from '@countersign/shared';
import { randomBytes } from 'node:crypto';
import { type AccessKey, type KeyStore } from '../keys/key-store.ts';
import { SigningKeys } from './signing-keys.ts';

/** The key to verify a signature with, and why it cannot be accepted whatever the signature, if it cannot. */
export interface FoundKey {
  readonly signingKey: MacKey;
  readonly accessKey?: AccessKey | undefined;
  readonly refusal?: SignatureError | undefined;
}

/** Looks up the signing key for a signature. */
export type FindKey = (scheme: Scheme, params: SignatureParams, now: number) => Promise<FoundKey>;

/**
 * Builds the look-up of keys. Where there is no usable key it gives one that nobody has, and the refusal to throw once the
 * signature was computed all the same: strangers cannot tell an unknown key from a wrong signature.
 *
 * @returns a function that throws SignatureError `ERR_KEY_STORE_FAILED`
 */
export function createFindKey(keys: KeyStore, audience: string): FindKey {
  const signingKeys = new SigningKeys();
  const decoy = importMacKey(randomBytes(32));

  return async (scheme, params, now) => {
    let accessKey: AccessKey | undefined;
    try {
      accessKey = await keys.find(params.accessKeyId);
    } catch (cause) {
      throw new SignatureError('ERR_KEY_STORE_FAILED', 'The key store failed', { cause, retryAfter: 1 });
    }
    const refusal = judge(accessKey, params, audience, now);
    if (refusal !== undefined || accessKey === undefined) return { signingKey: decoy, accessKey, refusal };
    return { signingKey: signingKeys.get(accessKey, scheme, params), accessKey };
  };
}

function judge(key: AccessKey | undefined, params: SignatureParams, audience: string, now: number): SignatureError | undefined {
  const id = quote(params.accessKeyId);
  if (params.audience !== audience) {
    return refuse('ERR_SIGNATURE_MISMATCH', `The request is for audience ${quote(params.audience)}, this server is ${quote(audience)}`);
  }
  // A store that looks up names in a plain object finds `__proto__`.
  if (key?.accessKeyId !== params.accessKeyId) return refuse('ERR_KEY_UNKNOWN', `Access key ${id} is unknown`);
  if (key.status !== 'active') return refuse('ERR_KEY_INACTIVE', `Access key ${id} is ${quote(key.status)}`);
  if (key.notBefore !== undefined && !(now >= key.notBefore)) return refuse('ERR_KEY_INACTIVE', `Access key ${id} is not valid yet`);
  if (key.expiresAt !== undefined && !(now < key.expiresAt)) return refuse('ERR_KEY_INACTIVE', `Access key ${id} has expired`);
  const flaw = findSecretFlaw(key.secretAccessKey);
  return flaw === undefined ? undefined : refuse('ERR_KEY_INACTIVE', `Access key ${id} has an unusable secret: ${flaw}`);
}

function refuse(code: SignatureErrorCode, message: string): SignatureError {
  return new SignatureError(code, message);
}
