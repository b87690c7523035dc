import { mustBeSigned, quote, type SignableRequest, SignatureError, type SignatureParams } from '@countersign/shared';

/**
 * Refuses a request in which something that the server acts on is not covered by the signature. A valid signature may
 * cover almost nothing; what it must cover is the server's to say.
 *
 * @param further lower-case names of headers that must be signed where present, beside those that always must
 * @throws SignatureError `ERR_COMPONENT_NOT_COVERED`
 */
export function checkCoverage(request: SignableRequest, params: SignatureParams, further: ReadonlySet<string> | undefined): void {
  if (!params.signedHeaders.includes('host')) throw notCovered('host');
  for (const name of request.headers.values.keys()) {
    if (mustBeSigned(name, further) && !params.signedHeaders.includes(name)) throw notCovered(name);
  }
}

function notCovered(name: string): SignatureError {
  return new SignatureError('ERR_COMPONENT_NOT_COVERED', `Header ${quote(name)} is not signed: it must be where it is present`);
}
