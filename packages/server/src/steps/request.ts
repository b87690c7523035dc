import {
  checkHost,
  type HeaderFields,
  type HeadersInput,
  parseTarget,
  quote,
  readHeaders,
  type SignableRequest,
  SignatureError,
} from '@countersign/shared';

const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}$/;

/** Where clients think that they call, as the server's owner configured it: never as a client says. */
export interface PublicAddress {
  /** The host to verify in place of what a proxy made of it. */
  readonly publicOrigin?: string | undefined;
  /** The path prefix that a proxy stripped. */
  readonly publicPrefix: string;
}

/**
 * Reads a request as the client signed it.
 *
 * @throws SignatureError `ERR_TARGET_AMBIGUOUS`, `ERR_SIGNATURE_AMBIGUOUS`, `ERR_SIGNATURE_MALFORMED`
 */
export function readRequest(
  {
    method,
    url,
    headers,
  }: { readonly method: string; readonly url: string; readonly headers: HeadersInput },
  address: PublicAddress,
): SignableRequest {
  if (!METHOD.test(method)) {
    throw new SignatureError(
      'ERR_SIGNATURE_MALFORMED',
      `Cannot verify method ${quote(method)}: it is not a token`,
    );
  }
  // The target is checked as it came: a prefix must not make origin form of what was not.
  const { path, query } = parseTarget(url);
  return {
    method,
    path: address.publicPrefix + path,
    query,
    headers: readHost(readHeaders(headers), address.publicOrigin),
  };
}

function readHost(headers: HeaderFields, publicHost: string | undefined): HeaderFields {
  const host = headers.get('host');
  if (publicHost !== undefined) return headers.with([['host', publicHost]]);
  if (host !== undefined) checkHost(host);
  return headers;
}
