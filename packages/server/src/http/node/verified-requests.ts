import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { quote } from '@countersign/shared';
import type { Identity } from '../../verify/identity.ts';
import type { Verifier } from '../../verify/verifier.ts';

interface Verified {
  readonly identity: Identity;
  readonly verifier: Verifier;
}

/**
 * Who signed each request, and which verifier says so. It is kept apart from the request, where a
 * body parser or a client could reach it.
 */
const verified = new WeakMap<object, Verified>();

/** Records who signed a request. */
export function keepIdentity(req: object, known: Verified): void {
  verified.set(req, known);
}

/** Whether this verifier has already verified the request. */
export function isVerifiedBy(req: object, verifier: Verifier): boolean {
  return verified.get(req)?.verifier === verifier;
}

/**
 * Tells who signed a request.
 *
 * @param req a request that `requireSignature()`, `withSignature()` of `node:http`, or
 * `verifyUpgrade()` has accepted
 * @throws TypeError if none of them has verified it
 */
export function identityOf(req: IncomingMessage | Http2ServerRequest): Identity {
  const known = verified.get(req);
  if (known !== undefined) return known.identity;
  const { originalUrl, url } = (req ?? {}) as { originalUrl?: string; url?: string };
  throw new TypeError(
    `Cannot tell who signed ${quote(originalUrl ?? url)}: mount requireSignature() above this route`,
  );
}
