import { encodeUtf8, sha256Hex } from '#digest';
import { ALGORITHMS } from '../../algorithms.ts';
import { encodeHex } from '../../bytes.ts';
import { mustBeSigned } from '../../canonical-headers.ts';
import { isPresigned } from '../../canonical-query.ts';
import { canonicalRequest } from '../../canonical-request.ts';
import { formatCredential, TERMINATOR } from '../../credential-scope.ts';
import { deriveKey } from '../../derive-key.ts';
import { SignatureError } from '../../errors.ts';
import type { Scheme } from '../../scheme.ts';
import type { BodyClaim, ParsedSignature, WireFields } from '../../signature-params.ts';
import { formatTimestamp } from '../../timestamp.ts';
import { addFields, DATE, isOurs, NONCE, readHeader, writeHeader } from './header-form.ts';
import {
  type CountersignParams,
  checkNumber,
  coverage,
  UNSIGNED_PAYLOAD,
  WIRE_NAMES,
} from './params.ts';
import { addParameters, readQuery, withoutSignature, writeQuery } from './query-form.ts';

/**
 * Our own scheme, in header form and as presigned URLs.
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

  // One challenge for all algorithms: existing clients know only this one.
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
    const query = params.inUrl ? withoutSignature(request.query) : request.query;
    return canonicalRequest(request, query, params);
  },

  stringToSign(request, params) {
    const digest = sha256Hex(scheme.canonicalRequest(request, params));
    const { algorithm, timestamp, credential } = params;
    return encodeUtf8(`${WIRE_NAMES[algorithm]}\n${timestamp}\n${credential}\n${digest}`);
  },

  write(request, params, signature): WireFields {
    const hex = encodeHex(signature);
    return params.inUrl
      ? writeQuery(request.query, hex)
      : writeHeader(request.headers, params, hex);
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

function formatBody(body: BodyClaim): string {
  if (body === 'unsigned') return UNSIGNED_PAYLOAD;
  if (typeof body === 'object' && 'sha256' in body) return body.sha256;
  throw new TypeError('Cannot sign a body by anything but its SHA-256');
}
