import { appendParameter, isPresigned, readPresigned } from '../../canonical-query.ts';
import type { SignableRequest } from '../../canonical-request.ts';
import { parseCredential } from '../../credential-scope.ts';
import { quote } from '../../errors.ts';
import { encodePercent } from '../../percent-encoding.ts';
import type { ParsedSignature, WireFields } from '../../signature-params.ts';
import { CONTENT_SHA256, EPOCH, SESSION_TOKEN } from './header-form.ts';
import {
  type CountersignParams,
  EMPTY_SHA256,
  malformed,
  parseAlgorithm,
  parseParts,
  parseSignedHeaders,
  WIRE_NAMES,
} from './params.ts';

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

const SECONDS = /^[1-9][0-9]{0,8}$/;

/** The parameters that the signature covers. */
export function addParameters(
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
  // A bare `?` belongs to the path only if there is no query.
  return { path: request.path.replace(/\?$/, ''), query: appendParameter(request.query, pairs) };
}

/** The whole query of a signed URL. @param hex the signature */
export function writeQuery(query: string, hex: string): WireFields {
  return { headers: [], query: `${query}${SIGNATURE_PAIR}${hex}` };
}

/** The signed part of a query: all but the signature. */
export function withoutSignature(query: string): string {
  const end = query.lastIndexOf(SIGNATURE_PAIR);
  return end === -1 ? query : query.slice(0, end);
}

export function readQuery({ query, headers }: SignableRequest): ParsedSignature<CountersignParams> {
  const [algorithm, credential, timestamp, expires, nonce, signedHeaders, signature] =
    readPresigned(query, QUERY_NAMES) as [string, string, string, string, string, string, string];
  // Not decoded: there is one form of each signature.
  if (!query.endsWith(SIGNATURE_PAIR + signature))
    throw malformed('X-Countersign-Signature is escaped');
  if (!SECONDS.test(expires))
    throw malformed(`X-Countersign-Expires is ${quote(expires)}: expected whole seconds`);
  const bodyHash = headers.get(CONTENT_SHA256) ?? EMPTY_SHA256;
  return parseParts({
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
