import { encodeUtf8, sha256Hex } from '#digest';
import { ALGORITHMS, type Algorithm, isSignatureLength } from '../algorithms.ts';
import { decodeHex, encodeHex, isSha256Hex } from '../bytes.ts';
import { mustBeSigned, OWN_PREFIX } from '../canonical-headers.ts';
import { appendParameter, isPresigned, readPresigned } from '../canonical-query.ts';
import { canonicalRequest, type SignableRequest } from '../canonical-request.ts';
import {
  type Credential,
  formatCredential,
  parseCredential,
  TERMINATOR,
} from '../credential-scope.ts';
import { quote, SignatureError } from '../errors.ts';
import type { HeaderFields } from '../header-fields.ts';
import { deriveKey } from '../hmac.ts';
import { encodePercent } from '../percent-encoding.ts';
import { copyText, remember, rememberLast } from '../remember.ts';
import {
  type BodyClaim,
  type ParsedSignature,
  type Scheme,
  type SignatureParams,
  type SigningIntent,
  type TargetPart,
  WHOLE_TARGET,
  type WireFields,
} from '../scheme.ts';
import { formatTimestamp, parseTimestamp } from '../timestamp.ts';

/** What our own scheme knows of a signature beside what every scheme does. */
export interface CountersignParams extends SignatureParams {
  readonly algorithm: Algorithm;
  readonly audience: string;
  readonly nonce: string;
  /** `signedAt` as it stands on the wire. */
  readonly timestamp: string;
  /** Access key id, day, audience and terminator, as they stand on the wire. */
  readonly credential: string;
  /** `signedHeaders` as they stand on the wire. */
  readonly signedHeadersText: string;
  /** `body` as it stands on the wire. */
  readonly bodyHash: string;
}

/** The declared body hash of a request whose body is not signed. Servers refuse it unless they allow it by name. */
export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';

/** SHA-256 of nothing: the hash of an empty body. */
export const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** What begins with this in `Authorization` is ours, in any case. What is nearly ours is malformed, not another scheme's. */
const FAMILY = 'COUNTERSIGN1-';
/** The names of algorithms on the wire. */
const WIRE_NAMES = Object.fromEntries(
  ALGORITHMS.map((algorithm) => [algorithm, FAMILY + algorithm.toUpperCase()]),
) as Readonly<Record<Algorithm, string>>;
const ALGORITHM_OF: ReadonlyMap<string, Algorithm> = new Map(
  ALGORITHMS.map((algorithm) => [WIRE_NAMES[algorithm], algorithm]),
);
const LONGEST_AUTHORIZATION = 4_096;
const MOST_SIGNED_HEADERS = 64;

const CREDENTIAL = ' Credential=';
const EQUALS = 0x3d;
const SIGNED_HEADERS = ', SignedHeaders=';
const SIGNATURE = ', Signature=';

const DATE = `${OWN_PREFIX}date`;
const NONCE = `${OWN_PREFIX}nonce`;
const CONTENT_SHA256 = `${OWN_PREFIX}content-sha256`;
const EPOCH = `${OWN_PREFIX}epoch`;
const SESSION_TOKEN = `${OWN_PREFIX}session-token`;

const OWN_FIELDS = [DATE, NONCE, CONTENT_SHA256, EPOCH, SESSION_TOKEN];

const QUERY_NAMES = [
  'Algorithm',
  'Credential',
  'Date',
  'Expires',
  'Nonce',
  'SignedHeaders',
  'Signature',
].map((name) => `X-Countersign-${name}`);
const SIGNATURE_PAIR = '&X-Countersign-Signature=';

const NONCE_SHAPE = /^[A-Za-z0-9_-]{22}$/;
const EPOCH_SHAPE = /^[A-Za-z0-9_-]{1,64}$/;
const SECONDS = /^[1-9][0-9]{0,8}$/;
const SIGNED_HEADERS_SHAPE = /^[!#$%&'*+\-.^_`|~0-9a-z;]+$/;

/**
 * The scheme of our own, in header form and as presigned URLs.
 *
 * @example
 * ```ts
 * import { countersign } from '@countersign/shared';
 *
 * console.assert(countersign().name === 'countersign');
 * ```
 * @see docs/wire-format.md
 */
export function countersign(): Scheme<CountersignParams> {
  return scheme;
}

const scheme: Scheme<CountersignParams> = {
  name: 'countersign',
  algorithms: ALGORITHMS,
  derive: {
    scope: ({ timestamp, audience }) => `${timestamp.slice(0, 8)}/${audience}/${TERMINATOR}`,
    key(secret, { timestamp, audience }) {
      const prefix = encodeUtf8('COUNTERSIGN1');
      const root = new Uint8Array(prefix.length + secret.length);
      root.set(prefix);
      root.set(secret, prefix.length);
      return deriveKey(root, timestamp.slice(0, 8), audience, TERMINATOR);
    },
  },

  // One challenge for all algorithms: clients know it since the first of them.
  challenge: (audience, reason) =>
    `${WIRE_NAMES['hmac-sha256']} realm="${audience}", error="${reason}"`,

  prepare(request, intent) {
    const timestamp = formatTimestamp(intent.signedAt);
    const inUrl = intent.expiresIn !== undefined;
    const bodyHash = formatBody(intent.body);
    const headers = inUrl
      ? request.headers
      : addFields(request.headers, intent, timestamp, bodyHash);
    const { signedHeaders: further } = intent;
    const signedHeaders = headers.names
      .filter((name) => mustBeSigned(name) || further?.has(name))
      .sort();
    const { accessKeyId, audience, signedAt, expiresIn, nonce, epoch, body } = intent;
    const { algorithm = 'hmac-sha256', sessionToken } = intent;
    const credential = formatCredential(accessKeyId, { date: timestamp.slice(0, 8), audience });
    checkNumber(signedHeaders);
    const signedHeadersText = signedHeaders.join(';');
    const params: CountersignParams = {
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
      body,
      bodyHash,
    };
    const { method, path, query } = request;
    if (!inUrl) return { request: { method, path, query, headers }, params };
    return { request: { method, headers, ...addParameters(request, params) }, params };
  },

  canonicalRequest(request, params) {
    const end = params.inUrl ? request.query.lastIndexOf(SIGNATURE_PAIR) : -1;
    const query = end === -1 ? request.query : request.query.slice(0, end);
    return canonicalRequest(request, query, params);
  },

  stringToSign(request, params) {
    const digest = sha256Hex(scheme.canonicalRequest(request, params));
    const { algorithm, timestamp, credential } = params;
    return encodeUtf8(`${WIRE_NAMES[algorithm]}\n${timestamp}\n${credential}\n${digest}`);
  },

  write(request, params, signature): WireFields {
    const hex = encodeHex(signature);
    if (params.inUrl) return { headers: [], query: `${request.query}${SIGNATURE_PAIR}${hex}` };
    const own: [string, string][] = [];
    for (const name of OWN_FIELDS) {
      const value = request.headers.get(name);
      if (value !== undefined) own.push([name, value]);
    }
    const authorization = `${WIRE_NAMES[params.algorithm]}${CREDENTIAL}${params.credential}${SIGNED_HEADERS}${params.signedHeadersText}${SIGNATURE}${hex}`;
    return { headers: [...own, ['authorization', authorization]] };
  },

  read(request): ParsedSignature<CountersignParams> | undefined {
    const { headers } = request;
    const authorization = headers.get('authorization');
    if (isPresigned(request.query)) {
      if (
        authorization !== undefined ||
        headers.get(DATE) !== undefined ||
        headers.get(NONCE) !== undefined
      ) {
        throw new SignatureError(
          'ERR_SIGNATURE_AMBIGUOUS',
          'The request is signed in its URL and in its headers: expected one of them',
        );
      }
      return readQuery(request);
    }
    if (authorization === undefined || !isOurs(authorization)) return undefined;
    return readHeader(headers, authorization);
  },
};

function readHeader(
  headers: HeaderFields,
  authorization: string,
): ParsedSignature<CountersignParams> {
  if (authorization.length > LONGEST_AUTHORIZATION) {
    throw malformed(
      `Authorization has ${authorization.length} characters, ${LONGEST_AUTHORIZATION} are allowed`,
    );
  }
  const signatureAt = authorization.lastIndexOf('=') + 1;
  const { algorithm, credential, signedHeaders } = parseAuthorization(
    authorization.slice(0, signatureAt),
  );
  return parse({
    inUrl: false,
    algorithm,
    credential,
    timestamp: headers.get(DATE) ?? '',
    nonce: headers.get(NONCE) ?? '',
    epoch: headers.get(EPOCH),
    sessionToken: headers.get(SESSION_TOKEN),
    expiresIn: undefined,
    signedHeaders,
    signature: authorization.slice(signatureAt),
    bodyHash: headers.get(CONTENT_SHA256) ?? '',
  });
}

/** Of the access key id and the length: of who signs, and mostly of which headers. */
function hashOf(text: string): number {
  let hash = text.length;
  for (let at = text.indexOf('/') - 1; at >= 0 && text.charCodeAt(at) !== EQUALS; at--)
    hash = (hash * 33) ^ text.charCodeAt(at);
  return hash;
}

/** All of `Authorization` but the signature: one client sends the same all day. */
const parseAuthorization = remember(
  hashOf,
  (text): { algorithm: Algorithm; credential: Credential; signedHeaders: SignedHeaders } => {
    const algorithm = parseAlgorithm('Authorization', text.split(' ', 1)[0] as string);
    const credentialAt = WIRE_NAMES[algorithm].length;
    const signedHeadersAt = text.indexOf(SIGNED_HEADERS);
    if (
      !text.startsWith(CREDENTIAL, credentialAt) ||
      signedHeadersAt === -1 ||
      !text.endsWith(SIGNATURE)
    ) {
      throw malformed(
        `Authorization is not "${WIRE_NAMES[algorithm]}${CREDENTIAL}…${SIGNED_HEADERS}…${SIGNATURE}" and lower-case hex`,
      );
    }
    return {
      algorithm,
      credential: parseCredential(text.slice(credentialAt + CREDENTIAL.length, signedHeadersAt)),
      signedHeaders: parseSignedHeaders(
        text.slice(signedHeadersAt + SIGNED_HEADERS.length, -SIGNATURE.length),
      ),
    };
  },
);

function readQuery({ query, headers }: SignableRequest): ParsedSignature<CountersignParams> {
  const [algorithm, credential, timestamp, expires, nonce, signedHeaders, signature] =
    readPresigned(query, QUERY_NAMES) as [string, string, string, string, string, string, string];
  // Not decoded: each signature is written in one way.
  if (!query.endsWith(SIGNATURE_PAIR + signature))
    throw malformed('X-Countersign-Signature is escaped');
  if (!SECONDS.test(expires))
    throw malformed(`X-Countersign-Expires is ${quote(expires)}: expected whole seconds`);
  const bodyHash = headers.get(CONTENT_SHA256) ?? EMPTY_SHA256;
  return parse({
    inUrl: true,
    algorithm: parseAlgorithm('X-Countersign-Algorithm', algorithm),
    credential: parseCredential(credential),
    timestamp,
    nonce,
    epoch: headers.get(EPOCH),
    sessionToken: headers.get(SESSION_TOKEN),
    expiresIn: Number(expires),
    signedHeaders: parseSignedHeaders(signedHeaders),
    signature,
    bodyHash,
  });
}

interface Parts {
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

/** Checks everything that a signature says of itself, before anybody acts on a part of it. */
function parse(parts: Parts): ParsedSignature<CountersignParams> {
  const { inUrl, algorithm, timestamp, nonce, epoch, sessionToken, expiresIn, bodyHash } = parts;
  const { text: signedHeadersText, names: signedHeaders } = parts.signedHeaders;
  const { text: credential, accessKeyId, date, audience } = parts.credential;
  const signedAt = parseTimestamp(timestamp);
  if (!timestamp.startsWith(date))
    throw malformed(
      `The credential is for ${quote(date)}, the request is dated ${quote(timestamp)}`,
    );
  if (!NONCE_SHAPE.test(nonce))
    throw malformed(`Nonce ${quote(nonce)} is not 22 characters of base64url`);
  if (epoch !== undefined && !EPOCH_SHAPE.test(epoch))
    throw malformed(`Epoch ${quote(epoch)} is not 1 to 64 characters of base64url`);
  if (!isSha256Hex(bodyHash) && bodyHash !== UNSIGNED_PAYLOAD) {
    throw malformed(
      `Body hash ${quote(bodyHash)} is neither 64 characters of lower-case hex nor ${UNSIGNED_PAYLOAD}`,
    );
  }
  const signature = decodeHex(parts.signature);
  if (signature === undefined || !isSignatureLength(algorithm, signature.length))
    throw malformed(`The signature is not lower-case hex of as many bytes as ${algorithm} gives`);
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

/** Method, path and query stand in every canonical request; the authority is the header `host`. */
function coverage(signedHeaders: readonly string[]): readonly TargetPart[] {
  return signedHeaders.includes('host') ? WHOLE_TARGET : WITHOUT_AUTHORITY;
}

const WITHOUT_AUTHORITY = WHOLE_TARGET.filter((part) => part !== 'authority');

function parseAlgorithm(where: string, name: string): Algorithm {
  const algorithm = ALGORITHM_OF.get(name);
  if (algorithm !== undefined) return algorithm;
  throw malformed(`${where} has an unknown algorithm, ${quote(name)}`);
}

function formatBody(body: BodyClaim): string {
  if (body === 'unsigned') return UNSIGNED_PAYLOAD;
  if ('sha256' in body) return body.sha256;
  throw new TypeError('Cannot sign a body with another hash than SHA-256');
}

interface SignedHeaders {
  readonly text: string;
  readonly names: readonly string[];
}

function checkNumber(signedHeaders: readonly string[]): void {
  if (signedHeaders.length > MOST_SIGNED_HEADERS)
    throw malformed(`More than ${MOST_SIGNED_HEADERS} headers are signed`);
}

/** One way to write each list: sorted, no name twice. Most clients send the same. */
const parseSignedHeaders = rememberLast((text: string): SignedHeaders => {
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
  // All requests share them, and applications are given them.
  return { text: copyText(text), names: Object.freeze(names) };
});

function addFields(
  headers: HeaderFields,
  { nonce, epoch, sessionToken }: SigningIntent,
  timestamp: string,
  bodyHash: string,
): HeaderFields {
  const fields: [string, string][] = [
    [DATE, timestamp],
    [NONCE, nonce],
    [CONTENT_SHA256, bodyHash],
  ];
  if (epoch !== undefined) fields.push([EPOCH, epoch]);
  if (sessionToken !== undefined) fields.push([SESSION_TOKEN, sessionToken]);
  return headers.with(fields);
}

function addParameters(
  request: SignableRequest,
  params: CountersignParams,
): { path: string; query: string } {
  if (isPresigned(request.query))
    throw new TypeError('Cannot presign a URL that has X-Countersign-* parameters already');
  const values = [
    WIRE_NAMES[params.algorithm],
    params.credential,
    params.timestamp,
    String(params.expiresIn),
    params.nonce,
    params.signedHeadersText,
  ];
  const pairs = values
    .map((value, index) => `${QUERY_NAMES[index]}=${encodePercent(value)}`)
    .join('&');
  // A bare `?` stays with the path only as long as there is no query.
  return { path: request.path.replace(/\?$/, ''), query: appendParameter(request.query, pairs) };
}

function isOurs(authorization: string): boolean {
  return (
    authorization.startsWith(FAMILY) ||
    authorization.slice(0, FAMILY.length).toUpperCase() === FAMILY
  );
}

function malformed(message: string): SignatureError {
  return new SignatureError('ERR_SIGNATURE_MALFORMED', message);
}
