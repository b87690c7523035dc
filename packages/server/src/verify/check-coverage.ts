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
 * Refuses a request in which something that the server acts on is not covered by the signature. A valid signature may
 * cover almost nothing; what it must cover is the server's to say.
 *
 * @param further lower-case names of headers that must be signed where present, beside those that always must
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
    // The authority, which was looked for above: not every scheme has it in this header.
    if (isNamed(name, 'host')) continue;
    if (mustBeSigned(name) || (further.size > 0 && further.has(name.toLowerCase())))
      throw notCovered(`Header ${quote(name.toLowerCase())}`);
  }
}

/** For one host, method, path or query a signature would be good for any. */
function checkTarget(covers: readonly TargetPart[]): void {
  for (const part of WHOLE_TARGET) {
    if (covers?.includes(part)) continue;
    throw notCovered(part === 'authority' ? 'Header "host"' : `The ${part}`);
  }
}

function isAmong(signedHeaders: readonly string[], name: string): boolean {
  // By index: iterators are slow where an array is frozen.
  for (let index = 0; index < signedHeaders.length; index++)
    if (isNamed(name, signedHeaders[index] as string)) return true;
  return false;
}

function notCovered(what: string): SignatureError {
  return new SignatureError(
    'ERR_COMPONENT_NOT_COVERED',
    `${what} is not signed: it must be where it is present`,
  );
}
