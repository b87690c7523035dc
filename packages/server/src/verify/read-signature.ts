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

/** What the server allows of the forms that there are. */
export interface SignatureSettings extends TargetRules {
  readonly schemes: readonly Scheme[];
  readonly presignedUrls: 'until-expiry' | 'once' | 'refuse';
}

/**
 * Finds the one signature of a request: with two, one could be checked and the other believed.
 *
 * @throws SignatureError `ERR_SIGNATURE_MISSING`, `ERR_SIGNATURE_AMBIGUOUS`, and what the scheme throws
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
  // Key stores rely on it, and not every scheme need have the same alphabet.
  if (!isAccessKeyId(accessKeyId)) {
    throw new SignatureError(
      'ERR_SIGNATURE_MALFORMED',
      `Cannot look up access key ${quote(accessKeyId)}: its id is not 1 to 128 of A-Z a-z 0-9 . _ -`,
    );
  }
  // Not said is not denied.
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

/** A signature that cannot be read is one, too. */
function carriesSignature(scheme: Scheme, request: SignableRequest): boolean {
  try {
    return scheme.read(request) !== undefined;
  } catch {
    return true;
  }
}
