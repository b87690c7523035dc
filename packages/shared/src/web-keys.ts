import type { Algorithm, PublicKeyAlgorithm, SignKey } from './algorithms.ts';

/** A key of WebCrypto: `CryptoKey`, by a type name that Node also has. */
export type WebCryptoKey = Parameters<typeof crypto.subtle.sign>[1];

/** A key as JSON (RFC 7517). */
export interface Jwk {
  readonly kty?: string | undefined;
  readonly [parameter: string]: unknown;
}

/** The parts of a `KeyObject` of `node:crypto` that are used here. */
export interface NodeKeyObject {
  readonly type: 'private' | 'public' | 'secret';
  readonly asymmetricKeyType?: string | undefined;
}

/**
 * A private key: PEM (PKCS #8, RFC 5958), a JWK, a `CryptoKey` that may sign, or in Node a
 * `KeyObject`.
 */
export type PrivateKeyInput = string | Jwk | WebCryptoKey | NodeKeyObject;

interface WebAlgorithm {
  readonly name: string;
  readonly namedCurve?: string;
  readonly hash?: string;
  readonly saltLength?: number;
}

/** The algorithms by their WebCrypto names. ECDSA gives r and s, one after the other. */
const WEB: Readonly<Record<PublicKeyAlgorithm, WebAlgorithm>> = {
  ed25519: { name: 'Ed25519' },
  'ecdsa-p256-sha256': { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  'ecdsa-p384-sha384': { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  'rsa-pss-sha512': { name: 'RSA-PSS', hash: 'SHA-512', saltLength: 64 },
  'rsa-v1_5-sha256': { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
};

const WEB_ALGORITHMS = Object.keys(WEB) as PublicKeyAlgorithm[];

const PEM = /^\s*-----BEGIN PRIVATE KEY-----([\sA-Za-z0-9+/=]+)-----END PRIVATE KEY-----\s*$/;

/** Whether a value is a key of WebCrypto, of any realm. */
export function isWebKey(key: unknown): key is WebCryptoKey {
  return Object.prototype.toString.call(key) === '[object CryptoKey]';
}

/**
 * Prepares a key of WebCrypto for signing. The key need not be extractable.
 *
 * @throws TypeError if it cannot sign, or not with this algorithm
 */
export function webSignKey(key: WebCryptoKey, asked?: Algorithm): SignKey {
  const { name, namedCurve, hash } = key.algorithm as WebAlgorithm & { hash?: { name: string } };
  const algorithm = WEB_ALGORITHMS.find(
    (it) =>
      WEB[it].name === name &&
      WEB[it].namedCurve === namedCurve &&
      (hash === undefined || (hash as { name: string }).name === WEB[it].hash),
  );
  if (algorithm === undefined || !key.usages.includes('sign')) throw noKey(EXPECTED);
  if (asked !== undefined && asked !== algorithm) throw noKey(`it is for ${algorithm}`);
  return {
    algorithm,
    sign: async (data) =>
      new Uint8Array(
        await crypto.subtle.sign(WEB[algorithm], key, data as Uint8Array<ArrayBuffer>),
      ),
  };
}

/**
 * Reads a private key with WebCrypto alone.
 *
 * @throws TypeError if it is not a private key. The message never holds the key
 */
export async function importWebKey(key: unknown, asked?: Algorithm): Promise<SignKey> {
  if (isWebKey(key)) return webSignKey(key, asked);
  const [format, data] = readWebKey(key);
  // WebCrypto does not say of which kind a key is, but it imports a key only as its own kind.
  for (const algorithm of WEB_ALGORITHMS) {
    if (asked !== undefined && asked !== algorithm) continue;
    const imported = await crypto.subtle
      .importKey(format as 'pkcs8', data as Uint8Array<ArrayBuffer>, WEB[algorithm], false, [
        'sign',
      ])
      .catch(() => undefined);
    if (imported !== undefined) return webSignKey(imported, asked);
  }
  throw noKey(EXPECTED);
}

function readWebKey(key: unknown): ['jwk' | 'pkcs8', Jwk | Uint8Array] {
  if (typeof key === 'object' && key !== null && 'd' in key) {
    // `key_ops` is left out: the import below says what the key is for.
    const { alg: _, use: __, key_ops: ___, ...jwk } = key as Jwk;
    return ['jwk', jwk];
  }
  const base64 = typeof key === 'string' ? PEM.exec(key)?.[1] : undefined;
  if (base64 === undefined) throw noKey(EXPECTED);
  return ['pkcs8', Uint8Array.from(atob(base64), (it) => it.charCodeAt(0))];
}

/** What is expected instead of a value that is not a usable private key. */
export const EXPECTED = 'expected a private key: PEM, a JWK or a CryptoKey';

/** The message never shows the key: a key that is wrong here may be in use elsewhere. */
export function noKey(why: string): TypeError {
  return new TypeError(`Cannot sign with this private key: ${why}`);
}
