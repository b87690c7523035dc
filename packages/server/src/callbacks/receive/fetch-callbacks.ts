import { SignatureError } from '@countersign/shared';
import { checkHandler } from '../../http/adapter-options.ts';
import { ConnectionHold } from '../../http/connection-hold.ts';
import { heldFetchBody } from '../../http/fetch/body.ts';
import { incomingOf, whileHeld } from '../../http/fetch/incoming.ts';
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
 * Wraps a fetch-style handler, so that it is called only for verified callbacks (webhooks). The
 * wrapper answers all others.
 *
 * @param handler called with a readable request, the callback, and all further arguments of the
 * runtime
 * @param given a verifier, or the options of one
 * @throws TypeError or RangeError that names the option that cannot be used
 *
 * @example
 * ```ts
 * import { withCallback } from '@countersign/server/fetch';
 *
 * const handler = withCallback((_request, callback) => new Response(callback.id), {
 *   secrets: ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'],
 * });
 * const unsigned = new Request('https://api.test/callbacks', { method: 'POST', body: '{}' });
 * console.assert((await handler(unsigned)).status === 401);
 * ```
 * @see docs/callbacks.md
 */
export function withCallback<Rest extends unknown[]>(
  handler: (
    request: Request,
    callback: CallbackIdentity,
    ...rest: Rest
  ) => Response | Promise<Response>,
  given: CallbackVerifier | (CallbackVerifierOptions & CallbackAdapterOptions),
  options: CallbackAdapterOptions = {},
): (request: Request, ...rest: Rest) => Promise<Response> {
  const { verifier, limit } = parseCallbackAdapter(given, options);
  checkHandler('handler', handler);
  return async function callbackHandler(received, ...rest) {
    const incoming = incomingOf(received, rest[0]);
    const clientAddress = knownClientAddress(() => incoming?.socket.remoteAddress);
    const hold = new ConnectionHold(incoming);
    const body = heldFetchBody(received, limit, 'withCallback()', hold);
    let callback: CallbackIdentity;
    try {
      checkMethod(received.method);
      const verify = () => verifier.verify({ headers: received.headers, body, clientAddress });
      callback = await whileHeld(hold, incoming, verify);
    } catch (error) {
      if (!(error instanceof SignatureError)) throw error;
      const problem = callbackProblem(error, verifier);
      return new Response(problem.body, { status: problem.status, headers: problem.headers });
    }
    const request = body.request();
    receivedCallbacks.keep(request, verifier, callback);
    return handler(request, callback, ...rest);
  };
}
