import type { IncomingMessage, ServerResponse } from 'node:http';
import { constants } from 'node:http2';
import { SignatureError } from '@countersign/shared';
import type { ProblemAnswer } from '../../problem-details.ts';
import { describeThrown } from '../../thrown.ts';
import { streamOf } from './body.ts';

/** Answers a refused request. What is left of its body is not read, beyond a little. */
export function answerProblem(
  req: IncomingMessage,
  res: ServerResponse,
  { status, headers, body }: ProblemAnswer,
): void {
  // The application has answered while the request was being verified, or its client is gone.
  if (res.headersSent || req.socket?.destroyed) return;
  if (!hasArrived(req)) stopReading(req, res);
  // One that an application has set may be such that no answer can be written with it. HTTP/2 has none.
  if (streamOf(req) === undefined) res.statusMessage = '';
  res.writeHead(status, headers);
  res.end(body);
}

/**
 * Answers if a listener cannot be called. What is no refusal has no error handler to be passed to.
 *
 * @param problem makes the answer of a refusal
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
 * Answers 500 if something of ours or of the application failed and there is no framework to tell. If the answer has begun it is broken
 * off, so that its client does not take it for whole.
 *
 * @param code of the process warning that says what failed
 */
export function answerFailure(
  req: IncomingMessage,
  res: ServerResponse,
  failure: unknown,
  code: string,
): void {
  process.emitWarning(describeThrown(failure), { code });
  if (res.headersSent) {
    if (!res.writableEnded) breakOff(req, res);
    return;
  }
  try {
    // What was meant for another answer: a length, a cookie, leave to keep it.
    for (const name of res.getHeaderNames()) res.removeHeader(name);
    answerProblem(req, res, { status: 500, headers: { 'content-length': '0' }, body: '' });
  } catch (error) {
    // A request or an answer that is none of Node's. Nothing of it may end the process.
    process.emitWarning(describeThrown(error), { code });
  }
}

/** Ends an answer so that its client sees that it is not whole. */
function breakOff(req: IncomingMessage, res: ServerResponse): void {
  const stream = streamOf(req);
  if (stream === undefined) res.destroy();
  else stream.close(constants.NGHTTP2_INTERNAL_ERROR);
}

/** Acts when the answer is written. */
export function onceAnswered(req: IncomingMessage, res: ServerResponse, act: () => void): void {
  // In HTTP/2 the response is finished only once the request is, too.
  (streamOf(req) ?? res).once('finish', act);
}

/** Connections that end with the answer to a refused request. */
const closing = new WeakSet<object>();

/**
 * Whether a request came on a connection that was to end with the answer to an earlier one: its client would never hear what it did
 * (RFC 9112 section 9.6), so it is dropped.
 */
export function isTooLate(req: IncomingMessage): boolean {
  return streamOf(req) === undefined && closing.has(req.socket);
}

/** Whether all of a request has arrived, as the parser of the connection says. */
function hasArrived(req: IncomingMessage): boolean {
  const stream = streamOf(req);
  // There `complete` tells something else: that all was read.
  return stream === undefined ? req.complete : stream.readableEnded || stream.endAfterHeaders;
}

/** Bytes that are still taken from a client which listens only after it has sent: an ordinary body. */
const MOST_DISCARDED = 1_048_576;
const LINGER_MILLISECONDS = 2_000;

/**
 * Sees to it that a request is not read to its end, and that its client gets the answer nevertheless. Closed with bytes unread, a
 * connection is reset, and the reset overtakes the answer. So it is closed on this side only, and destroyed once the client has
 * sent all, or a moment later.
 */
function stopReading(req: IncomingMessage, res: ServerResponse): void {
  const stream = streamOf(req);
  if (stream !== undefined) {
    onceAnswered(req, res, () => {
      // Not at once, which could overtake the answer. It closes when what had arrived is taken.
      setImmediate(() => stream.close());
      req.resume();
    });
    return;
  }
  res.setHeader('connection', 'close');
  let left = MOST_DISCARDED;
  req.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (!(left > 0)) req.pause();
  });
  // It is paused if something above had begun to read it.
  req.resume();
  const { socket } = req;
  closing.add(socket);
  const destroySoon = socket.destroySoon;
  // Node calls this when the answer is written, and would close both sides.
  socket.destroySoon = () => {
    if (req.readableEnded) return destroySoon.call(socket);
    socket.end();
    const timer = setTimeout(() => socket.destroy(), LINGER_MILLISECONDS);
    socket.once('close', () => clearTimeout(timer));
    req.once('end', () => destroySoon.call(socket));
  };
}
