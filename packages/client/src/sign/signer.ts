import {
  describeValue,
  EMPTY_SHA256,
  isEpoch,
  isNonce,
  parseTarget,
  quote,
  signRequest,
  UNSIGNED_PAYLOAD,
} from '@countersign/shared';
import { prepareBody } from './body.ts';
import { type CurrentCredentials, createCurrentCredentials } from './current-credentials.ts';
import { createMakeSignature } from './make-signature.ts';
import type { SignedRequest, UnsignedRequest, UnsignedUrl } from './requests.ts';
import { checkObject, checkOptions, type SignerOptions } from './signer-options.ts';
import {
  declaredHash,
  readUnsigned,
  toRecord,
  type Unsigned,
  withContentType,
} from './unsigned-request.ts';

/** Signs requests with an access key. */
export interface Signer {
  /**
   * Signs a request with a new nonce. Sign every attempt again.
   *
   * @throws SignatureError `ERR_TARGET_AMBIGUOUS` and others if every server would refuse the
   *   request
   * @throws TypeError if the URL is not absolute, a header is given twice, or the body is a stream
   *   without a declared hash
   */
  sign(request: UnsignedRequest): Promise<SignedRequest>;
  /**
   * Signs a URL, for a client that has no access key.
   *
   * @returns the URL, which works for `expiresIn` seconds, with this method only
   * @throws RangeError if `expiresIn` is not a whole number of seconds from 1 to 604,800
   * @throws TypeError if the credentials have a session token: a URL cannot carry it
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
 *   credentials: {
 *     accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
 *     secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA',
 *   },
 *   audience: 'video-api',
 * });
 * const { headers, body } = await signer.sign({
 *   method: 'POST',
 *   url: 'https://api.test/VideoParser/',
 *   body: { videoUrl: 'https://videos.test/cats.mp4' },
 * });
 * console.assert(headers['content-type'] === 'application/json' && 'authorization' in headers);
 * console.assert(body !== undefined);
 * ```
 * @see docs/wire-format.md
 */
export function createSigner(options: SignerOptions): Signer {
  const { signer } = buildSigner('signer', options);
  return {
    sign: async (request) => (await signer.sign(request)).signed,
    presign: (request) => signer.presign(request),
  };
}

/** A signed request, and the access key that it was signed with. */
interface SignedAttempt {
  readonly signed: SignedRequest;
  readonly accessKeyId: string;
}

/** A signer for the transports of this package. It also says which credentials each request has. */
export interface InternalSigner extends Pick<Signer, 'presign'> {
  sign(request: UnsignedRequest): Promise<SignedAttempt>;
}

/** Builds a signer, and the way to replace credentials that a server refused. */
export function buildSigner(
  what: string,
  options: SignerOptions,
): {
  readonly signer: InternalSigner;
  readonly credentials: Pick<CurrentCredentials, 'replace' | 'isReplaceable'>;
} {
  checkObject(`build ${what}`, options, '{ credentials, audience }');
  const {
    credentials: provider,
    audience,
    scheme,
    clock,
    nonce,
    signedHeaders,
  } = checkOptions(what, options);
  const currentCredentials = createCurrentCredentials(provider, clock);
  const signWithCredentials = createMakeSignature();

  async function signWith(
    { method, target, host, headers }: Unsigned,
    bodyHash: string,
    epoch?: string,
    expiresIn?: number,
  ) {
    const credentials = await currentCredentials();
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
    const makeSignature = signWithCredentials(credentials, signKey);
    return { accessKeyId, written: await signRequest(scheme, request, intent, makeSignature) };
  }

  const signer: InternalSigner = {
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
      const { accessKeyId, written } = await signWith(typed, prepared.bodyHash, epoch);
      const signed = {
        method: typed.method,
        url: typed.origin + typed.pathAndQuery,
        headers: toRecord(typed.headers.with(written.headers)),
        body: prepared.body,
      };
      return { signed, accessKeyId };
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
      const { written } = await signWith(
        unsigned,
        declaredHash(unsigned.headers) ?? EMPTY_SHA256,
        undefined,
        expiresIn,
      );
      const target = `${unsigned.target.path}?${written.query}`;
      // The query has grown, so the target may now be too long.
      parseTarget(target);
      return unsigned.origin + target;
    },
  };
  return { signer, credentials: currentCredentials };
}

function checkNonce(nonce: string): string {
  if (isNonce(nonce)) return nonce;
  throw new TypeError(
    `Cannot sign with nonce ${quote(nonce)}: expected 22 characters of base64url`,
  );
}
