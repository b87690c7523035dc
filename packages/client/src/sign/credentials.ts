import {
  ALGORITHMS,
  type Algorithm,
  deriveMacKey,
  findSecretFlaw,
  findTextFlaw,
  hmacSha256,
  importPrivateKey,
  isAccessKeyId,
  isAlgorithm,
  isSignatureLength,
  kindOf,
  LATEST_TIME,
  type MacKey,
  type MakeSignature,
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
export type CredentialsSource =
  | Credentials
  | ((refused?: string) => Credentials | Promise<Credentials>);

/** The one way to credentials. */
export interface CredentialsNow {
  (): Promise<CheckedCredentials> | CheckedCredentials;
  /**
   * Asks for others than those of an id, which a server has refused: they may have been revoked, or rotated away.
   *
   * @returns whether there are any; nobody asks more often than every few seconds
   */
  replace(refused: string): Promise<boolean>;
  /** Whether that would be of any use. */
  isReplaceable(refused: string): boolean;
}

/** Credentials that can be used, with their private key as it signs. */
export interface CheckedCredentials extends Credentials {
  readonly algorithm: Algorithm | undefined;
  /** A promise where WebCrypto reads the key. */
  readonly signKey: SignKey | Promise<SignKey> | undefined;
}

/** Bytes, as they are or as WebCrypto gives them. */
type Signature = Uint8Array | ArrayBuffer;

/** Seconds before their expiry at which credentials are renewed: a signed request still has to get there. */
const RENEW_BEFORE = 60;
/** The part of their life, where that is short. */
const RENEW_BEFORE_PART = 0.6;
/** Seconds for which nobody asks again after a renewal failed, while the old credentials serve. */
const RENEWAL_PAUSE = 5;

/**
 * Builds the one way to credentials: a function is asked once, then again when what it gave is about to expire, and by one
 * caller at a time. While that takes its time, or where it fails, the old ones serve until they expire.
 *
 * @param clock Unix seconds
 * @throws TypeError where a value given directly cannot be used
 */
export function createCredentials(source: CredentialsSource, clock: () => number): CredentialsNow {
  if (typeof source !== 'function') {
    const credentials = checkCredentials(source);
    return Object.assign(() => credentials, {
      replace: async () => false,
      isReplaceable: () => false,
    });
  }
  let current: CheckedCredentials | undefined;
  /** Unix seconds: when the present ones are to be renewed. */
  let renewAt = Number.NEGATIVE_INFINITY;
  /** Unix seconds: from when on it is worth waiting for new ones, because the present ones may end on the way. */
  let waitFrom = Number.NEGATIVE_INFINITY;
  let renewal: Promise<CheckedCredentials> | undefined;
  /** Unix seconds: when they were doubted last. */
  let doubtedAt = Number.NEGATIVE_INFINITY;

  const isAlive = (): boolean =>
    current !== undefined && clock() < (current.expiresAt ?? Number.POSITIVE_INFINITY);

  const renew = async (refused?: string): Promise<CheckedCredentials> => {
    try {
      current = checkCredentials(await source(refused));
      const { expiresAt = Number.POSITIVE_INFINITY } = current;
      const early = Math.min(RENEW_BEFORE, RENEW_BEFORE_PART * (expiresAt - clock()));
      renewAt = expiresAt - early;
      waitFrom = expiresAt - early / 2;
      return current;
    } catch (error) {
      if (!isAlive()) throw error;
      renewAt = clock() + RENEWAL_PAUSE;
      return current as CheckedCredentials;
    }
  };

  const renewOnce = (refused?: string): Promise<CheckedCredentials> => {
    // Cleared here, not in `renew`: what throws before its first `await` would be kept for good.
    renewal ??= renew(refused).finally(() => {
      renewal = undefined;
    });
    return renewal;
  };

  const now = (): Promise<CheckedCredentials> | CheckedCredentials => {
    const alive = isAlive() ? current : undefined;
    if (alive !== undefined && clock() < renewAt) return alive;
    const renewed = renewOnce();
    if (alive === undefined || !(clock() < waitFrom)) return renewed;
    // Whoever gives new ones may take their time, or hang: no call waits for that while the old ones live. Where it fails, the next asks.
    renewed.catch(() => undefined);
    return alive;
  };

  // Where others are there already, or on their way, somebody else was refused before.
  const isReplaceable = (refused: string): boolean =>
    current?.accessKeyId !== refused ||
    renewal !== undefined ||
    clock() >= doubtedAt + RENEWAL_PAUSE;

  const replace = async (refused: string): Promise<boolean> => {
    const before = current;
    if (before?.accessKeyId !== refused) return true;
    const isOther = (): boolean =>
      current?.accessKeyId !== refused ||
      current.secretAccessKey !== before.secretAccessKey ||
      current.privateKey !== before.privateKey;
    // What is under way may give what is cached: it was not told that this is refused.
    await renewal?.catch(() => undefined);
    if (isOther()) return true;
    if (!isReplaceable(refused)) return false;
    doubtedAt = clock();
    await renewOnce(refused).catch(() => undefined);
    return isOther();
  };
  return Object.assign(now, { replace, isReplaceable });
}

/** Signs with credentials, keeping the signing key derived last: it is good for a day. */
export function createSign(): (
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

/** Copies credentials that can be used. No value is part of a message: a secret may stand in the wrong field. */
function checkCredentials(given: Credentials): CheckedCredentials {
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
