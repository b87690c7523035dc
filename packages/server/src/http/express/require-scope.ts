import { quote, SignatureError } from '@countersign/shared';
import type { RequestHandler } from 'express';
import { answerProblem } from '../node/answer.ts';
import { identityOf } from '../node/verified-requests.ts';
import { problemOf } from '../problem-details.ts';

/**
 * Lets a request through if its access key has all of the scopes. The others get 403. Mount it
 * below `requireSignature()`.
 *
 * @param scopes at least one
 * @throws TypeError if no scope is given, or one is not a text or is empty
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
