import { VerifiedRequests } from '../../lib/verified-requests.ts';
import type { CallbackIdentity } from './callback-identity.ts';
import type { CallbackVerifier } from './callback-verifier.ts';

/** Which callback each request brought. */
export const receivedCallbacks = new VerifiedRequests<CallbackVerifier, CallbackIdentity>();

/**
 * Returns the callback of a request.
 *
 * @param request of Express, of `node:http`, or the `Request` that `withCallback()` hands on
 * @throws TypeError if no verifier has verified it
 */
export function callbackOf(request: object): CallbackIdentity {
  return receivedCallbacks.get(request, 'the callback of', 'requireCallback()');
}
