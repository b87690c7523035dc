import type { IncomingMessage } from 'node:http';
import { quote, SignatureError } from '@countersign/shared';
import type { Request, RequestHandler } from 'express';
import * as z from 'zod';
import {
  type AdapterOptions,
  adapterSchema,
  parseVerifierOrOptions,
} from './http/adapter-options.ts';
import {
  createSessionEndpoint,
  type SessionEndpointOptions,
} from './http/express/session-endpoint.ts';
import { authenticate } from './http/node/adapter.ts';
import { answerProblem } from './http/node/answer.ts';
import { identityOf, isVerifiedBy } from './http/node/verified-requests.ts';
import { problemOf } from './http/problem-details.ts';
import { toError } from './lib/thrown.ts';
import type { Sessions } from './sessions/sessions.ts';
import type { Verifier } from './verify/verifier.ts';
import type { VerifierOptions } from './verify/verifier-options.ts';

export { handleOnce } from './callbacks/once/handle-once.ts';
export type { CallbackAdapterOptions } from './callbacks/receive/callback-adapter.ts';
export { callbackOf } from './callbacks/receive/received-callbacks.ts';
export { requireCallback } from './callbacks/receive/require-callback.ts';
export type { SessionEndpointOptions } from './http/express/session-endpoint.ts';
export { keepRawBody } from './http/node/body.ts';
export { continueWhenVerified } from './http/node/continue-when-verified.ts';
export {
  type SignedUpgradeListener,
  type UpgradeOptions,
  verifyUpgrade,
} from './http/node/verify-upgrade.ts';
export { identityOf };

/** What `requireSignature()` does around a verifier. */
export interface RequireSignatureOptions extends AdapterOptions {
  /**
   * CORS preflight requests, which browsers never sign: refused if not given, or let through without an identity. Let
   * through, they reach whatever answers `OPTIONS` below: mount what answers CORS next.
   */
  readonly preflight?: 'refuse' | 'pass' | undefined;
}

const expressSchema = adapterSchema.extend({
  preflight: z.enum(['refuse', 'pass']).default('refuse'),
});

/**
 * Lets signed requests through and answers all others, for Express 5 and 4. Mount it above body parsers: they parse
 * afterwards as if it were not there. Mounted once more with the same verifier, it does nothing.
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
  const { verifier, policy } = parseVerifierOrOptions(expressSchema, given, options);
  return function signatureRequired(req, res, next) {
    // Mounted twice, it would find the nonce used by itself.
    if (isVerifiedBy(req, verifier)) return next();
    if (policy.preflight === 'pass' && isPreflight(req)) return next();
    authenticate(verifier, policy, req, res, sourceOf, {
      accept: () => next(),
      refuse(error) {
        if (!(error instanceof SignatureError)) throw error;
        answerProblem(req, res, problemOf(error, verifier.audience, verifier.challenge));
      },
    }).catch((error) => next(toError(error)));
  };
}

/** The address that Express tells: of the connection, or what proxies say where its `trust proxy` believes them. */
function sourceOf(req: IncomingMessage): string | undefined {
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

/**
 * Lets a request through whose access key has all of the scopes. Mount it below `requireSignature()`.
 *
 * @param scopes at least one
 * @throws TypeError where no scope is given, or one is not text
 *
 * @example
 * ```ts
 * import { requireScope } from '@countersign/server/express';
 * import express from 'express';
 *
 * const app = express();
 * app.post('/VideoParser/', requireScope('videos:parse'), (req, res) => void res.sendStatus(204));
 * ```
 */
export function requireScope(...scopes: string[]): RequestHandler {
  if (scopes.length === 0 || !scopes.every((scope) => typeof scope === 'string' && scope !== '')) {
    throw new TypeError(`Cannot require scopes ${quote(scopes)}: expected one or more names`);
  }
  return function scopeRequired(req, res, next) {
    const identity = identityOf(req);
    const missing = scopes.find((scope) => !identity.scopes.includes(scope));
    if (missing === undefined) return next();
    const error = new SignatureError(
      'ERR_SCOPE_MISSING',
      `The access key does not have the scope ${quote(missing)}`,
    );
    answerProblem(req, res, problemOf(error, identity.audience));
  };
}

/**
 * Lends session credentials to whoever signed the request: for no more than the access key may do, and a while only. Mount it
 * below `requireSignature()`. `sessionCredentials()` of the client asks it.
 *
 * It takes `POST` with `{ scopes?, ttl? }` as JSON, also where no body parser stands above, and answers 201 with
 * `{ accessKeyId, secretAccessKey, sessionToken, expiresAt }`.
 *
 * @param sessions what `createSessions()` gives
 * @param options see {@link SessionEndpointOptions}
 * @throws TypeError where what is given are no sessions, or an option cannot be used
 *
 * @example
 * ```ts
 * import { createVerifier, generateMasterKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
 * import { requireSignature, sessionEndpoint } from '@countersign/server/express';
 * import { createSessions } from '@countersign/server/sessions';
 * import express from 'express';
 *
 * const keys = new MemoryKeyStore();
 * const sessions = createSessions({ issuer: 'video-api', masterKey: generateMasterKey(), revocations: keys });
 * const verifier = createVerifier({ audience: 'video-api', keys, sessions, nonces: new MemoryNonceStore() });
 * const app = express();
 * app.post('/session', requireSignature(verifier), sessionEndpoint(sessions));
 * ```
 */
export function sessionEndpoint(
  sessions: Sessions,
  options: SessionEndpointOptions = {},
): RequestHandler {
  return createSessionEndpoint(identityOf, sessions, options);
}
