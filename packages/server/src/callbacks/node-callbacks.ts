import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { checkHandler } from '../adapter-options.ts';
import { isTooLate, refuse } from '../node-answer.ts';
import { readNodeBody } from '../node-body.ts';
import {
  type CallbackAdapterOptions,
  callbackProblem,
  checkMethod,
  parseCallbackAdapter,
} from './callback-adapter.ts';
import type { CallbackIdentity } from './callback-identity.ts';
import type { CallbackVerifier } from './callback-verifier.ts';
import type { CallbackVerifierOptions } from './callback-verifier-options.ts';
import { keepCallback } from './received-callbacks.ts';

/**
 * Verifies a callback that came over `node:http`, and leaves its body as it was.
 *
 * @throws SignatureError where it is refused
 */
export async function receiveCallback(
  verifier: CallbackVerifier,
  limit: number,
  req: IncomingMessage,
): Promise<CallbackIdentity> {
  checkMethod(req.method);
  const callback = await verifier.verify({
    headers: req.rawHeaders,
    body: { read: (seconds) => readNodeBody(req, limit, seconds, 'requireCallback()') },
  });
  keepCallback(req, { callback, verifier });
  return callback;
}

/**
 * Wraps a listener for `node:http`, or for the compatibility API of `node:http2`, so that it is called for verified callbacks
 * only. The others are answered here; where verifying fails, with 500 and a process warning.
 *
 * @param listener called with the callback; `req` can be read as if nobody had
 * @param given a verifier, or the options of one
 * @throws TypeError or RangeError naming the option that cannot be used
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
    // What is used of both has the same names in HTTP/2.
    const [incoming, answer] = [req as IncomingMessage, res as ServerResponse];
    if (isTooLate(incoming)) return;
    void receiveCallback(verifier, limit, incoming).then(
      (callback) => listener(req, res, callback),
      (error) => refuse(incoming, answer, error, (it) => callbackProblem(it, verifier)),
    );
  };
}
