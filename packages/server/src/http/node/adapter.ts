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

/** Options of `withSignature()` beside those of the verifier. */
export interface NodeOptions<Req extends IncomingMessage | Http2ServerRequest = IncomingMessage>
  extends AdapterOptions {
  /**
   * Returns the network address of a caller, by which failures are limited. If not given, it is the
   * address of the connection. Behind a proxy all connections come from the proxy. There the
   * function must return the address that the proxy reports, from a place that only the proxy can
   * write.
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
 * Wraps a listener for `node:http`, or for the compatibility API of `node:http2`, so that it is
 * called for signed requests only. Countersign answers all others itself. If the listener throws or
 * rejects, or the verifier itself fails, the answer is 500 and a process warning says why.
 *
 * @param listener called with the signer's identity, once the whole signed body is in `req`. It can
 * read `req` as if nothing had read it. With `body: 'stream'` it may be called before the body has
 * arrived
 * @param given a verifier, or the options of one
 * @param options further options, if `given` is a verifier
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
    // HTTP/2 has the same names for everything that is used here.
    const [incoming, answer] = [req as IncomingMessage, res as ServerResponse];
    authenticate(verifier, policy, incoming, answer, sourceOf, {
      accept: (identity) => callListener(incoming, answer, () => listener(req, res, identity)),
      refuse: (error) => answerRefusal(incoming, answer, error, problem),
    }).catch((error) => answerFailure(incoming, answer, error, 'COUNTERSIGN_VERIFIER_FAILED'));
  };
}

/**
 * Continues with a request. One of the two is called, or neither if the request is gone and cannot
 * be answered.
 */
export interface Outcome<T> {
  accept(verified: T): void;
  refuse(error: unknown): void;
}

/**
 * Verifies a request of `node:http`.
 *
 * @param sourceOf returns the network address of the caller
 * @param outcome what to do next. When `accept` is called, the epoch is already in the answer's
 * headers
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
      // A mounted router has cut its path off `url`. The signature covers the target on the request
      // line.
      url: (req as { originalUrl?: string }).originalUrl ?? (req.url as string),
      headers: headersOf(req),
      parsedHeaders: req.headers,
      body,
      source: sourceOf(req),
    });
  return handOn(req, res, hold, verify, {
    accept(identity) {
      if (isStreamed) onceAnswered(req, res, () => discardUntouched(req));
      showHost(req, identity.host);
      if (identity.epoch !== undefined && !res.headersSent)
        res.setHeader('countersign-epoch', identity.epoch);
      outcome.accept(identity);
    },
    refuse: outcome.refuse,
  });
}

/**
 * Verifies a request, and hands it on if it is still there. A request that went away during a wait
 * has lost its body. So after the last wait, only this function may stand between a verified
 * request and the application.
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
  // A listener above gets the body together with the listeners below, as if verifying took no time.
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
 * With `publicOrigin`, a proxy has changed the host on the wire, or an attacker has. The application reads the one that was verified:
 * frameworks route and build links by it.
 */
function showHost({ headers, httpVersionMajor }: IncomingMessage, host: string | undefined): void {
  const name = httpVersionMajor >= 2 ? ':authority' : 'host';
  if (host !== undefined && headers[name] !== host) headers[name] = host;
  if (name !== 'host' && headers.host !== undefined) headers.host = host;
}

/**
 * The header fields as they came over the wire. Adapters for cloud functions have no raw fields:
 * the platform has joined fields of the same name, and the application sees the same joined fields.
 * Such adapters write the length as a number, which Node accepts in place of text.
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

/**
 * Calls a listener of the application. If it throws or rejects, the process must not end, and the
 * error must not get lost.
 */
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

/**
 * Fails a streamed body that is not the signed one. Its reader must not take the bytes so far for
 * the whole body.
 */
function failStream(
  req: IncomingMessage,
  res: ServerResponse,
  error: SignatureError,
  audience: string,
): void {
  const destroy = (): void => {
    // An error without a listener would end the process: this one in HTTP/2, or Node's own one if the
    // socket of an adapter for cloud functions is no stream.
    req.on('error', () => undefined);
    req.destroy(error);
  };
  if (res.headersSent && !res.writableEnded) {
    destroy();
    res.destroy(error);
    return;
  }
  if (!res.headersSent) {
    // The application set these for its own answer.
    for (const name of ['transfer-encoding', 'content-encoding']) res.removeHeader(name);
    if (streamOf(req) === undefined) res.setHeader('connection', 'close');
  }
  // Node tells the application that the request is aborted. If it answers then, behind our answer, that
  // is an error of the response, and without a listener it would end the process.
  res.on('error', () => undefined);
  answerProblem(req, res, problemOf(error, audience));
  // The answer goes first, because destroying the request destroys its connection.
  if (res.writableFinished || res.destroyed) destroy();
  else res.once('close', destroy);
}

/**
 * Discards a body that the application did not read. Node does that by itself only if nothing has
 * read from it, and hashing counts as reading. An unread body would block the connection.
 */
function discardUntouched(req: IncomingMessage): void {
  if (req.readableFlowing === null) req.resume();
}
