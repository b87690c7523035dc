import { kindOf, SignatureError } from '@countersign/shared';
import type { RequestHandler } from 'express';
import { toError } from '../../lib/thrown.ts';
import type { CallbackIdentity } from '../receive/callback-identity.ts';
import { callbackOf } from '../receive/received-callbacks.ts';
import type { Once } from './once.ts';

/**
 * Handles each callback once, and answers its sender with `{ outcome }`, for Express 5 and 4. Mount
 * it below `requireCallback()`.
 *
 * If the handler throws or rejects, the error goes to the error handling of Express. (Express 4 by
 * itself ignores the rejection of an `async` handler, and Node then ends the process.) The error's
 * answer is no success, so the sender tries again. If the store failed or is full, the error has
 * the `status` that Express answers with, and `Retry-After` is set.
 *
 * @param once the function that `createOnce()` returned
 * @param handler called with the callback, and a signal that is aborted if another run has taken
 * over
 * @throws TypeError if one of the two is not a function
 *
 * @example
 * ```ts
 * import { createOnce, MemoryOnceStore } from '@countersign/server/callbacks';
 * import { handleOnce, requireCallback } from '@countersign/server/express';
 * import express from 'express';
 *
 * const once = createOnce({ store: new MemoryOnceStore() });
 * const app = express();
 * app.post(
 *   '/callbacks',
 *   requireCallback({ secrets: ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'] }),
 *   handleOnce(once, (callback) => console.log('Handled once:', callback.id)),
 * );
 * ```
 * @see docs/callbacks.md
 */
export function handleOnce(
  once: Once,
  handler: (callback: CallbackIdentity, signal: AbortSignal) => unknown,
): RequestHandler {
  checkFunction('the function that createOnce() returned, as the first argument', once);
  checkFunction('a function that handles a callback, as the second argument', handler);
  return function onceHandler(req, res, next) {
    once(callbackOf(req), handler)
      .then(({ outcome, status, headers }) => res.status(status).set(headers).json({ outcome }))
      .catch((error) => {
        // Express answers with the error's status, but knows no such field.
        if (error instanceof SignatureError && error.retryAfter !== undefined)
          res.set('retry-after', String(Math.ceil(error.retryAfter)));
        next(toError(error));
      });
  };
}

function checkFunction(what: string, given: unknown): void {
  if (typeof given !== 'function')
    throw new TypeError(`Cannot build handler: expected ${what}, got ${kindOf(given)}`);
}
