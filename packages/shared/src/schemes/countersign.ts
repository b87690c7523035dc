import { encodeUtf8, sha256Hex } from '#digest';
import { decodeSha256Hex, encodeHex, isSha256Hex } from '../bytes.ts';
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
import type {
  ParsedSignature,
  Scheme,
  SignatureParams,
  SigningIntent,
  WireFields,
} from '../scheme.ts';
import { formatTimestamp, parseTimestamp } from '../timestamp.ts';

/** What our own scheme knows of a signature beside what every scheme does. */
export interface CountersignParams extends SignatureParams {
  /** Whether the signature stands in headers or in the URL. */
  readonly form: 'header' | 'query';
  /** `signedAt` as it stands on the wire. */
  readonly timestamp: string;
  /** Access key id, day, audience and terminator, as they stand on the wire. */
  readonly credential: string;
  /** `signedHeaders` as they stand on the wire. */
  readonly signedHeadersText: string;
}

/** The declared body hash of a request whose body is not signed. Servers refuse it unless they allow it by name. */
export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';

/** SHA-256 of nothing: the hash of an empty body. */
export const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

const ALGORITHM = 'COUNTERSIGN1-HMAC-SHA256';
const LONGEST_AUTHORIZATION = 4_096;
const MOST_SIGNED_HEADERS = 64;
const SIGNATURE_LENGTH = 64;

const CREDENTIAL = `${ALGORITHM} Credential=`;
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

  prepare(request, intent) {
    const timestamp = formatTimestamp(intent.signedAt);
    const form = intent.expiresIn === undefined ? 'header' : 'query';
    const headers =
      form === 'header' ? addFields(request.headers, intent, timestamp) : request.headers;
    const { signedHeaders: further } = intent;
    const signedHeaders = headers.names
      .filter((name) => mustBeSigned(name) || further?.has(name))
      .sort();
    const { accessKeyId, audience, signedAt, expiresIn, nonce, epoch, bodyHash } = intent;
    const { sessionToken } = intent;
    const credential = formatCredential(accessKeyId, { date: timestamp.slice(0, 8), audience });
    checkNumber(signedHeaders);
    const signedHeadersText = signedHeaders.join(';');
    const params: CountersignParams = {
      form,
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
      bodyHash,
    };
    const { method, path, query } = request;
    if (form === 'header') return { request: { method, path, query, headers }, params };
    return { request: { method, headers, ...addParameters(request, params) }, params };
  },

  canonicalRequest(request, params) {
    const end = params.form === 'query' ? request.query.lastIndexOf(SIGNATURE_PAIR) : -1;
    const query = end === -1 ? request.query : request.query.slice(0, end);
    return canonicalRequest(request, query, params);
  },

  stringToSign(request, params) {
    const digest = sha256Hex(scheme.canonicalRequest(request, params));
    return encodeUtf8(`${ALGORITHM}\n${params.timestamp}\n${params.credential}\n${digest}`);
  },

  keyScope(params) {
    return `${params.timestamp.slice(0, 8)}/${params.audience}`;
  },

  signingKey(secret, params) {
    const prefix = encodeUtf8('COUNTERSIGN1');
    const root = new Uint8Array(prefix.length + secret.length);
    root.set(prefix);
    root.set(secret, prefix.length);
    return deriveKey(root, params.timestamp.slice(0, 8), params.audience, TERMINATOR);
  },

  write(request, params, signature): WireFields {
    const hex = encodeHex(signature);
    if (params.form === 'query')
      return { headers: [], query: `${request.query}${SIGNATURE_PAIR}${hex}` };
    const own: [string, string][] = [];
    for (const name of OWN_FIELDS) {
      const value = request.headers.get(name);
      if (value !== undefined) own.push([name, value]);
    }
    const authorization = `${CREDENTIAL}${params.credential}${SIGNED_HEADERS}${params.signedHeadersText}${SIGNATURE}${hex}`;
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
  const signatureAt = authorization.length - SIGNATURE_LENGTH;
  const { credential, signedHeaders } = parseAuthorization(authorization.slice(0, signatureAt));
  return parse({
    form: 'header',
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
  for (let at = text.indexOf('/'); at >= CREDENTIAL.length; at--)
    hash = (hash * 33) ^ text.charCodeAt(at);
  return hash;
}

/** All of `Authorization` but the signature: one client sends the same all day. */
const parseAuthorization = remember(
  hashOf,
  (text): { credential: Credential; signedHeaders: SignedHeaders } => {
    const signedHeadersAt = text.indexOf(SIGNED_HEADERS);
    if (!text.startsWith(CREDENTIAL) || signedHeadersAt === -1 || !text.endsWith(SIGNATURE)) {
      throw malformed(
        `Authorization is not "${CREDENTIAL}…${SIGNED_HEADERS}…${SIGNATURE}" and 64 characters of lower-case hex`,
      );
    }
    return {
      credential: parseCredential(text.slice(CREDENTIAL.length, signedHeadersAt)),
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
  if (algorithm !== ALGORITHM)
    throw malformed(`X-Countersign-Algorithm is ${quote(algorithm)}: expected ${ALGORITHM}`);
  if (!SECONDS.test(expires))
    throw malformed(`X-Countersign-Expires is ${quote(expires)}: expected whole seconds`);
  const bodyHash = headers.get(CONTENT_SHA256) ?? EMPTY_SHA256;
  return parse({
    form: 'query',
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
  readonly form: 'header' | 'query';
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
  const { form, timestamp, nonce, epoch, sessionToken, expiresIn, bodyHash } = parts;
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
  const signature = decodeSha256Hex(parts.signature);
  if (signature === undefined)
    throw malformed('The signature is not 64 characters of lower-case hex');
  return {
    params: {
      form,
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
      bodyHash,
    },
    signature,
  };
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
  { nonce, bodyHash, epoch, sessionToken }: SigningIntent,
  timestamp: string,
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
    ALGORITHM,
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

/** In any case: what is nearly ours is malformed, not somebody else's. */
function isOurs(authorization: string): boolean {
  return (
    authorization.startsWith(ALGORITHM) ||
    authorization.slice(0, ALGORITHM.length).toUpperCase() === ALGORITHM
  );
}

function malformed(message: string): SignatureError {
  return new SignatureError('ERR_SIGNATURE_MALFORMED', message);
}
