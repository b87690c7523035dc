import {
  describeValue,
  EMPTY_SHA256,
  type HeadersInput,
  isEpoch,
  isNonce,
  parseTarget,
  quote,
  signRequest,
  UNSIGNED_PAYLOAD,
} from '@countersign/shared';
import { prepareBody, type SignableBody, type StreamBody } from './body.ts';
import { type CredentialsNow, createCredentials, createSign } from './credentials.ts';
import { checkObject, checkOptions, type SignerOptions } from './signer-options.ts';
import {
  declaredHash,
  readUnsigned,
  toRecord,
  type Unsigned,
  withContentType,
} from './unsigned-request.ts';

/** A request to sign. */
export interface UnsignedRequest {
  readonly method: string;
  /** Absolute: the host is signed too. */
  readonly url: string | URL;
  /** Each once. An `Authorization` among them gives way to the signature. */
  readonly headers?: HeadersInput | undefined;
  readonly body?: SignableBody;
  /** What the server told last in `Countersign-Epoch`. `createFetch()` and `signing()` keep track of it by themselves. */
  readonly epoch?: string | undefined;
}

/** A signed request: what must be sent, exactly. */
export interface SignedRequest {
  readonly method: string;
  readonly url: string;
  /** By lower-case name. */
  readonly headers: Record<string, string>;
  readonly body: Uint8Array | Blob | StreamBody | undefined;
}

/** A URL to sign. */
export interface UnsignedUrl {
  /** `GET` if not given. */
  readonly method?: string | undefined;
  readonly url: string | URL;
  /** Headers that whoever uses the URL must send as they are. */
  readonly headers?: HeadersInput | undefined;
  /** Seconds for which the URL works. */
  readonly expiresIn: number;
}

/** Signs requests with an access key. */
export interface Signer {
  /**
   * Signs a request, with a nonce of its own: sign every attempt anew.
   *
   * @throws SignatureError `ERR_TARGET_AMBIGUOUS` and others where no server would accept it
   * @throws TypeError where the URL is not absolute, a header is given twice, or the body is a one-shot stream
   */
  sign(request: UnsignedRequest): Promise<SignedRequest>;
  /**
   * Signs a URL, for somebody who has no access key.
   *
   * @returns the URL, which works for `expiresIn` seconds, with this method only
   * @throws RangeError where `expiresIn` is not a whole number of seconds from 1 to 604,800
   * @throws TypeError where the credentials have a session token: a URL cannot carry it
   */
  presign(request: UnsignedUrl): Promise<string>;
}

/**
 * Builds a signer.
 *
 * @param options see {@link SignerOptions}
 * @throws TypeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { createSigner } from '@countersign/client';
 *
 * const signer = createSigner({
 *   credentials: { accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC', secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA' },
 *   audience: 'video-api',
 * });
 * const { headers, body } = await signer.sign({
 *   method: 'POST',
 *   url: 'https://api.test/VideoParser/',
 *   body: { videoUrl: 'https://videos.test/cats.mp4' },
 * });
 * console.assert(headers['content-type'] === 'application/json' && 'authorization' in headers && body !== undefined);
 * ```
 * @see docs/wire-format.md
 */
export function createSigner(options: SignerOptions): Signer {
  return buildSigner('signer', options).signer;
}

/** A signer, and what it is told of credentials that were refused. */
export function buildSigner(
  what: string,
  options: SignerOptions,
): {
  readonly signer: Signer;
  readonly credentials: Pick<CredentialsNow, 'replace' | 'isReplaceable'>;
} {
  checkObject(`build ${what}`, options, '{ credentials, audience }');
  const {
    credentials: source,
    audience,
    scheme,
    clock,
    nonce,
    signedHeaders,
  } = checkOptions(what, options);
  const credentialsNow = createCredentials(source, clock);
  const signWithCredentials = createSign();

  async function signWith(
    { method, target, host, headers }: Unsigned,
    bodyHash: string,
    epoch?: string,
    expiresIn?: number,
  ) {
    const credentials = await credentialsNow();
    const { accessKeyId, sessionToken } = credentials;
    const { signKey: imported } = credentials;
    const signKey = imported instanceof Promise ? await imported : imported;
    const algorithm = signKey?.algorithm ?? credentials.algorithm ?? 'hmac-sha256';
    if (!scheme.algorithms.includes(algorithm)) {
      throw new TypeError(
        `Cannot sign with access key ${quote(accessKeyId)}: the scheme ${scheme.name} has no form for ${algorithm}`,
      );
    }
    if (expiresIn !== undefined && sessionToken !== undefined) {
      throw new TypeError(
        'Cannot presign with session credentials: a URL cannot carry the session token',
      );
    }
    const request = { method, ...target, headers: headers.with([['host', host]]) };
    const intent = {
      accessKeyId,
      audience,
      algorithm,
      signedAt: Math.floor(clock()),
      nonce: checkNonce(nonce()),
      epoch,
      expiresIn,
      sessionToken,
      body: bodyHash === UNSIGNED_PAYLOAD ? ('unsigned' as const) : ({ sha256: bodyHash } as const),
      signedHeaders,
    };
    return signRequest(scheme, request, intent, signWithCredentials(credentials, signKey));
  }

  const signer: Signer = {
    async sign(request) {
      checkObject('sign', request, '{ method, url }');
      const { method, url, headers = {}, body, epoch } = request;
      if (epoch !== undefined && !isEpoch(epoch)) {
        throw new TypeError(
          `Cannot sign with epoch ${quote(epoch)}: expected 1 to 64 characters of base64url`,
        );
      }
      const unsigned = readUnsigned(method, url, headers);
      const prepared = await prepareBody(body, declaredHash(unsigned.headers));
      const typed = withContentType(unsigned, prepared.contentType);
      const written = await signWith(typed, prepared.bodyHash, epoch);
      const { origin, pathAndQuery } = typed;
      const sent = toRecord(typed.headers.with(written.headers));
      return {
        method: unsigned.method,
        url: origin + pathAndQuery,
        headers: sent,
        body: prepared.body,
      };
    },

    async presign(request) {
      checkObject('presign', request, '{ url, expiresIn }');
      const { method = 'GET', url, headers = {}, expiresIn } = request;
      if (!(Number.isInteger(expiresIn) && expiresIn >= 1 && expiresIn <= 604_800)) {
        throw new RangeError(
          `Cannot presign: "expiresIn" is ${describeValue(expiresIn)}: expected a whole number from 1 to 604800`,
        );
      }
      const unsigned = readUnsigned(method, url, headers);
      const { query } = await signWith(
        unsigned,
        declaredHash(unsigned.headers) ?? EMPTY_SHA256,
        undefined,
        expiresIn,
      );
      const target = `${unsigned.target.path}?${query}`;
      // It has become longer.
      parseTarget(target);
      return unsigned.origin + target;
    },
  };
  return { signer, credentials: credentialsNow };
}

function checkNonce(nonce: string): string {
  if (isNonce(nonce)) return nonce;
  throw new TypeError(
    `Cannot sign with nonce ${quote(nonce)}: expected 22 characters of base64url`,
  );
}
