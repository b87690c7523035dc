import { constants, createPublicKey, type JsonWebKey, KeyObject, verify } from 'node:crypto';
import {
  algorithmsOf,
  FEWEST_RSA_BITS,
  MOST_RSA_BITS,
  type PublicKeyAlgorithm,
  quote,
  type VerifyKey,
} from '@countersign/shared';
import { isOfSmallOrder } from '../lib/small-order.ts';
import type { PublicKey, PublicKeyInput } from './key-store.ts';

const PEM =
  /^\s*-----BEGIN (?:RSA )?PUBLIC KEY-----[\sA-Za-z0-9+/=]{1,4096}-----END (?:RSA )?PUBLIC KEY-----\s*$/;

/**
 * Reads a public key that is given to a store.
 *
 * @returns the key in one form: PEM (SPKI, RFC 5280 section 4.1); or, as a text, what is expected
 * instead of this key
 */
export function readPublicKey(
  input: unknown,
): { readonly algorithm: PublicKeyAlgorithm; readonly key: string } | string {
  const { algorithm, key } = (input ?? {}) as Partial<PublicKeyInput>;
  const read = readKeyObject(key);
  if (typeof read === 'string') return read;
  const possible = algorithmsOf(read.export({ format: 'jwk' }));
  const chosen = algorithm ?? possible[0];
  if (chosen === undefined || !possible.includes(chosen))
    return wrongAlgorithm(possible, algorithm);
  return { algorithm: chosen, key: String(read.export({ format: 'pem', type: 'spki' })) };
}

/**
 * Prepares a public key for verification.
 *
 * @returns the prepared key; or, as a text for a refusal, what is wrong with it
 */
export function importPublicKey(publicKey: PublicKey): VerifyKey | string {
  const flaw = (expected: string): string => `its public key is unusable: expected ${expected}`;
  const { algorithm } = publicKey;
  const key = readKeyObject(publicKey.key);
  if (typeof key === 'string') return flaw(key);
  const possible = algorithmsOf(key.export({ format: 'jwk' }));
  if (!possible.includes(algorithm)) return flaw(wrongAlgorithm(possible, algorithm));
  const { hash, ...how } = VERIFICATIONS[algorithm];
  const options = { key, ...how };
  const { modulusLength } = key.asymmetricKeyDetails ?? {};
  if (modulusLength === undefined)
    return { algorithm, verify: (data, signature) => verify(hash, data, options, signature) };
  const length = Math.ceil(modulusLength / 8);
  return {
    algorithm,
    // OpenSSL also accepts a PSS signature without its leading zeros. That would be a second form.
    verify: (data, signature) =>
      signature.length === length && verify(hash, data, options, signature),
  };
}

/** ECDSA: r and s, one after the other. PSS: a salt as long as the hash (RFC 9421 section 3.3). */
const VERIFICATIONS: Readonly<
  Record<
    PublicKeyAlgorithm,
    {
      readonly hash: string | null;
      readonly dsaEncoding?: 'ieee-p1363';
      readonly padding?: number;
      readonly saltLength?: number;
    }
  >
> = {
  ed25519: { hash: null },
  'ecdsa-p256-sha256': { hash: 'sha256', dsaEncoding: 'ieee-p1363' },
  'ecdsa-p384-sha384': { hash: 'sha384', dsaEncoding: 'ieee-p1363' },
  'rsa-pss-sha512': {
    hash: 'sha512',
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: 64,
  },
  'rsa-v1_5-sha256': { hash: 'sha256', padding: constants.RSA_PKCS1_PADDING },
};

/**
 * Refuses private keys. Node would use the public half, but the owner has given the private key to
 * a server and must replace it.
 */
function readKeyObject(key: unknown): KeyObject | string {
  const read = readAny(key);
  if (read === undefined) return 'a public key in PEM, as a JWK, or a KeyObject; no private key';
  return findKeyFlaw(read) ?? read;
}

function readAny(key: unknown): KeyObject | undefined {
  if (key instanceof KeyObject) return key.type === 'public' ? key : undefined;
  try {
    if (typeof key === 'string') return PEM.test(key) ? createPublicKey(key) : undefined;
    if (typeof key !== 'object' || key === null || 'd' in key) return undefined;
    return createPublicKey({ key: key as JsonWebKey, format: 'jwk' });
  } catch {
    // The error of OpenSSL does not say what to do.
    return undefined;
  }
}

/** What is expected instead of a weak key; `undefined` if nothing is wrong. */
function findKeyFlaw(key: KeyObject): string | undefined {
  const { asymmetricKeyType, asymmetricKeyDetails = {} } = key;
  if (asymmetricKeyType === 'ed25519') {
    const { x = '' } = key.export({ format: 'jwk' });
    return isOfSmallOrder(Buffer.from(x, 'base64url'))
      ? 'a key that was generated: this one is a point of small order, for which every attacker can sign'
      : undefined;
  }
  if (asymmetricKeyType === 'rsa') {
    const { modulusLength = 0, publicExponent = 0n } = asymmetricKeyDetails;
    if (!(modulusLength >= FEWEST_RSA_BITS && modulusLength <= MOST_RSA_BITS))
      return `an RSA key of ${FEWEST_RSA_BITS} to ${MOST_RSA_BITS} bits: this one has ${modulusLength}`;
    // With the exponent 1 the signature is the signed text itself, so an attacker could make one.
    return publicExponent >= 3n && publicExponent % 2n === 1n
      ? undefined
      : `an RSA key with an odd exponent of at least 3: this one has ${publicExponent}`;
  }
  const curve = asymmetricKeyDetails.namedCurve;
  if (asymmetricKeyType === 'ec' && (curve === 'prime256v1' || curve === 'secp384r1'))
    return undefined;
  return `a key of Ed25519, P-256, P-384 or RSA: this one is ${[asymmetricKeyType, curve].filter((it) => it !== undefined).join(' ')}`;
}

function wrongAlgorithm(possible: readonly string[], algorithm: unknown): string {
  return `"algorithm" ${possible.join(' or ')} for this key, not ${quote(algorithm)}`;
}
