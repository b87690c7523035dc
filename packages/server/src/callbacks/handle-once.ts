import type { RequestHandler } from 'express';
import { toError } from '../thrown.ts';
import type { CallbackIdentity } from './callback-identity.ts';
import type { Once } from './once.ts';
import { callbackOf } from './received-callbacks.ts';

/**
 * Handles each callback once, and answers its sender with `{ outcome }`, for Express 5 and 4. Mount it below `requireCallback()`.
 *
 * What the handler throws or rejects with goes to the error handling of Express. (Express 4 ignores what an `async` handler of a route
 * rejects with, and Node then ends the process.) Its answer is no success, so the sender tries again.
 *
 * @param once what `createOnce()` gives
 * @param handler called with the callback, and a signal that is aborted if another run has taken over meanwhile
 * @throws TypeError if one of the two is no function
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
  for (const given of [once, handler] as unknown[]) {
    if (typeof given !== 'function')
      throw new TypeError(
        `Cannot build handler: expected what createOnce() gives, and a function, got ${given === null ? 'null' : typeof given}`,
      );
  }
  return function onceHandler(req, res, next) {
    once(callbackOf(req), handler)
      .then(({ outcome, status, headers }) => res.status(status).set(headers).json({ outcome }))
      .catch((error) => next(toError(error)));
  };
}
