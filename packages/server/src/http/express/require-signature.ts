import type { IncomingMessage } from 'node:http';
import { SignatureError } from '@countersign/shared';
import type { Request, RequestHandler } from 'express';
import * as z from 'zod';
import { toError } from '../../lib/thrown.ts';
import type { Verifier } from '../../verify/verifier.ts';
import type { VerifierOptions } from '../../verify/verifier-options.ts';
import { type AdapterOptions, adapterSchema, parseVerifierOrOptions } from '../adapter-options.ts';
import { authenticate } from '../node/adapter.ts';
import { answerProblem } from '../node/answer.ts';
import { signedRequests } from '../node/verified-requests.ts';
import { problemOf } from '../problem-details.ts';

/** What `requireSignature()` does around a verifier. */
export interface RequireSignatureOptions extends AdapterOptions {
  /**
   * What happens to CORS preflight requests, which browsers never sign. `refuse` (if not given)
   * answers 401. `pass` lets them through without an identity. Then they reach every middleware
   * below that answers `OPTIONS`, so mount your CORS middleware next.
   */
  readonly preflight?: 'refuse' | 'pass' | undefined;
}

const expressSchema = adapterSchema.extend({
  preflight: z.enum(['refuse', 'pass']).default('refuse'),
});

/**
 * Lets signed requests through and answers all others, for Express 5 and 4. Mount it above body
 * parsers. They then parse as if it were not there. If you mount it twice with the same verifier,
 * the second one does nothing.
 *
 * @param given a verifier, or the options of one
 * @param options what to do around it
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
 * import { identityOf, requireSignature } from '@countersign/server/express';
 * import express from 'express';
 *
 * const keys = new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]);
 * const app = express();
 * app.use(requireSignature({ audience: 'video-api', keys, nonces: new MemoryNonceStore() }));
 * app.get('/whoami', (req, res) => void res.send(identityOf(req).subject));
 * ```
 */
export function requireSignature(
  given: Verifier | (VerifierOptions & RequireSignatureOptions),
  options: RequireSignatureOptions = {},
): RequestHandler {
  const { verifier, settings } = parseVerifierOrOptions(expressSchema, given, options);
  return function signatureRequired(req, res, next) {
    // The first of two would have used the nonce, so the second would refuse it as a replay.
    if (signedRequests.isVerifiedBy(req, verifier)) return next();
    if (settings.preflight === 'pass' && isPreflight(req)) return next();
    authenticate(verifier, settings, req, res, clientAddressOf, {
      accept: () => next(),
      refuse(error) {
        if (!(error instanceof SignatureError)) throw error;
        answerProblem(req, res, problemOf(error, verifier.audience, verifier.challenge));
      },
    }).catch((error) => next(toError(error)));
  };
}

/**
 * The address of the connection. If the option `trust proxy` of Express trusts the proxy, it is the
 * address that the proxy reports.
 */
function clientAddressOf(req: IncomingMessage): string | undefined {
  return (req as Request).ip;
}

/** @see Fetch standard, section 3.2.2 */
function isPreflight({ method, headers }: Request): boolean {
  return (
    method === 'OPTIONS' &&
    headers.origin !== undefined &&
    headers['access-control-request-method'] !== undefined
  );
}
