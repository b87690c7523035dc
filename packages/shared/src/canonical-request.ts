import { canonicalHeaders } from './canonical-headers.ts';
import type { HeaderFields } from './header-fields.ts';

/** What a signature is about: a request as it goes over the wire, without its body. */
export interface SignableRequest {
  readonly method: string;
  /** The canonical URI: the path as it stands on the request line. */
  readonly path: string;
  /** The query as it stands on the request line, without its leading `?`. */
  readonly query: string;
  readonly headers: HeaderFields;
}

/**
 * Joins what is signed: method, canonical URI, canonical query, canonical headers, signed headers, body hash.
 *
 * Every part but the headers is free of line feeds, and an empty line ends the headers, so no two requests have one
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

/** What a signature says of the request that it is for. */
interface SignedParts {
  readonly signedHeaders: readonly string[];
  /** The same, joined with `;`. */
  readonly signedHeadersText: string;
  readonly bodyHash: string;
}
