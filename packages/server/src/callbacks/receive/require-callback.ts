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
 * Lets callbacks (webhooks) through that their sender has signed and answers all others, for
 * Express 5 and 4. Mount it above body parsers: they parse afterwards as if it were not there.
 * Mounted once more with the same verifier, it does nothing.
 *
 * @param given a verifier, or the options of one
 * @param options what to do around it
 * @throws TypeError or RangeError naming the option that cannot be used
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
    // Mounted twice, it would find the signature claimed by itself.
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
