import {
  checkEscapes,
  isAccessKeyId,
  type ParsedSignature,
  quote,
  type Scheme,
  type SignableRequest,
  SignatureError,
} from '@countersign/shared';
import type { TargetRules } from './read-request.ts';

/** A signature, and the scheme that it is written in. */
export interface SchemedSignature extends ParsedSignature {
  readonly scheme: Scheme;
}

/** Which forms of signatures the server accepts. */
export interface SignatureSettings extends TargetRules {
  readonly schemes: readonly Scheme[];
  readonly presignedUrls: 'until-expiry' | 'once' | 'refuse';
}

/**
 * Finds the one signature of a request. With two, the server could check one and believe the other.
 *
 * @throws SignatureError `ERR_SIGNATURE_MISSING`, `ERR_SIGNATURE_AMBIGUOUS`, and what the scheme
 * throws
 */
export function readSignature(
  request: SignableRequest,
  settings: SignatureSettings,
): SchemedSignature {
  if (settings.targets === 'as-sent') checkTarget(request, settings.schemes);
  let found: SchemedSignature | undefined;
  for (const scheme of settings.schemes) {
    const parsed = scheme.read(request);
    if (parsed === undefined) continue;
    if (found !== undefined) {
      throw new SignatureError(
        'ERR_SIGNATURE_AMBIGUOUS',
        `The request is signed twice, as ${found.scheme.name} and as ${scheme.name}`,
      );
    }
    found = { scheme, params: parsed.params, signature: parsed.signature };
  }
  if (found === undefined) {
    throw new SignatureError(
      'ERR_SIGNATURE_MISSING',
      'The request is not signed: expected an Authorization header or a presigned URL',
    );
  }
  const { accessKeyId, inUrl } = found.params;
  // Key stores rely on this alphabet, and a scheme may allow another one.
  if (!isAccessKeyId(accessKeyId)) {
    throw new SignatureError(
      'ERR_SIGNATURE_MALFORMED',
      `Cannot look up access key ${quote(accessKeyId)}: its id is not 1 to 128 of A-Z a-z 0-9 . _ -`,
    );
  }
  // If a scheme does not say where the signature is, it may be in the URL.
  if (settings.presignedUrls === 'refuse' && inUrl !== false) {
    throw new SignatureError(
      'ERR_SIGNATURE_MISSING',
      'Presigned URLs are not accepted here: expected an Authorization header',
    );
  }
  return found;
}

/**
 * Refuses a target that only some schemes can sign, unless the request is signed with these alone.
 * A strict scheme never sees such a target, as if it were the only one.
 *
 * @throws SignatureError `ERR_TARGET_AMBIGUOUS`
 */
function checkTarget(request: SignableRequest, schemes: readonly Scheme[]): void {
  try {
    checkEscapes(request.query === '' ? request.path : `${request.path}?${request.query}`);
  } catch (error) {
    const isAsSent = ({ targets }: Scheme): boolean => targets === 'as-sent';
    const signing = schemes.filter((scheme) => carriesSignature(scheme, request));
    if (signing.length === 0 || !signing.every(isAsSent)) throw error;
  }
}

/** A signature that cannot be read counts, too. */
function carriesSignature(scheme: Scheme, request: SignableRequest): boolean {
  try {
    return scheme.read(request) !== undefined;
  } catch {
    return true;
  }
}
