import { canonicalHeaders } from './canonical-headers.ts';
import type { HeaderFields } from './header-fields.ts';

/** The request that is signed, as it goes over the wire, without its body. */
export interface SignableRequest {
  readonly method: string;
  /** The canonical URI: the path as on the request line. */
  readonly path: string;
  /** The query as on the request line, without its leading `?`. */
  readonly query: string;
  readonly headers: HeaderFields;
}

/**
 * Joins the signed parts: method, canonical URI, canonical query, canonical headers, signed
 * headers, body hash.
 *
 * Only the headers hold line feeds, and an empty line ends them. So no two requests have the same
 * canonical request.
 *
 * @see docs/wire-format.md, "Canonical request"
 */
export function canonicalRequest(
  request: SignableRequest,
  query: string,
  signed: SignedParts,
): string {
  const headers = canonicalHeaders(request.headers, signed.signedHeaders);
  return `${request.method}\n${request.path}\n${query}\n${headers}\n${signed.signedHeadersText}\n${signed.bodyHash}`;
}

/** What a signature says about its request. */
interface SignedParts {
  readonly signedHeaders: readonly string[];
  /** The same, joined with `;`. */
  readonly signedHeadersText: string;
  readonly bodyHash: string;
}
