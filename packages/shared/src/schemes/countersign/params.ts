import { ALGORITHMS, type Algorithm, isSignatureLength } from '../../algorithms.ts';
import { decodeHex, isSha256Hex } from '../../bytes.ts';
import type { Credential } from '../../credential-scope.ts';
import { quote, SignatureError } from '../../errors.ts';
import { isEpoch, isNonce } from '../../nonce.ts';
import { copyText, rememberLast } from '../../remember.ts';
import {
  type ParsedSignature,
  type SignatureParams,
  type TargetPart,
  WHOLE_TARGET,
} from '../../signature-params.ts';
import { parseTimestamp } from '../../timestamp.ts';

/** The parameters that only our own scheme has. */
export interface CountersignParams extends SignatureParams {
  readonly algorithm: Algorithm;
  readonly audience: string;
  readonly nonce: string;
  /** `signedAt` as on the wire. */
  readonly timestamp: string;
  /** Access key id, day, audience and terminator, as on the wire. */
  readonly credential: string;
  /** `signedHeaders` as on the wire. */
  readonly signedHeadersText: string;
  /** `body` as on the wire. */
  readonly bodyHash: string;
}

/**
 * The declared body hash of a request whose body is not signed. Servers refuse it unless they allow
 * it by name.
 */
export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';

/** The SHA-256 of an empty body. */
export const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/**
 * An `Authorization` that begins with this, in any case, is of our scheme. If we cannot read it, it
 * is malformed, and not of another scheme.
 */
export const FAMILY = 'COUNTERSIGN1-';
/** The names of algorithms on the wire. */
export const WIRE_NAMES = Object.fromEntries(
  ALGORITHMS.map((algorithm) => [algorithm, FAMILY + algorithm.toUpperCase()]),
) as Readonly<Record<Algorithm, string>>;
const ALGORITHM_OF: ReadonlyMap<string, Algorithm> = new Map(
  ALGORITHMS.map((algorithm) => [WIRE_NAMES[algorithm], algorithm]),
);
const MOST_SIGNED_HEADERS = 64;

const SIGNED_HEADERS_SHAPE = /^[!#$%&'*+\-.^_`|~0-9a-z;]+$/;

/** A signature as on the wire, in either form. */
export interface Parts {
  readonly inUrl: boolean;
  readonly algorithm: Algorithm;
  readonly credential: Credential;
  readonly timestamp: string;
  readonly nonce: string;
  readonly epoch: string | undefined;
  readonly sessionToken: string | undefined;
  readonly expiresIn: number | undefined;
  readonly signedHeaders: SignedHeaders;
  readonly signature: string;
  readonly bodyHash: string;
}

/** Checks all parameters of a signature, before the server uses one of them. */
export function parseParts(parts: Parts): ParsedSignature<CountersignParams> {
  const { inUrl, algorithm, timestamp, nonce, epoch, sessionToken, expiresIn, bodyHash } = parts;
  const { text: signedHeadersText, names: signedHeaders } = parts.signedHeaders;
  const { text: credential, accessKeyId, date, audience } = parts.credential;
  const signedAt = parseTimestamp(timestamp);
  if (!timestamp.startsWith(date))
    throw malformed(
      `The credential is for ${quote(date)}, the request is dated ${quote(timestamp)}`,
    );
  if (!isNonce(nonce)) throw malformed(`Nonce ${quote(nonce)} is not 22 characters of base64url`);
  if (epoch !== undefined && !isEpoch(epoch))
    throw malformed(`Epoch ${quote(epoch)} is not 1 to 64 characters of base64url`);
  if (!isSha256Hex(bodyHash) && bodyHash !== UNSIGNED_PAYLOAD) {
    throw malformed(
      `Body hash ${quote(bodyHash)} is neither 64 characters of lower-case hex nor ${UNSIGNED_PAYLOAD}`,
    );
  }
  const signature = decodeHex(parts.signature);
  if (signature === undefined || !isSignatureLength(algorithm, signature.length))
    throw malformed(`The signature is not lower-case hex of as many bytes as ${algorithm} gives`);
  // The same fields in the same order as in `prepare()`, so that V8 sees one shape of object.
  return {
    params: {
      algorithm,
      inUrl,
      covers: coverage(signedHeaders),
      timestamp,
      credential,
      signedHeadersText,
      accessKeyId,
      audience,
      signedAt,
      expiresIn,
      nonce,
      epoch,
      sessionToken,
      signedHeaders,
      body: bodyHash === UNSIGNED_PAYLOAD ? 'unsigned' : { sha256: bodyHash },
      bodyHash,
    },
    signature,
  };
}

/** Every canonical request has method, path and query. The authority is the header `host`. */
export function coverage(signedHeaders: readonly string[]): readonly TargetPart[] {
  return signedHeaders.includes('host') ? WHOLE_TARGET : WITHOUT_AUTHORITY;
}

const WITHOUT_AUTHORITY = WHOLE_TARGET.filter((part) => part !== 'authority');

export function parseAlgorithm(where: string, name: string): Algorithm {
  const algorithm = ALGORITHM_OF.get(name);
  if (algorithm !== undefined) return algorithm;
  throw malformed(`${where} has an unknown algorithm, ${quote(name)}`);
}

export interface SignedHeaders {
  readonly text: string;
  readonly names: readonly string[];
}

export function checkNumber(signedHeaders: readonly string[]): void {
  if (signedHeaders.length > MOST_SIGNED_HEADERS)
    throw malformed(`More than ${MOST_SIGNED_HEADERS} headers are signed`);
}

/** There is one form of each list: sorted, no name twice. Most clients send the same list. */
export const parseSignedHeaders = rememberLast((text: string): SignedHeaders => {
  if (!SIGNED_HEADERS_SHAPE.test(text))
    throw malformed(`SignedHeaders ${quote(text)} is not a list of lower-case header names`);
  const names = text.split(';', MOST_SIGNED_HEADERS + 1).map(copyText);
  checkNumber(names);
  let previous = '';
  for (const name of names) {
    if (!(name > previous))
      throw malformed(`SignedHeaders ${quote(text)} is not sorted, or names a header twice`);
    previous = name;
  }
  // Frozen: all requests share the list, and applications get it.
  return { text: copyText(text), names: Object.freeze(names) };
});

export function malformed(message: string): SignatureError {
  return new SignatureError('ERR_SIGNATURE_MALFORMED', message);
}
