import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { VerifiedRequests } from '../../lib/verified-requests.ts';
import type { Identity } from '../../verify/identity.ts';
import type { Verifier } from '../../verify/verifier.ts';

/** Who signed each request. */
export const signedRequests = new VerifiedRequests<Verifier, Identity>();

/**
 * Tells who signed a request.
 *
 * @param req a request that `requireSignature()`, `withSignature()` of `node:http`, or
 * `verifyUpgrade()` has accepted
 * @throws TypeError if none of them has verified it
 */
export function identityOf(req: IncomingMessage | Http2ServerRequest): Identity {
  return signedRequests.get(req, 'who signed', 'requireSignature()');
}
