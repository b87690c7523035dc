import { quote } from '@countersign/shared';
import type { CallbackIdentity } from './callback-identity.ts';
import type { CallbackVerifier } from './callback-verifier.ts';

interface Verified {
  readonly callback: CallbackIdentity;
  readonly verifier: CallbackVerifier;
}

/**
 * The callback of each request, and the verifier that accepted it. It is kept outside the request,
 * so a body parser or a client cannot change it.
 */
const verified = new WeakMap<object, Verified>();

/** Records the callback of a request. */
export function keepCallback(request: object, known: Verified): void {
  verified.set(request, known);
}

/** Returns what was recorded for a request. */
export function knownCallback(request: object): Verified | undefined {
  return verified.get(request);
}

/**
 * Returns the callback of a request.
 *
 * @param request of Express, of `node:http`, or the `Request` that `withCallback()` hands on
 * @throws TypeError if no middleware has verified it
 */
export function callbackOf(request: object): CallbackIdentity {
  const known = verified.get(request);
  if (known !== undefined) return known.callback;
  const { originalUrl, url } = (request ?? {}) as { originalUrl?: string; url?: string };
  throw new TypeError(
    `Cannot tell the callback of ${quote(originalUrl ?? url)}: mount requireCallback() above this route`,
  );
}
