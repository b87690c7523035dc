import { kindOf, SignatureError } from '@countersign/shared';
import type { Request, RequestHandler, Response } from 'express';
import * as z from 'zod';
import { parseOptions } from '../../lib/options.ts';
import { toError } from '../../lib/thrown.ts';
import type { Sessions, WantedSession } from '../../sessions/sessions.ts';
import type { Identity } from '../../verify/identity.ts';
import { cutShort } from '../body-errors.ts';
import { ConnectionHold } from '../connection-hold.ts';
import { HeldBody } from '../held-body.ts';
import { answerProblem } from '../node/answer.ts';
import { verifiedBody } from '../node/body.ts';
import { identityOf } from '../node/verified-requests.ts';
import { problemOf } from '../problem-details.ts';

/** How session credentials are handed out. */
export interface SessionEndpointOptions {
  /**
   * `tls` if not given: a request over plain HTTP is refused. That includes requests from this
   * machine, because a proxy on it may have forwarded them without saying so. If a proxy ends TLS,
   * set Express' `trust proxy`. `allow-plain-http` is for development: any host on the network path
   * can read the secret of the session.
   */
  readonly transport?: 'tls' | 'allow-plain-http' | undefined;
}

const optionsSchema = z.strictObject({
  transport: z.enum(['tls', 'allow-plain-http']).default('tls'),
});

const LONGEST_BODY = 16_384;

/**
 * Lends session credentials to the signer of the request. They expire, and allow no more than the
 * access key does. Mount it below `requireSignature()`. `sessionCredentials()` of the client calls
 * it.
 *
 * It takes `POST` with `{ scopes?, ttl? }` as JSON (`ttl` in seconds), and needs no body parser
 * above it. It answers 201 with `{ accessKeyId, secretAccessKey, sessionToken, expiresAt }`.
 *
 * @param sessions the result of `createSessions()`
 * @param options see {@link SessionEndpointOptions}
 * @throws TypeError if `sessions` is something else, or an option cannot be used
 *
 * @example
 * ```ts
 * import {
 *   createVerifier,
 *   generateMasterKey,
 *   MemoryKeyStore,
 *   MemoryNonceStore,
 * } from '@countersign/server';
 * import { requireSignature, sessionEndpoint } from '@countersign/server/express';
 * import { createSessions } from '@countersign/server/sessions';
 * import express from 'express';
 *
 * const keys = new MemoryKeyStore();
 * const sessions = createSessions({
 *   issuer: 'video-api',
 *   masterKey: generateMasterKey(),
 *   revocations: keys,
 * });
 * const verifier = createVerifier({
 *   audience: 'video-api',
 *   keys,
 *   sessions,
 *   nonces: new MemoryNonceStore(),
 * });
 * const app = express();
 * app.post('/session', requireSignature(verifier), sessionEndpoint(sessions));
 * ```
 */
export function sessionEndpoint(
  sessions: Sessions,
  options: SessionEndpointOptions = {},
): RequestHandler {
  if (typeof (sessions as Sessions | undefined)?.lend !== 'function')
    throw new TypeError(
      `Cannot build session endpoint: expected what createSessions() gives, got ${kindOf(sessions)}`,
    );
  const { transport } = parseOptions('session endpoint', optionsSchema, options);
  return function sessionLent(req, res, next) {
    const identity = identityOf(req);
    if (transport === 'tls' && !req.secure) {
      next(
        new TypeError(
          'Cannot lend session credentials: the request came over plain HTTP, and the secret would be readable on the way. Use TLS, set "trust proxy" if a proxy ends it, ' +
            'or for development sessionEndpoint(sessions, { transport: "allow-plain-http" })',
        ),
      );
      return;
    }
    const hold = new ConnectionHold(req);
    lend(sessions, identity, req, hold)
      .then(
        (credentials) => answer(res, 201, 'application/json', credentials),
        (error) => {
          if (error instanceof SignatureError)
            answerProblem(req, res, problemOf(error, identity.audience));
          else if (error instanceof TypeError || error instanceof RangeError)
            answer(res, 400, 'application/problem+json', {
              type: 'about:blank',
              title: 'Bad Request',
              status: 400,
              detail: error.message,
            });
          else throw error;
        },
      )
      .catch((error) => next(toError(error)))
      .finally(() => hold.end());
  };
}

async function lend(
  sessions: Sessions,
  identity: Identity,
  req: Request,
  hold: ConnectionHold,
): Promise<object> {
  const wanted = await readWanted(req);
  // A client that closes its side after the request still waits for the answer.
  hold.begin();
  // `lend` checks the value and says what is wrong with it.
  return sessions.lend(identity, (wanted ?? {}) as WantedSession);
}

/**
 * What a client asks for. The verified bytes are parsed here, whatever a parser has made of them.
 * Parsers of Express 4 give `{}` for a body that they do not parse, and `{}` would ask for all
 * scopes. For the same reason a body that did not arrive must not count as an empty one.
 */
async function readWanted(req: Request): Promise<unknown> {
  if (req.destroyed && !req.readableEnded) throw cutShort(req.errored);
  const bytes = verifiedBody(req);
  if (bytes !== undefined) return parseJson(bytes);
  if (!req.readableEnded) return parseJson(await collect(req));
  // A parser has read a streamed body to its end. The stream ends only if the body is the signed
  // one.
  const { body } = req as { body: unknown };
  return typeof body === 'string' || Buffer.isBuffer(body) ? parseJson(Buffer.from(body)) : body;
}

/** Reads a streamed body. It fails unless all of it is what was signed. */
async function collect(req: Request): Promise<Uint8Array> {
  const held = new HeldBody(LONGEST_BODY);
  // If the body is too long, the request is not destroyed: the answer is still to be sent, and then
  // the rest is discarded.
  for await (const chunk of req.iterator({ destroyOnReturn: false }))
    if (!held.add(chunk as Buffer)) throw tooLong();
  return held.bytes;
}

function parseJson(bytes: Uint8Array): unknown {
  if (bytes.length === 0) return undefined;
  if (!(bytes.length <= LONGEST_BODY)) throw tooLong();
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8'));
  } catch {
    throw new TypeError('Cannot lend session credentials: the body is not JSON');
  }
}

function tooLong(): SignatureError {
  return new SignatureError(
    'ERR_BODY_TOO_LARGE',
    `Cannot lend session credentials: the body has more than ${LONGEST_BODY} bytes`,
  );
}

function answer(res: Response, status: number, type: string, body: object): void {
  res
    .status(status)
    .set({ 'content-type': type, 'cache-control': 'no-store' })
    .end(JSON.stringify(body));
}
