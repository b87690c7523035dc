import {
  type Algorithm,
  isAlgorithm,
  isTime,
  quote,
  type Scheme,
  type SignatureErrorCode,
  type SignatureParams,
  type VerifyKey,
} from '@countersign/shared';
import type { FoundAccessKey } from './key-store.ts';
import type { Session } from './session-provider.ts';
import { type KeyMaterial, SigningKeys } from './signing-keys.ts';

/** Why a key cannot be accepted, even if the signature is right. */
export interface KeyFlaw {
  readonly code: SignatureErrorCode;
  readonly text: string;
}

/** An access key, or the key in a session token. */
export type AnyKey = FoundAccessKey & { readonly session?: Session | undefined };

/** The key to verify a signature with. */
export interface FoundKey {
  readonly verifyKey: VerifyKey;
  readonly accessKey: AnyKey | undefined;
  readonly flaw: KeyFlaw | undefined;
}

/** Chooses the key to verify with, from what a key store gave. */
export type ChooseKey = (
  accessKey: AnyKey | undefined,
  scheme: Scheme,
  params: SignatureParams,
  scope: string,
  now: number,
) => FoundKey;

const UNKNOWN: KeyFlaw = { code: 'ERR_KEY_UNKNOWN', text: 'there is no such key' };
const INACTIVE: KeyFlaw = { code: 'ERR_KEY_INACTIVE', text: 'it is not active' };
const NOT_YET_VALID: KeyFlaw = { code: 'ERR_KEY_INACTIVE', text: 'it is not valid yet' };
const MALFORMED: KeyFlaw = {
  code: 'ERR_KEY_INACTIVE',
  text: 'its record is malformed: expected times in Unix seconds, and a list of scopes',
};
const ELSEWHERE: KeyFlaw = { code: 'ERR_KEY_INACTIVE', text: 'it is not for this audience' };
const REVOKED: KeyFlaw = { code: 'ERR_KEY_INACTIVE', text: 'it is revoked' };
const SIGNED_BEFORE: KeyFlaw = {
  code: 'ERR_KEY_INACTIVE',
  text: 'what it signed until then is revoked',
};
const EXPIRED: KeyFlaw = { code: 'ERR_KEY_INACTIVE', text: 'it has expired' };
const NO_PUBLIC_KEY: KeyFlaw = {
  code: 'ERR_KEY_INACTIVE',
  text: 'its record is malformed: expected a secret, or a public key as { algorithm, key }',
};

/** Judged in place of an unknown key, so that an unknown key takes the same time as a known one. */
const DECOY_KEY: AnyKey = {
  accessKeyId: '',
  secretAccessKey: '',
  subject: '',
  scopes: [],
  status: 'active',
};

/**
 * Builds the choice of keys. If there is no usable key, it gives a decoy key that no client has,
 * and the flaw. The signature is computed all the same, and the flaw is told afterwards. So an
 * attacker cannot tell an unknown key from a wrong signature, even by its time.
 */
export function createChooseKey(audience: string): ChooseKey {
  const signingKeys = new SigningKeys();

  return (accessKey, scheme, params, scope, now) => {
    const flaw = judge(accessKey, scheme, params, audience, now);
    const material = flaw === undefined ? materialOf(accessKey as AnyKey, scope) : undefined;
    const verifyKey = signingKeys.get(scheme, params, scope, material);
    if (typeof verifyKey !== 'string') return { verifyKey, accessKey, flaw };
    const decoy = signingKeys.get(scheme, params, scope, undefined) as VerifyKey;
    return { verifyKey: decoy, accessKey, flaw: { code: 'ERR_KEY_INACTIVE', text: verifyKey } };
  };
}

/**
 * The public key, or the secret. If the store gives neither, the signing key that was derived from
 * the secret for this scheme, day and audience.
 */
function materialOf(
  { secretAccessKey, signingKeys, publicKey }: AnyKey,
  scope: string,
): KeyMaterial {
  if (publicKey !== undefined && publicKey !== null) return publicKey;
  const secret: unknown = secretAccessKey ?? undefined;
  if (secret === undefined) {
    const derived: unknown = signingKeys?.[scope];
    // Text in its place is refused: it would be taken for the secret.
    return derived instanceof Uint8Array ? derived : NO_KEY;
  }
  // Bytes in place of the secret are refused: they would be taken for a signing key, and a buffer
  // of zeros would be a valid one.
  return typeof secret === 'string' ? secret : '';
}

const NO_KEY = new Uint8Array();

/**
 * The algorithm of a key. The record alone decides, not the request: if a public key were used as
 * the secret of an HMAC, every attacker could sign.
 *
 * @returns `undefined` if the public key is malformed, or the record also holds a secret
 */
function algorithmOf({ publicKey, secretAccessKey, signingKeys }: AnyKey): Algorithm | undefined {
  if ((publicKey ?? undefined) === undefined) return 'hmac-sha256';
  const algorithm: unknown = publicKey?.algorithm;
  const isAlone = (secretAccessKey ?? signingKeys ?? undefined) === undefined;
  return isAlone && isAlgorithm(algorithm) && algorithm !== 'hmac-sha256' ? algorithm : undefined;
}

function judge(
  key: AnyKey | undefined,
  scheme: Scheme,
  params: SignatureParams,
  audience: string,
  now: number,
): KeyFlaw | undefined {
  // `undefined`: the scheme itself has refused other audiences.
  if (params.audience !== undefined && params.audience !== audience) {
    return {
      code: 'ERR_SIGNATURE_MISMATCH',
      text: `the request is for audience ${quote(params.audience)}, this server is ${quote(audience)}`,
    };
  }
  // A store that looks up names in a plain object would find `__proto__`.
  const isKnown = key?.accessKeyId === params.accessKeyId;
  // Without a key the decoy is judged: a shorter time would show that the key is unknown.
  const flaw = judgeRecord(isKnown ? key : DECOY_KEY, scheme, params, audience, now);
  return isKnown ? flaw : UNKNOWN;
}

function judgeRecord(
  key: AnyKey,
  scheme: Scheme,
  params: SignatureParams,
  audience: string,
  now: number,
): KeyFlaw | undefined {
  if (key.status !== 'active') return key.status === 'revoked' ? REVOKED : INACTIVE;
  // A store of the application may give what its database gives: a Date, milliseconds, a list as
  // text.
  const { notBefore, expiresAt, signedSince, scopes, audiences } = key;
  const hasTimes = isTimeOrNone(notBefore) && isTimeOrNone(expiresAt) && isTimeOrNone(signedSince);
  if (!hasTimes || !Array.isArray(scopes)) return MALFORMED;
  if (audiences !== undefined && audiences !== null && !isAmong(audiences, audience))
    return ELSEWHERE;
  if (!(params.signedAt >= (signedSince ?? 0))) return SIGNED_BEFORE;
  // A session begins by the clock of another server: see check-session-begin.
  if (key.session === undefined && !(now >= (notBefore ?? 0))) return NOT_YET_VALID;
  if (!(now < (expiresAt ?? Number.POSITIVE_INFINITY))) return EXPIRED;
  return judgeAlgorithm(key, scheme, params);
}

function judgeAlgorithm(
  key: AnyKey,
  scheme: Scheme,
  { algorithm: claimed }: SignatureParams,
): KeyFlaw | undefined {
  const algorithm = algorithmOf(key);
  if (algorithm === undefined) return NO_PUBLIC_KEY;
  if (claimed !== undefined && claimed !== algorithm) {
    return {
      code: 'ERR_SIGNATURE_MISMATCH',
      text: `the request is signed with ${claimed}, the key is for ${quote(algorithm)}`,
    };
  }
  if (scheme.algorithms.includes(algorithm)) return undefined;
  return {
    code: 'ERR_SIGNATURE_MISMATCH',
    text: `the key is for ${quote(algorithm)}, which ${scheme.name} has no form for`,
  };
}

/** `includes` of a text would find a name inside another name, so only a list counts. */
function isAmong(audiences: readonly string[], audience: string): boolean {
  return Array.isArray(audiences) && audiences.includes(audience);
}

/** Whether a value is a time in Unix seconds, or none. */
function isTimeOrNone(value: unknown): boolean {
  const isNone = value === undefined || value === null;
  return isNone || isTime(value);
}
