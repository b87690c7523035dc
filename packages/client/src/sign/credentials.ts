import {
  ALGORITHMS,
  type Algorithm,
  findSecretFlaw,
  findTextFlaw,
  importPrivateKey,
  isAccessKeyId,
  isAlgorithm,
  LATEST_TIME,
  type PrivateKeyInput,
  quote,
  type SignKey,
} from '@countersign/shared';

/** What a client signs with. */
export interface Credentials {
  readonly accessKeyId: string;
  /** The shared secret. Instead of it {@link Credentials.privateKey}, or {@link Credentials.sign} for a key that must not leave its vault. */
  readonly secretAccessKey?: string | undefined;
  /**
   * A private key whose public half the server has: PEM (PKCS #8), a JWK, a `CryptoKey` that may sign, or in Node a `KeyObject`. Of Ed25519,
   * P-256, P-384, or RSA of at least 2,048 bits.
   */
  readonly privateKey?: PrivateKeyInput | undefined;
  /**
   * What is signed with: what a private key says by itself if not given, `rsa-pss-sha512` for RSA; `hmac-sha256` for {@link Credentials.sign}.
   * It must be that of the key's record on the server.
   */
  readonly algorithm?: Algorithm | undefined;
  /**
   * Signs the string to sign: with a key management service, or anything else that holds the key. For `hmac-sha256` it computes
   * HMAC-SHA256 under the signing key of a scope, such as `20261121/video-api/countersign1_request`. ECDSA gives r and s one after the other.
   */
  readonly sign?:
    | ((stringToSign: Uint8Array, scope: string) => Signature | Promise<Signature>)
    | undefined;
  /** Of session credentials: sent along, signed. */
  readonly sessionToken?: string | undefined;
  /** Unix seconds: when new ones must be asked for. Without it they are kept for good. */
  readonly expiresAt?: number | undefined;
}

/**
 * Credentials, or where they come from: a function, called with the id of credentials that a server has just refused, if that is why
 * it is called.
 */
export type CredentialsProvider =
  | Credentials
  | ((refused?: string) => Credentials | Promise<Credentials>);

/** The bytes of a signature. WebCrypto gives an `ArrayBuffer`. */
export type Signature = Uint8Array | ArrayBuffer;

/** Credentials that can be used, with their private key as it signs. */
export interface CheckedCredentials extends Credentials {
  readonly algorithm: Algorithm | undefined;
  /** A promise where WebCrypto reads the key. */
  readonly signKey: SignKey | Promise<SignKey> | undefined;
}

/** Copies credentials that can be used. No value is part of a message: a secret may stand in the wrong field. */
export function checkCredentials(given: Credentials): CheckedCredentials {
  if (typeof given !== 'object' || given === null) {
    throw new TypeError(
      `Cannot sign with credentials of type ${given === null ? 'null' : typeof given}: expected { accessKeyId, secretAccessKey }, or a function that gives them`,
    );
  }
  const { accessKeyId, secretAccessKey, privateKey, algorithm, sign, sessionToken, expiresAt } =
    given;
  const expect = (name: keyof Credentials, holds: boolean, expected: string): void => {
    if (holds) return;
    const value = given[name];
    const flaw = typeof value === 'string' ? findTextFlaw(value) : undefined;
    throw new TypeError(
      `Cannot sign with these credentials: "${name}" is unusable: ${flaw ?? `expected ${expected}`}`,
    );
  };
  expect(
    'accessKeyId',
    typeof accessKeyId === 'string' && isAccessKeyId(accessKeyId),
    '1 to 128 of A-Z a-z 0-9 . _ -',
  );
  expect('sign', sign === undefined || typeof sign === 'function', 'a function');
  expect(
    'algorithm',
    algorithm === undefined || isAlgorithm(algorithm),
    `one of ${ALGORITHMS.join(', ')}`,
  );
  expect(
    'sessionToken',
    sessionToken === undefined ||
      (typeof sessionToken === 'string' &&
        /^[!-~]+$/.test(sessionToken) &&
        findTextFlaw(sessionToken) === undefined),
    'visible ASCII',
  );
  expect(
    'expiresAt',
    expiresAt === undefined || (typeof expiresAt === 'number' && expiresAt <= LATEST_TIME),
    'Unix seconds, not milliseconds, not a Date',
  );
  const rest = { accessKeyId, sessionToken, expiresAt };
  // With two keys nobody could say which of them signs.
  if ([secretAccessKey, privateKey, sign].filter((it) => it !== undefined).length > 1)
    throw new TypeError(
      `Cannot sign with access key ${quote(accessKeyId)}: expected one of "secretAccessKey", "privateKey" and "sign"`,
    );
  if (privateKey !== undefined) {
    const signKey = importPrivateKey(privateKey, algorithm);
    // Where it is no key, that is said when it is awaited.
    if (signKey instanceof Promise) signKey.catch(() => undefined);
    return { ...rest, privateKey, algorithm, signKey };
  }
  if (sign !== undefined) return { ...rest, sign, algorithm, signKey: undefined };
  const flaw = findSecretFlaw(secretAccessKey);
  if (flaw !== undefined)
    throw new TypeError(
      `Cannot sign with access key ${quote(accessKeyId)}: its "secretAccessKey" is unusable: ${flaw}`,
    );
  expect('algorithm', (algorithm ?? 'hmac-sha256') === 'hmac-sha256', 'hmac-sha256 for a secret');
  return { ...rest, secretAccessKey, algorithm, signKey: undefined };
}
