import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants } from 'node:http2';
import type { Duplex, Readable } from 'node:stream';
import { SignatureError } from '@countersign/shared';
import { describeThrown } from '../../lib/thrown.ts';
import type { WarningCode } from '../../lib/warning-codes.ts';
import type { ProblemAnswer } from '../problem-details.ts';
import { streamOf } from './body.ts';

/** Answers a refused request. Only a little of the rest of its body is read. */
export function answerProblem(
  req: IncomingMessage,
  res: ServerResponse,
  { status, headers, body }: ProblemAnswer,
): void {
  // The application answered while the request was being verified, or the client is gone.
  if (res.headersSent || req.socket?.destroyed) return;
  if (!hasArrived(req)) stopReading(req, res);
  // An application may have set a status message that Node refuses to write. HTTP/2 has no message.
  if (streamOf(req) === undefined) res.statusMessage = '';
  res.writeHead(status, headers);
  res.end(body);
}

/**
 * Answers if a listener cannot be called. An error that is no refusal is answered 500, because
 * there is no error handler to pass it to.
 *
 * @param problem makes the answer to a refusal
 */
export function answerRefusal(
  req: IncomingMessage,
  res: ServerResponse,
  error: unknown,
  problem: (error: SignatureError) => ProblemAnswer,
): void {
  try {
    if (!(error instanceof SignatureError)) throw error;
    answerProblem(req, res, problem(error));
  } catch (failure) {
    answerFailure(req, res, failure, 'COUNTERSIGN_VERIFIER_FAILED');
  }
}

/**
 * Answers 500 if our code or the application's failed, and no framework handles errors. If the
 * answer has begun, it is broken off, so that the client does not take it for whole.
 *
 * @param code of the process warning that says what failed
 */
export function answerFailure(
  req: IncomingMessage,
  res: ServerResponse,
  failure: unknown,
  code: WarningCode,
): void {
  process.emitWarning(describeThrown(failure), { code });
  if (res.headersSent) {
    if (!res.writableEnded) breakOff(req, res);
    return;
  }
  try {
    // These were set for another answer: a length, a cookie, permission to cache it.
    for (const name of res.getHeaderNames()) res.removeHeader(name);
    answerProblem(req, res, { status: 500, headers: { 'content-length': '0' }, body: '' });
  } catch (error) {
    // A library made this request or answer, and it threw. The process must not end.
    process.emitWarning(describeThrown(error), { code });
  }
}

/** Breaks an answer off so that the client sees that it is not whole. */
function breakOff(req: IncomingMessage, res: ServerResponse): void {
  const stream = streamOf(req);
  if (stream === undefined) res.destroy();
  else stream.close(constants.NGHTTP2_INTERNAL_ERROR);
}

/** Calls `act` when the answer is written. */
export function onceAnswered(req: IncomingMessage, res: ServerResponse, act: () => void): void {
  // In HTTP/2 the response finishes only when the request has finished, too.
  (streamOf(req) ?? res).once('finish', act);
}

/** Connections that end with the answer to a refused request. */
const closing = new WeakSet<object>();

/**
 * Whether a request came on a connection that ends with the answer to an earlier request. Its
 * client could not get an answer (RFC 9112 section 9.6), so the request is dropped.
 */
export function isTooLate(req: IncomingMessage): boolean {
  return streamOf(req) === undefined && closing.has(req.socket);
}

/** Whether all of a request has arrived, as the parser of the connection says. */
function hasArrived(req: IncomingMessage): boolean {
  const stream = streamOf(req);
  // In HTTP/2 `complete` has another meaning: all of the body was read.
  return stream === undefined ? req.complete : stream.readableEnded || stream.endAfterHeaders;
}

/**
 * Bytes that are still read after a refusal. Some clients read the answer only after they have sent
 * an ordinary body.
 */
const MOST_DISCARDED = 1_048_576;
const LINGER_MILLISECONDS = 2_000;

/**
 * Stops reading a request, and still lets the client get the answer. If a connection is closed with
 * bytes unread, the operating system resets it, and the reset overtakes the answer. So only this
 * side is closed. The connection is destroyed when the client has sent everything, or after two
 * seconds.
 */
function stopReading(req: IncomingMessage, res: ServerResponse): void {
  const stream = streamOf(req);
  if (stream !== undefined) {
    onceAnswered(req, res, () => {
      // Closing at once could overtake the answer. The stream closes when the bytes that have
      // arrived are taken.
      setImmediate(() => stream.close());
      req.resume();
    });
    return;
  }
  res.setHeader('connection', 'close');
  discardRest(req);
  const { socket } = req;
  closing.add(socket);
  const destroySoon = socket.destroySoon;
  // Node calls this when the answer is written, and its own function would close both sides.
  socket.destroySoon = () => {
    if (req.readableEnded) return destroySoon.call(socket);
    closeOwnSide(socket);
    req.once('end', () => destroySoon.call(socket));
  };
}

/** Reads what the client still sends, up to a limit, and discards it. */
export function discardRest(rest: Readable): void {
  let left = MOST_DISCARDED;
  rest.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (!(left > 0)) rest.pause();
  });
  // It is paused if something above had begun to read it.
  rest.resume();
}

/**
 * Closes this side of a connection. The connection is destroyed after two seconds at the latest.
 */
export function closeOwnSide(socket: Duplex): void {
  socket.end();
  const timer = setTimeout(() => socket.destroy(), LINGER_MILLISECONDS);
  socket.once('close', () => clearTimeout(timer));
}
