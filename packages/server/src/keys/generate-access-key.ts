import { generateKeyPairSync, type KeyPairKeyObjectResult, randomBytes } from 'node:crypto';
import {
  ALGORITHMS,
  type Algorithm,
  describeValue,
  isAlgorithm,
  kindOf,
  type PublicKeyAlgorithm,
} from '@countersign/shared';
import type { AccessKey, PublicAccessKey, PublicKeyInput } from '../verify/key-store.ts';
import { readPublicKey } from '../verify/public-key.ts';

/** Crockford's base32: it has no I, L, O and U, so people can read an id aloud. */
const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** Whose key it is, and what it may be used for. Times are Unix seconds. */
export type AccessKeyOwner = Partial<
  Pick<AccessKey, 'subject' | 'scopes' | 'audiences' | 'label' | 'notBefore' | 'expiresAt'>
>;

/** Both halves of a key that was just made. */
export interface GeneratedKeyPair {
  /** For the server: it holds the public key, and nothing that is secret. */
  readonly accessKey: PublicAccessKey;
  /** For its owner, as `createSigner()` takes them. The server needs no private key. */
  readonly credentials: {
    readonly accessKeyId: string;
    readonly algorithm: PublicKeyAlgorithm;
    /** PEM (PKCS #8). */
    readonly privateKey: string;
  };
}

/**
 * Makes an access key. Its id is `CSAK` and 20 random characters of Crockford base32, its secret 32
 * random bytes in base64url. Store it, and show the secret to its owner once.
 *
 * With an `algorithm` such as `ed25519` it makes a pair of keys: store `accessKey`, and give
 * `credentials` to its owner. With a `publicKey` it makes the record of a key whose owner keeps the
 * private half.
 *
 * @param owner whose key it is, and what it may be used for; if not given, `subject` is the id of
 *   the key, and it has no `scopes`
 * @throws TypeError if `owner` is no object, or the algorithm or the public key cannot be used
 *
 * @example
 * ```ts
 * import { generateAccessKey } from '@countersign/server';
 *
 * const { accessKeyId, secretAccessKey } = generateAccessKey({ subject: 'alice' });
 * console.assert(/^CSAK[0-9A-Z]{20}$/.test(accessKeyId) && secretAccessKey.length === 43);
 *
 * const { accessKey, credentials } = generateAccessKey({ subject: 'bob', algorithm: 'ed25519' });
 * console.assert(accessKey.publicKey.algorithm === 'ed25519');
 * console.assert(credentials.privateKey.startsWith('-----BEGIN PRIVATE KEY-----'));
 * ```
 */
export function generateAccessKey(
  owner?: AccessKeyOwner & { readonly algorithm?: 'hmac-sha256' | undefined },
): AccessKey;
export function generateAccessKey(
  owner: AccessKeyOwner & { readonly algorithm: PublicKeyAlgorithm },
): GeneratedKeyPair;
export function generateAccessKey(
  owner: AccessKeyOwner & { readonly publicKey: PublicKeyInput },
): PublicAccessKey;
export function generateAccessKey(owner: KeyRequest): GeneratedKey;
export function generateAccessKey(given: KeyRequest = {}): GeneratedKey {
  if (kindOf(given) !== 'object')
    throw new TypeError(
      `Cannot make access key: expected its owner, such as { subject: "alice" }, got ${kindOf(given)}`,
    );
  const { algorithm, publicKey, ...owner } = given;
  const accessKeyId = `CSAK${encodeCrockford(randomBytes(20))}`;
  // A subject of its own: keys of one subject share a budget of nonces, and are revoked
  // together.
  const metadata = { subject: accessKeyId, scopes: [], status: 'active', ...owner } as const;
  if (publicKey !== undefined) {
    if (algorithm !== undefined)
      throw new TypeError(
        'Cannot make access key: the algorithm of a public key stands in "publicKey"',
      );
    const key = readPublicKey(publicKey);
    if (typeof key === 'string')
      throw new TypeError(`Cannot make access key: its "publicKey" is unusable: expected ${key}`);
    return { accessKeyId, publicKey: key, ...metadata };
  }
  if (algorithm === undefined || algorithm === 'hmac-sha256')
    return { accessKeyId, secretAccessKey: randomBytes(32).toString('base64url'), ...metadata };
  if (!isAlgorithm(algorithm))
    throw new TypeError(
      `Cannot make access key: "algorithm" is ${describeValue(algorithm)}: expected one of ${ALGORITHMS.join(', ')}`,
    );
  const pair = MAKERS[algorithm]();
  const key = String(pair.publicKey.export({ format: 'pem', type: 'spki' }));
  const privateKey = String(pair.privateKey.export({ format: 'pem', type: 'pkcs8' }));
  return {
    accessKey: { accessKeyId, publicKey: { algorithm, key }, ...metadata },
    credentials: { accessKeyId, algorithm, privateKey },
  };
}

/** One of the three kinds of key. */
export type GeneratedKey = AccessKey | PublicAccessKey | GeneratedKeyPair;

/** What key to make. */
export interface KeyRequest extends AccessKeyOwner {
  readonly algorithm?: Algorithm | undefined;
  readonly publicKey?: PublicKeyInput | undefined;
}

const MAKERS: Readonly<Record<PublicKeyAlgorithm, () => KeyPairKeyObjectResult>> = {
  ed25519: () => generateKeyPairSync('ed25519'),
  'ecdsa-p256-sha256': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'ecdsa-p384-sha384': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  // As strong as P-256 (NIST SP 800-57).
  'rsa-pss-sha512': () => generateKeyPairSync('rsa', { modulusLength: 3_072 }),
  'rsa-v1_5-sha256': () => generateKeyPairSync('rsa', { modulusLength: 3_072 }),
};

/**
 * Makes one character of each byte. Five bits of a byte count, so the text is as random as the
 * bytes.
 */
export function encodeCrockford(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => CROCKFORD[byte & 31]).join('');
}
