import { quote } from '@countersign/shared';
import type { CallbackIdentity } from './callback-identity.ts';
import type { CallbackVerifier } from './callback-verifier.ts';

interface Verified {
  readonly callback: CallbackIdentity;
  readonly verifier: CallbackVerifier;
}

/**
 * What each request brought, and which verifier says so. Kept apart from it, where a body parser or
 * a client could reach it.
 */
const verified = new WeakMap<object, Verified>();

/** Records what a request has brought. */
export function keepCallback(request: object, known: Verified): void {
  verified.set(request, known);
}

/** What was recorded of a request. */
export function knownCallback(request: object): Verified | undefined {
  return verified.get(request);
}

/**
 * Tells which callback a request brought.
 *
 * @param request of Express, of `node:http`, or the `Request` that `withCallback()` hands on
 * @throws TypeError where nothing has verified it
 */
export function callbackOf(request: object): CallbackIdentity {
  const known = verified.get(request);
  if (known !== undefined) return known.callback;
  const { originalUrl, url } = (request ?? {}) as { originalUrl?: string; url?: string };
  throw new TypeError(
    `Cannot tell the callback of ${quote(originalUrl ?? url)}: mount requireCallback() above this route`,
  );
}
