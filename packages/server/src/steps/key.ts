import {
  type MacKey,
  quote,
  type Scheme,
  type SignatureErrorCode,
  type SignatureParams,
} from '@countersign/shared';
import { type AccessKey, LATEST_TIME } from '../keys/key-store.ts';
import { SigningKeys } from './signing-keys.ts';

/** Why a key cannot be accepted, whatever the signature. */
export interface KeyFlaw {
  readonly code: SignatureErrorCode;
  readonly text: string;
}

/** The key to verify a signature with. */
export interface FoundKey {
  readonly signingKey: MacKey;
  readonly accessKey: AccessKey | undefined;
  readonly flaw: KeyFlaw | undefined;
}

/** Chooses the key to verify with, of what a key store gave. */
export type ChooseKey = (
  accessKey: AccessKey | undefined,
  scheme: Scheme,
  params: SignatureParams,
  now: number,
) => FoundKey;

const UNKNOWN: KeyFlaw = { code: 'ERR_KEY_UNKNOWN', text: 'there is no such key' };
const INACTIVE: KeyFlaw = { code: 'ERR_KEY_INACTIVE', text: 'it is not active' };
const NOT_YET_VALID: KeyFlaw = { code: 'ERR_KEY_INACTIVE', text: 'it is not valid yet' };
const MALFORMED: KeyFlaw = {
  code: 'ERR_KEY_INACTIVE',
  text: 'its record is malformed: expected times in Unix seconds, and a list of scopes',
};
const EXPIRED: KeyFlaw = { code: 'ERR_KEY_INACTIVE', text: 'it has expired' };

/**
 * Builds the choice of keys. Where there is no usable key it gives one that nobody has, and the flaw to tell of once the
 * signature was computed all the same: strangers cannot tell an unknown key from a wrong signature, by its time either.
 */
export function createChooseKey(audience: string): ChooseKey {
  const signingKeys = new SigningKeys();

  return (accessKey, scheme, params, now) => {
    const flaw = judge(accessKey, params, audience, now);
    const secret = flaw === undefined ? (accessKey?.secretAccessKey ?? '') : undefined;
    const signingKey = signingKeys.get(scheme, params, secret);
    if (typeof signingKey !== 'string') return { signingKey, accessKey, flaw };
    const text = `its secret is unusable: ${signingKey}`;
    const decoy = signingKeys.get(scheme, params, undefined) as MacKey;
    return { signingKey: decoy, accessKey, flaw: { code: 'ERR_KEY_INACTIVE', text } };
  };
}

function judge(
  key: AccessKey | undefined,
  params: SignatureParams,
  audience: string,
  now: number,
): KeyFlaw | undefined {
  if (params.audience !== audience) {
    return {
      code: 'ERR_SIGNATURE_MISMATCH',
      text: `the request is for audience ${quote(params.audience)}, this server is ${quote(audience)}`,
    };
  }
  // A store that looks up names in a plain object finds `__proto__`.
  if (key?.accessKeyId !== params.accessKeyId) return UNKNOWN;
  if (key.status !== 'active') return INACTIVE;
  // Stores of somebody's own hand out what their database does: a Date, milliseconds, a list written as text.
  if (!isTime(key.notBefore) || !isTime(key.expiresAt) || !Array.isArray(key.scopes))
    return MALFORMED;
  if (!(now >= (key.notBefore ?? 0))) return NOT_YET_VALID;
  if (!(now < (key.expiresAt ?? Number.POSITIVE_INFINITY))) return EXPIRED;
  return undefined;
}

/** Whether a value is a time in Unix seconds, or none. */
function isTime(value: unknown): boolean {
  const isNone = value === undefined || value === null;
  return isNone || (typeof value === 'number' && value >= 0 && value <= LATEST_TIME);
}
