import {
  encodeUtf8,
  findSecretFlaw,
  findTextFlaw,
  hmacSha256,
  importMacKey,
  isAccessKeyId,
  quote,
  type Scheme,
  type SignatureParams,
} from '@countersign/shared';

/** What a client signs with. */
export interface Credentials {
  readonly accessKeyId: string;
  /** The shared secret; or, where a key must not leave its vault, {@link Credentials.mac} in its place. */
  readonly secretAccessKey?: string | undefined;
  /**
   * Computes HMAC-SHA256 of the string to sign under the signing key of a scope, such as `20261121/video-api`: with a
   * non-extractable WebCrypto key or a key management service.
   */
  readonly mac?: ((stringToSign: Uint8Array, scope: string) => Mac | Promise<Mac>) | undefined;
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
  (): Promise<Credentials> | Credentials;
  /**
   * Asks for others than those of an id, which a server has refused: they may have been revoked, or rotated away.
   *
   * @returns whether there are any; nobody asks more often than every few seconds
   */
  replace(refused: string): Promise<boolean>;
  /** Whether that would be of any use. */
  isReplaceable(refused: string): boolean;
}

/** 32 bytes, as they are or as WebCrypto gives them. */
type Mac = Uint8Array | ArrayBuffer;

/** Seconds before their expiry at which credentials are renewed: a signed request still has to get there. */
const RENEW_BEFORE = 60;
/** The part of their life, where that is short. */
const RENEW_BEFORE_PART = 0.6;
/** Seconds for which nobody asks again after a renewal failed, while the old credentials serve. */
const RENEWAL_PAUSE = 5;

/** The last second that a timestamp can tell. More than that is milliseconds. */
const LATEST = 253_402_300_799;

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
  let current: Credentials | undefined;
  /** Unix seconds: when the present ones are to be renewed. */
  let renewAt = Number.NEGATIVE_INFINITY;
  /** Unix seconds: from when on it is worth waiting for new ones, because the present ones may end on the way. */
  let waitFrom = Number.NEGATIVE_INFINITY;
  let renewal: Promise<Credentials> | undefined;
  /** Unix seconds: when they were doubted last. */
  let doubtedAt = Number.NEGATIVE_INFINITY;

  const isAlive = (): boolean =>
    current !== undefined && clock() < (current.expiresAt ?? Number.POSITIVE_INFINITY);

  const renew = async (refused?: string): Promise<Credentials> => {
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
      return current as Credentials;
    }
  };

  const renewOnce = (refused?: string): Promise<Credentials> => {
    // Cleared here, not in `renew`: what throws before its first `await` would be kept for good.
    renewal ??= renew(refused).finally(() => {
      renewal = undefined;
    });
    return renewal;
  };

  const now = (): Promise<Credentials> | Credentials => {
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
      current?.accessKeyId !== refused || current.secretAccessKey !== before.secretAccessKey;
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

/** Computes MACs with credentials, keeping the signing key derived last: it is good for a day. */
export function createMac(): (
  credentials: Credentials,
  scheme: Scheme,
  params: SignatureParams,
  stringToSign: Uint8Array,
) => Uint8Array | Promise<Uint8Array> {
  let last:
    | {
        readonly secret: string;
        readonly scope: string;
        readonly key: ReturnType<typeof importMacKey>;
      }
    | undefined;
  return ({ secretAccessKey, mac }, scheme, params, stringToSign) => {
    const scope = scheme.keyScope(params);
    if (mac !== undefined) return Promise.resolve(mac(stringToSign, scope)).then(checkMac);
    const secret = secretAccessKey as string;
    if (last?.secret !== secret || last.scope !== scope) {
      last = { secret, scope, key: importMacKey(scheme.signingKey(encodeUtf8(secret), params)) };
    }
    return hmacSha256(last.key, stringToSign);
  };
}

function checkMac(mac: Mac): Uint8Array {
  const bytes = mac instanceof ArrayBuffer ? new Uint8Array(mac) : mac;
  if (bytes instanceof Uint8Array && bytes.length === 32) return bytes;
  throw new TypeError(
    'Cannot sign: the "mac" of the credentials gave something else than the 32 bytes of an HMAC-SHA256',
  );
}

/** Copies credentials that can be used. No value is part of a message: a secret may stand in the wrong field. */
function checkCredentials(given: Credentials): Credentials {
  if (typeof given !== 'object' || given === null) {
    throw new TypeError(
      `Cannot sign with credentials of type ${given === null ? 'null' : typeof given}: expected { accessKeyId, secretAccessKey }, or a function that gives them`,
    );
  }
  const { accessKeyId, secretAccessKey, mac, sessionToken, expiresAt } = given;
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
  expect('mac', mac === undefined || typeof mac === 'function', 'a function');
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
    expiresAt === undefined || (typeof expiresAt === 'number' && expiresAt <= LATEST),
    'Unix seconds, not milliseconds, not a Date',
  );
  const flaw =
    mac !== undefined && secretAccessKey === undefined
      ? undefined
      : findSecretFlaw(secretAccessKey);
  if (flaw !== undefined)
    throw new TypeError(
      `Cannot sign with access key ${quote(accessKeyId)}: its "secretAccessKey" is unusable: ${flaw}`,
    );
  return { accessKeyId, secretAccessKey, mac, sessionToken, expiresAt };
}
