import { SignatureError } from '@countersign/shared';
import type { RequestHandler } from 'express';
import { answerProblem } from '../../http/node/answer.ts';
import { toError } from '../../lib/thrown.ts';
import {
  type CallbackAdapterOptions,
  callbackProblem,
  parseCallbackAdapter,
} from './callback-adapter.ts';
import type { CallbackVerifier } from './callback-verifier.ts';
import type { CallbackVerifierOptions } from './callback-verifier-options.ts';
import { receiveCallback } from './node-callbacks.ts';
import { receivedCallbacks } from './received-callbacks.ts';

/**
 * Middleware for Express 5 and 4. It lets callbacks (webhooks) through if their sender has signed
 * them, and answers all others. Mount it above body parsers: they can still parse the body
 * afterwards. If it is mounted again with the same verifier, the second one does nothing.
 *
 * @param given a verifier, or the options of one
 * @param options the options of the adapter
 * @throws TypeError or RangeError that names the option that cannot be used
 *
 * @example
 * ```ts
 * import { callbackOf, requireCallback } from '@countersign/server/express';
 * import express from 'express';
 *
 * const app = express();
 * const verify = requireCallback({ secrets: ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'] });
 * app.post('/callbacks', verify, express.json(), (req, res) => {
 *   console.log(callbackOf(req).id, req.body);
 *   res.sendStatus(204);
 * });
 * ```
 * @see docs/callbacks.md
 */
export function requireCallback(
  given: CallbackVerifier | (CallbackVerifierOptions & CallbackAdapterOptions),
  options: CallbackAdapterOptions = {},
): RequestHandler {
  const { verifier, limit } = parseCallbackAdapter(given, options);
  return function callbackRequired(req, res, next) {
    // If it is mounted twice, the second run would find the nonce used by the first.
    if (receivedCallbacks.isVerifiedBy(req, verifier)) return next();
    receiveCallback(verifier, limit, req, res, () => req.ip, {
      accept: () => next(),
      refuse(error) {
        if (!(error instanceof SignatureError)) throw error;
        answerProblem(req, res, callbackProblem(error, verifier));
      },
    }).catch((error) => next(toError(error)));
  };
}
