import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { HeadersInput, SignatureError } from '@countersign/shared';
import {
  type AdapterOptions,
  type AdapterPolicy,
  adapterSchema,
  checkHandler,
  parseVerifierOrOptions,
  sourceSchema,
} from '../../adapter-options.ts';
import type { Identity } from '../../identity.ts';
import { type ProblemAnswer, problemOf } from '../../problem-details.ts';
import type { Verifier } from '../../verifier.ts';
import type { VerifierOptions } from '../../verifier-options.ts';
import { closedEarly, takenAway } from '../body-errors.ts';
import { ConnectionHold, whenParsed } from '../connection-hold.ts';
import { answerFailure, answerProblem, answerRefusal, isTooLate, onceAnswered } from './answer.ts';
import { heldBody, isTaken, streamedBody, streamOf } from './body.ts';

/** What `withSignature()` does around a verifier. */
export interface NodeOptions<Req extends IncomingMessage | Http2ServerRequest = IncomingMessage>
  extends AdapterOptions {
  /**
   * Tells the network address of a caller, which failures are limited by: that of the connection if not given. Behind a proxy all
   * connections come from the proxy; there it must be what the proxy says, and only the proxy can.
   */
  readonly source?: ((req: Req) => string | undefined) | undefined;
}

const nodeSchema = adapterSchema.extend({ source: sourceSchema<[req: IncomingMessage]>() });

/** Answers a request whose signer is known. */
export type SignedRequestListener<
  Req extends IncomingMessage | Http2ServerRequest = IncomingMessage,
  Res extends ServerResponse | Http2ServerResponse = ServerResponse,
> = (req: Req, res: Res, identity: Identity) => void | Promise<void>;

/**
 * Wraps a listener for `node:http`, or for the compatibility API of `node:http2`, so that it is called for signed requests
 * only. The others are answered here. If verifying fails, or the listener throws or rejects, the answer is 500 and a process warning
 * says why.
 *
 * @param listener called with the signer's identity; `req` can be read as if nothing had read it. It is called only while the whole
 * body that was signed is in `req`
 * @param given a verifier, or the options of one
 * @param options what to do around it
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
 * import { withSignature } from '@countersign/server/node';
 * import { createServer } from 'node:http';
 *
 * const keys = new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]);
 * const server = createServer(
 *   withSignature((req, res, identity) => void res.end(`Hello ${identity.subject}`), {
 *     audience: 'video-api',
 *     keys,
 *     nonces: new MemoryNonceStore(),
 *   }),
 * );
 * ```
 */
export function withSignature<
  Req extends IncomingMessage | Http2ServerRequest = IncomingMessage,
  Res extends ServerResponse | Http2ServerResponse = ServerResponse,
>(
  listener: SignedRequestListener<Req, Res>,
  given: Verifier | (VerifierOptions & NodeOptions<Req>),
  options: NodeOptions<Req> = {},
): (req: Req, res: Res) => void {
  const { verifier, policy } = parseVerifierOrOptions(
    nodeSchema,
    given as Verifier | (VerifierOptions & NodeOptions),
    options as NodeOptions,
  );
  const sourceOf = policy.source ?? ((req) => req.socket.remoteAddress);
  const problem = (error: SignatureError): ProblemAnswer => problemOf(error, verifier.audience);
  checkHandler('listener', listener);
  return function signedRequestListener(req, res) {
    // What is used of both has the same names in HTTP/2.
    const [incoming, answer] = [req as IncomingMessage, res as ServerResponse];
    authenticate(verifier, policy, incoming, answer, sourceOf, {
      accept: (identity) => callListener(incoming, answer, () => listener(req, res, identity)),
      refuse: (error) => answerRefusal(incoming, answer, error, problem),
    }).catch((error) => answerFailure(incoming, answer, error, 'COUNTERSIGN_VERIFIER_FAILED'));
  };
}

/** What becomes of a request: one of the two is called, or neither if the request is gone and nothing can be answered. */
export interface Outcome<T> {
  accept(verified: T): void;
  refuse(error: unknown): void;
}

/**
 * Verifies a request of `node:http`.
 *
 * @param sourceOf tells the network address of the caller
 * @param outcome if it is accepted, the epoch stands in the answer's headers already
 */
export function authenticate(
  verifier: Verifier,
  policy: AdapterPolicy,
  req: IncomingMessage,
  res: ServerResponse,
  sourceOf: (req: IncomingMessage) => string | undefined,
  outcome: Outcome<Identity>,
): Promise<void> {
  const hold = new ConnectionHold(req);
  const options = { limit: policy.limit, middleware: 'requireSignature()', hold };
  const isStreamed = policy.body === 'stream';
  const body = isStreamed
    ? streamedBody(req, options, (error) => failStream(req, res, error, verifier.audience))
    : heldBody(req, options);
  const verify = (): Promise<Identity> =>
    verifier.verify({
      method: req.method as string,
      // A mounted router has cut its path off `url`; signed is what stood on the request line.
      url: (req as { originalUrl?: string }).originalUrl ?? (req.url as string),
      headers: headersOf(req),
      parsedHeaders: req.headers,
      body,
      source: sourceOf(req),
    });
  return handOn(req, res, hold, verify, {
    accept(identity) {
      if (isStreamed) onceAnswered(req, res, () => discardUntouched(req));
      if (identity.epoch !== undefined && !res.headersSent)
        res.setHeader('countersign-epoch', identity.epoch);
      outcome.accept(identity);
    },
    refuse: outcome.refuse,
  });
}

/**
 * Verifies, and hands a request on that is still there. After the last wait, nothing but this may stand between a request that was
 * verified and the application: a request that has gone meanwhile has lost its body.
 */
export async function handOn<T>(
  req: IncomingMessage,
  res: ServerResponse,
  hold: ConnectionHold,
  verify: () => Promise<T>,
  outcome: Outcome<T>,
): Promise<void> {
  if (isTooLate(req)) return;
  // What calls listeners without a server gives them a socket that was never readable.
  const wasReadable = req.socket?.readable === true;
  const wasRead = req.readableDidRead && req.readableLength === 0;
  // Something above listens for the body. It gets it together with what listens below, as if verifying took no time.
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
  // Some adapters for functions of a cloud declare a request as read as soon as it is made.
  if (!req.readable && !req.readableEnded && !req.destroyed) req.readable = true;
  if (wasFlowing) req.resume();
  outcome.accept(verified);
}

/**
 * The header fields as they came over the wire. Adapters for functions of a cloud have no raw ones: the platform has joined fields of one
 * name, and the application sees them as we do. They write the length as a number, which Node takes for its text.
 */
export function headersOf({ rawHeaders, headers }: IncomingMessage): HeadersInput {
  const raw = rawHeaders?.length > 0 ? rawHeaders : Object.entries(headers).flatMap(pairsOf);
  return raw.some(isNumber) ? raw.map(String) : raw;
}

function pairsOf([name, value]: [string, string | readonly string[] | undefined]): string[] {
  const values = typeof value === 'object' ? value : [value ?? ''];
  return values.flatMap((one) => [name, one]);
}

function isNumber(part: unknown): boolean {
  return typeof part === 'number';
}

/** Calls a listener of the application. Whatever it throws, and whenever, must end neither the process nor in silence. */
export function callListener(
  req: IncomingMessage,
  res: ServerResponse,
  listener: () => unknown,
): void {
  const fail = (error: unknown): void =>
    answerFailure(req, res, error, 'COUNTERSIGN_LISTENER_FAILED');
  try {
    const running = listener();
    if (typeof running === 'object' && running !== null) Promise.resolve(running).catch(fail);
  } catch (error) {
    fail(error);
  }
}

/**
 * Whether a request can no longer be handled: it was destroyed, and its body with it, or its connection takes no answer. Parsers of
 * Express 5 also skip a request whose socket is not readable any more: the handler would run without its body.
 */
function isGone(req: IncomingMessage, wasReadable: boolean): boolean {
  const stream = streamOf(req);
  if (stream !== undefined) return stream.destroyed || stream.closed;
  // A request that was read to its end, by a parser above, is destroyed with nothing lost.
  if (req.destroyed && !req.readableEnded) return true;
  return req.socket?.destroyed === true || (wasReadable && !req.socket.readable);
}

/** Its client may still listen, if it has closed its own side only. */
function dismiss<T>(req: IncomingMessage, res: ServerResponse, outcome: Outcome<T>): void {
  if (streamOf(req) !== undefined) return;
  if (req.destroyed || !req.socket.writable) res.destroy();
  else outcome.refuse(closedEarly());
}

/** A streamed body is not the signed one: whatever reads it must not take what came so far for all of it. */
function failStream(
  req: IncomingMessage,
  res: ServerResponse,
  error: SignatureError,
  audience: string,
): void {
  // In HTTP/2 an error that has no listener would end the process.
  const destroy = (): void =>
    void req.destroy(req.listenerCount('error') === 0 ? undefined : error);
  if (res.headersSent && !res.writableEnded) {
    destroy();
    res.destroy(error);
    return;
  }
  if (!res.headersSent) {
    // How the application has meant to frame its own answer.
    for (const name of ['transfer-encoding', 'content-encoding']) res.removeHeader(name);
    if (streamOf(req) === undefined) res.setHeader('connection', 'close');
  }
  answerProblem(req, res, problemOf(error, audience));
  // The answer goes first: with the request its connection is destroyed.
  if (res.writableFinished || res.destroyed) destroy();
  else res.once('close', destroy);
}

/** Node discards a body that nothing began to read, but takes hashing for reading: unread, it would block the connection. */
function discardUntouched(req: IncomingMessage): void {
  if (req.readableFlowing === null) req.resume();
}
