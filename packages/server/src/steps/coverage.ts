import {
  isNamed,
  mustBeSigned,
  quote,
  type SignableRequest,
  SignatureError,
  type SignatureParams,
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
  { signedHeaders }: SignatureParams,
  further: ReadonlySet<string>,
): void {
  if (!signedHeaders.includes('host')) throw notCovered('host');
  const { raw } = headers;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    if (isAmong(signedHeaders, name)) continue;
    if (mustBeSigned(name) || (further.size > 0 && further.has(name.toLowerCase())))
      throw notCovered(name.toLowerCase());
  }
}

function isAmong(signedHeaders: readonly string[], name: string): boolean {
  // By index: iterators are slow where an array is frozen.
  for (let index = 0; index < signedHeaders.length; index++)
    if (isNamed(name, signedHeaders[index] as string)) return true;
  return false;
}

function notCovered(name: string): SignatureError {
  return new SignatureError(
    'ERR_COMPONENT_NOT_COVERED',
    `Header ${quote(name)} is not signed: it must be where it is present`,
  );
}
