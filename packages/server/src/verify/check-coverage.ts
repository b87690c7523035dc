import {
  isNamed,
  mustBeSigned,
  quote,
  type SignableRequest,
  SignatureError,
  type SignatureParams,
  type TargetPart,
  WHOLE_TARGET,
} from '@countersign/shared';

/**
 * Refuses a request if the signature does not cover everything that the server acts on. A valid
 * signature may cover almost nothing, so the server decides what it must cover.
 *
 * @param further lower-case names of more headers that must be signed if they are present
 * @throws SignatureError `ERR_COMPONENT_NOT_COVERED`
 */
export function checkCoverage(
  { headers }: SignableRequest,
  { covers, signedHeaders }: Pick<SignatureParams, 'covers' | 'signedHeaders'>,
  further: ReadonlySet<string>,
): void {
  if (covers !== WHOLE_TARGET) checkTarget(covers);
  const { raw } = headers;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    if (isAmong(signedHeaders, name)) continue;
    // checkTarget() has checked the authority, which some schemes sign in another form.
    if (isNamed(name, 'host')) continue;
    if (mustBeSigned(name) || (further.size > 0 && further.has(name.toLowerCase())))
      throw notCovered(`Header ${quote(name.toLowerCase())}`);
  }
}

/**
 * Without one of these parts an attacker could send the signature with another host, method, path
 * or query.
 */
function checkTarget(covers: readonly TargetPart[]): void {
  for (const part of WHOLE_TARGET) {
    if (covers?.includes(part)) continue;
    throw notCovered(part === 'authority' ? 'Header "host"' : `The ${part}`);
  }
}

function isAmong(signedHeaders: readonly string[], name: string): boolean {
  // By index: iterators are slow on frozen arrays.
  for (let index = 0; index < signedHeaders.length; index++)
    if (isNamed(name, signedHeaders[index] as string)) return true;
  return false;
}

function notCovered(what: string): SignatureError {
  return new SignatureError(
    'ERR_COMPONENT_NOT_COVERED',
    `${what} is not signed: the signature must cover it`,
  );
}
