import {
  ALGORITHMS,
  type Algorithm,
  findSecretFlaw,
  findTextFlaw,
  importPrivateKey,
  isAccessKeyId,
  isAlgorithm,
  kindOf,
  LATEST_TIME,
  type PrivateKeyInput,
  quote,
  type SignKey,
} from '@countersign/shared';

/** What a client signs with. */
export interface Credentials {
  readonly accessKeyId: string;
  /**
   * The shared secret. Instead, give {@link Credentials.privateKey}, or {@link Credentials.sign}
   * for a key that must not leave its vault.
   */
  readonly secretAccessKey?: string | undefined;
  /**
   * A private key whose public half the server has: PEM (PKCS #8), a JWK, a `CryptoKey` that may
   * sign, or in Node a `KeyObject`. It is an Ed25519, P-256 or P-384 key, or an RSA key of at least
   * 2,048 bits.
   */
  readonly privateKey?: PrivateKeyInput | undefined;
  /**
   * The algorithm; it must be that of the key's record on the server. If not given, it follows from
   * the private key (`rsa-pss-sha512` for RSA), and is `hmac-sha256` for a secret or
   * {@link Credentials.sign}.
   */
  readonly algorithm?: Algorithm | undefined;
  /**
   * Signs the string to sign, for example with a key management service. For `hmac-sha256` it
   * computes HMAC-SHA256 under the signing key of a scope, such as
   * `20261121/video-api/countersign1_request`. For ECDSA it gives r followed by s.
   */
  readonly sign?:
    | ((stringToSign: Uint8Array, scope: string) => Signature | Promise<Signature>)
    | undefined;
  /** The token of session credentials. It is sent with the request, and signed. */
  readonly sessionToken?: string | undefined;
  /** When the credentials expire, in Unix seconds. Without it they never do. */
  readonly expiresAt?: number | undefined;
}

/**
 * Credentials, or a function that gives them. If a server has just refused credentials, the
 * function is called with their access key id.
 */
export type CredentialsProvider =
  | Credentials
  | ((refused?: string) => Credentials | Promise<Credentials>);

/** The bytes of a signature. WebCrypto gives an `ArrayBuffer`. */
export type Signature = Uint8Array | ArrayBuffer;

/** Credentials that can be used, with their imported private key. */
export interface CheckedCredentials extends Credentials {
  readonly algorithm: Algorithm | undefined;
  /** A promise if WebCrypto imports the key. */
  readonly signKey: SignKey | Promise<SignKey> | undefined;
}

/**
 * Copies the credentials that an application gave.
 *
 * @throws TypeError if they cannot be used. No message shows a value, because a secret may be in
 *   the wrong field.
 */
export function checkCredentials(given: Credentials): CheckedCredentials {
  if (typeof given !== 'object' || given === null) {
    throw new TypeError(
      `Cannot sign with credentials of type ${kindOf(given)}: expected { accessKeyId, secretAccessKey }, or a function that gives them`,
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
  // With two keys it would be unclear which of them signs.
  if ([secretAccessKey, privateKey, sign].filter((it) => it !== undefined).length > 1)
    throw new TypeError(
      `Cannot sign with access key ${quote(accessKeyId)}: expected one of "secretAccessKey", "privateKey" and "sign"`,
    );
  if (privateKey !== undefined) {
    const signKey = importPrivateKey(privateKey, algorithm);
    // `sign()` awaits the key, and reports there that it is not a key.
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
