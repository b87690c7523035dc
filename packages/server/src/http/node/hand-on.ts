import type { IncomingMessage, ServerResponse } from 'node:http';
import { closedEarly, takenAway } from '../body-errors.ts';
import { type ConnectionHold, whenParsed } from '../connection-hold.ts';
import { isTooLate } from './answer.ts';
import { isTaken, streamOf } from './body.ts';

/**
 * What follows the verification of a request. One of the two functions is called. Neither is called
 * if the request is gone and cannot be answered.
 */
export interface Outcome<T> {
  accept(verified: T): void;
  refuse(error: unknown): void;
}

/**
 * Verifies a request, and hands it on if it is still there. A request that went away during a wait
 * has lost its body. So no code may wait between this function and the application.
 */
export async function handOn<T>(
  req: IncomingMessage,
  res: ServerResponse,
  hold: ConnectionHold,
  verify: () => Promise<T>,
  outcome: Outcome<T>,
): Promise<void> {
  if (isTooLate(req)) return;
  // Code that calls listeners without a server gives them a socket that was never readable.
  const wasReadable = req.socket?.readable === true;
  const wasRead = req.readableDidRead && req.readableLength === 0;
  // Data already flowed to a listener above. It gets the body together with the listeners below, as
  // if verifying took no time.
  const wasFlowing = req.readableFlowing === true;
  if (wasFlowing) req.pause();
  await whenParsed(req);
  hold.begin();
  let verified: T;
  try {
    verified = await verify();
  } catch (error) {
    hold.end();
    return outcome.refuse(error);
  }
  if (isGone(req, wasReadable)) {
    hold.end();
    return dismiss(req, res, outcome);
  }
  if (!wasRead && isTaken(req)) {
    hold.end();
    return outcome.refuse(takenAway());
  }
  hold.endWhenRead(req, res);
  // Some adapters for cloud functions mark a request as read when they make it.
  if (!req.readable && !req.readableEnded && !req.destroyed) req.readable = true;
  if (wasFlowing) req.resume();
  outcome.accept(verified);
}

/**
 * Whether a request can no longer be handled: it was destroyed together with its body, or its
 * connection takes no answer. Parsers of Express 5 also skip a request whose socket is no longer
 * readable, and the handler would run without the body.
 */
function isGone(req: IncomingMessage, wasReadable: boolean): boolean {
  const stream = streamOf(req);
  if (stream !== undefined) return stream.destroyed || stream.closed;
  // If a parser above has read a request to its end, nothing is lost when it is destroyed.
  if (req.destroyed && !req.readableEnded) return true;
  return req.socket?.destroyed === true || (wasReadable && !req.socket.readable);
}

/**
 * Ends a request that is gone. A client that closed only its own side may still listen, so it is
 * answered.
 */
function dismiss<T>(req: IncomingMessage, res: ServerResponse, outcome: Outcome<T>): void {
  if (streamOf(req) !== undefined) return;
  if (req.destroyed || !req.socket.writable) res.destroy();
  else outcome.refuse(closedEarly());
}
