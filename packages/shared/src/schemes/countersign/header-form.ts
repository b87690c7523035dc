import type { Algorithm } from '../../algorithms.ts';
import { OWN_PREFIX } from '../../canonical-headers.ts';
import { type Credential, parseCredential } from '../../credential-scope.ts';
import type { HeaderFields } from '../../header-fields.ts';
import { remember } from '../../remember.ts';
import type { ParsedSignature, SigningIntent, WireFields } from '../../signature-params.ts';
import {
  type CountersignParams,
  FAMILY,
  malformed,
  parseAlgorithm,
  parseParts,
  parseSignedHeaders,
  type SignedHeaders,
  WIRE_NAMES,
} from './params.ts';

const LONGEST_AUTHORIZATION = 4_096;
const CREDENTIAL = ' Credential=';
const EQUALS = 0x3d;
const SIGNED_HEADERS = ', SignedHeaders=';
const SIGNATURE = ', Signature=';

export const DATE = `${OWN_PREFIX}date`;
export const NONCE = `${OWN_PREFIX}nonce`;
export const CONTENT_SHA256 = `${OWN_PREFIX}content-sha256`;
export const EPOCH = `${OWN_PREFIX}epoch`;
export const SESSION_TOKEN = `${OWN_PREFIX}session-token`;

const OWN_FIELDS = [DATE, NONCE, CONTENT_SHA256, EPOCH, SESSION_TOKEN];

/** The fields that the signature covers. */
export function addFields(
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

/** The fields that signing adds to a request. @param hex the signature */
export function writeHeader(
  headers: HeaderFields,
  { algorithm, credential, signedHeadersText }: CountersignParams,
  hex: string,
): WireFields {
  const own: [string, string][] = [];
  for (const name of OWN_FIELDS) {
    const value = headers.get(name);
    if (value !== undefined) own.push([name, value]);
  }
  const authorization = `${WIRE_NAMES[algorithm]}${CREDENTIAL}${credential}${SIGNED_HEADERS}${signedHeadersText}${SIGNATURE}${hex}`;
  return { headers: [...own, ['authorization', authorization]] };
}

/** Whether `Authorization` is of this scheme, or of a malformed form of it. */
export function isOurs(authorization: string): boolean {
  return (
    authorization.startsWith(FAMILY) ||
    authorization.slice(0, FAMILY.length).toUpperCase() === FAMILY
  );
}

export function readHeader(
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
  return parseParts({
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

/**
 * A hash of the access key id and the length: it differs by signer, and mostly by signed headers.
 */
function hashOf(text: string): number {
  let hash = text.length;
  for (let at = text.indexOf('/') - 1; at >= 0 && text.charCodeAt(at) !== EQUALS; at--)
    hash = (hash * 33) ^ text.charCodeAt(at);
  return hash;
}

/** Reads `Authorization` without the signature: one client sends the same text all day. */
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
