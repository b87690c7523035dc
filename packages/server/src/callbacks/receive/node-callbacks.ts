import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { checkHandler } from '../../http/adapter-options.ts';
import { ConnectionHold } from '../../http/connection-hold.ts';
import { answerFailure, answerRefusal } from '../../http/node/answer.ts';
import { heldBody } from '../../http/node/body.ts';
import { callListener } from '../../http/node/call-listener.ts';
import { handOn, type Outcome } from '../../http/node/hand-on.ts';
import { headersOf } from '../../http/node/headers.ts';

import {
  type CallbackAdapterOptions,
  callbackProblem,
  checkMethod,
  knownClientAddress,
  parseCallbackAdapter,
} from './callback-adapter.ts';
import type { CallbackIdentity } from './callback-identity.ts';
import type { CallbackVerifier } from './callback-verifier.ts';
import type { CallbackVerifierOptions } from './callback-verifier-options.ts';
import { receivedCallbacks } from './received-callbacks.ts';

/**
 * Verifies a callback that came over `node:http`, and leaves its body readable.
 *
 * @param clientAddressOf returns the network address of the caller
 * @param outcome what to do with a callback that is accepted or refused
 */
export function receiveCallback(
  verifier: CallbackVerifier,
  limit: number,
  req: IncomingMessage,
  res: ServerResponse,
  clientAddressOf: () => string | undefined,
  outcome: Outcome<CallbackIdentity>,
): Promise<void> {
  const hold = new ConnectionHold(req);
  const verify = (): Promise<CallbackIdentity> => {
    checkMethod(req.method);
    return verifier.verify({
      headers: headersOf(req),
      parsedHeaders: req.headers,
      clientAddress: knownClientAddress(clientAddressOf),
      body: heldBody(req, { limit, middleware: 'requireCallback()', hold }),
    });
  };
  return handOn(req, res, hold, verify, {
    accept(callback) {
      receivedCallbacks.keep(req, verifier, callback);
      outcome.accept(callback);
    },
    refuse: outcome.refuse,
  });
}

/**
 * Wraps a listener for `node:http`, or for the compatibility API of `node:http2`, so that it is
 * called only for verified callbacks. The wrapper answers all others. If verifying fails, or the
 * listener throws or rejects, the answer is 500 and a process warning says why.
 *
 * @param listener called with the callback; `req` can be read as if nothing had read it. It is
 * called only while the whole body is in `req`
 * @param given a verifier, or the options of one
 * @throws TypeError or RangeError that names the option that cannot be used
 *
 * @example
 * ```ts
 * import { withCallback } from '@countersign/server/node';
 * import { createServer } from 'node:http';
 *
 * const server = createServer(
 *   withCallback((_req, res, callback) => void res.end(callback.id), {
 *     secrets: ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'],
 *   }),
 * );
 * ```
 */
export function withCallback<
  Req extends IncomingMessage | Http2ServerRequest = IncomingMessage,
  Res extends ServerResponse | Http2ServerResponse = ServerResponse,
>(
  listener: (req: Req, res: Res, callback: CallbackIdentity) => void | Promise<void>,
  given: CallbackVerifier | (CallbackVerifierOptions & CallbackAdapterOptions),
  options: CallbackAdapterOptions = {},
): (req: Req, res: Res) => void {
  const { verifier, limit } = parseCallbackAdapter(given, options);
  checkHandler('listener', listener);
  return function callbackListener(req, res) {
    // The members that we use have the same names in HTTP/2.
    const [incoming, answer] = [req as IncomingMessage, res as ServerResponse];
    receiveCallback(verifier, limit, incoming, answer, () => incoming.socket.remoteAddress, {
      accept: (callback) => callListener(incoming, answer, () => listener(req, res, callback)),
      refuse: (error) =>
        answerRefusal(incoming, answer, error, (it) => callbackProblem(it, verifier)),
    }).catch((error) => answerFailure(incoming, answer, error, 'COUNTERSIGN_VERIFIER_FAILED'));
  };
}
