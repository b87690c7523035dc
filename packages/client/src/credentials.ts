import { encodeUtf8, findSecretFlaw, hmacSha256, importMacKey, isAccessKeyId, quote, type Scheme, type SignatureParams } from '@countersign/shared';

/** What a client signs with. */
export interface Credentials {
  readonly accessKeyId: string;
  /** The shared secret; or, where a key must not leave its vault, {@link Credentials.mac} in its place. */
  readonly secretAccessKey?: string | undefined;
  /**
   * Computes HMAC-SHA256 of the string to sign under the signing key of a scope, such as `20261121/video-api`: with a
   * non-extractable WebCrypto key or a key management service.
   */
  readonly mac?: ((stringToSign: Uint8Array, scope: string) => Uint8Array | Promise<Uint8Array>) | undefined;
  /** Of session credentials: sent along, signed. */
  readonly sessionToken?: string | undefined;
  /** Unix seconds: when new ones must be asked for. Without it they are kept for good. */
  readonly expiresAt?: number | undefined;
}

/** Credentials, or where they come from. */
export type CredentialsSource = Credentials | (() => Credentials | Promise<Credentials>);

/** Seconds before their expiry at which credentials are renewed: a signed request still has to get there. */
const RENEW_BEFORE = 60;

/**
 * Builds the one way to credentials: a function is asked once, then again when what it gave is about to expire, and by one
 * caller at a time. Where renewing fails, the old ones serve until they expire.
 *
 * @param clock Unix seconds
 * @throws TypeError where a value given directly cannot be used
 */
export function createCredentials(source: CredentialsSource, clock: () => number): () => Promise<Credentials> | Credentials {
  if (typeof source !== 'function') {
    const credentials = checkCredentials(source);
    return () => credentials;
  }
  let current: Credentials | undefined;
  let renewal: Promise<Credentials> | undefined;

  const renew = async (): Promise<Credentials> => {
    try {
      current = checkCredentials(await source());
      return current;
    } catch (error) {
      if (current?.expiresAt !== undefined && clock() < current.expiresAt) return current;
      throw error;
    } finally {
      renewal = undefined;
    }
  };

  return () => {
    if (current !== undefined && !(clock() >= (current.expiresAt ?? Number.POSITIVE_INFINITY) - RENEW_BEFORE)) return current;
    renewal ??= renew();
    return renewal;
  };
}

/** Computes MACs with credentials, keeping the signing key derived last: it is good for a day. */
export function createMac(): (credentials: Credentials, scheme: Scheme, params: SignatureParams, stringToSign: Uint8Array) => Uint8Array | Promise<Uint8Array> {
  let last: { readonly secret: string; readonly scope: string; readonly key: ReturnType<typeof importMacKey> } | undefined;
  return ({ secretAccessKey, mac }, scheme, params, stringToSign) => {
    const scope = scheme.keyScope(params);
    if (mac !== undefined) return mac(stringToSign, scope);
    const secret = secretAccessKey as string;
    if (last?.secret !== secret || last.scope !== scope) {
      last = { secret, scope, key: importMacKey(scheme.signingKey(encodeUtf8(secret), params)) };
    }
    return hmacSha256(last.key, stringToSign);
  };
}

/** The secret is never part of a message. */
function checkCredentials(credentials: Credentials): Credentials {
  if (typeof credentials !== 'object' || credentials === null) {
    throw new TypeError('Cannot sign: expected credentials, { accessKeyId, secretAccessKey }, or a function that gives them');
  }
  const { accessKeyId, secretAccessKey, mac } = credentials;
  if (typeof accessKeyId !== 'string' || !isAccessKeyId(accessKeyId)) {
    throw new TypeError(`Cannot sign with access key ${quote(accessKeyId)}: expected 1 to 128 of A-Z a-z 0-9 . _ -`);
  }
  const flaw = typeof mac === 'function' && secretAccessKey === undefined ? undefined : findSecretFlaw(secretAccessKey);
  if (flaw !== undefined) throw new TypeError(`Cannot sign with access key ${quote(accessKeyId)}: its secret is unusable: ${flaw}`);
  return credentials;
}
