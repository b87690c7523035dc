import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { SignatureError } from '@countersign/shared';
import {
  type AdapterOptions,
  type AdapterPolicy,
  adapterSchema,
  checkHandler,
  parseVerifierOrOptions,
  sourceSchema,
} from './adapter-options.ts';
import type { Identity } from './identity.ts';
import { answerProblem, isTooLate, onceAnswered, refuse } from './node-answer.ts';
import { nodeBody, streamOf } from './node-body.ts';
import { problemOf } from './problem-details.ts';
import type { Verifier } from './verifier.ts';
import type { VerifierOptions } from './verifier-options.ts';

export { withCallback } from './callbacks/node-callbacks.ts';
export { callbackOf } from './callbacks/received-callbacks.ts';
export { keepRawBody } from './node-body.ts';

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
 * only. The others are answered here; where verifying fails, with 500 and a process warning.
 *
 * @param listener called with the signer's identity; `req` can be read as if nobody had
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
  checkHandler('listener', listener);
  return function signedRequestListener(req, res) {
    // What is used of both has the same names in HTTP/2.
    const [incoming, answer] = [req as IncomingMessage, res as ServerResponse];
    if (isTooLate(incoming)) return;
    void authenticate(verifier, policy, incoming, answer, sourceOf).then(
      (identity) => listener(req, res, identity),
      (error) => refuse(incoming, answer, error, (it) => problemOf(it, verifier.audience)),
    );
  };
}

/**
 * Verifies a request of `node:http`.
 *
 * @param sourceOf tells the network address of the caller
 * @returns who signed it; the epoch stands in the answer's headers already
 * @throws SignatureError where it is refused
 */
export async function authenticate(
  verifier: Verifier,
  policy: AdapterPolicy,
  req: IncomingMessage,
  res: ServerResponse,
  sourceOf: (req: IncomingMessage) => string | undefined,
): Promise<Identity> {
  const identity = await verifier.verify({
    method: req.method as string,
    // A mounted router has cut its path off `url`; signed is what stood on the request line.
    url: (req as { originalUrl?: string }).originalUrl ?? (req.url as string),
    headers: req.rawHeaders,
    body: nodeBody(req, policy, (error) => breakOff(req, res, error, verifier.audience)),
    source: sourceOf(req),
  });
  if (policy.body === 'stream') onceAnswered(req, res, () => discardUntouched(req));
  if (identity.epoch !== undefined && !res.headersSent)
    res.setHeader('countersign-epoch', identity.epoch);
  return identity;
}

/** Answers a refused request. What is left of its body is not read, beyond a little. */
export function answerRefusal(
  req: IncomingMessage,
  res: ServerResponse,
  error: SignatureError,
  audience: string,
): void {
  answerProblem(req, res, problemOf(error, audience));
}

/** A streamed body is not the signed one: whoever reads it must not take what came so far for all of it. */
function breakOff(
  req: IncomingMessage,
  res: ServerResponse,
  error: SignatureError,
  audience: string,
): void {
  // In HTTP/2 an error that nobody listens for would end the process.
  const destroy = (): void =>
    void req.destroy(req.listenerCount('error') === 0 ? undefined : error);
  if (res.headersSent && !res.writableEnded) {
    destroy();
    res.destroy(error);
    return;
  }
  if (!res.headersSent && streamOf(req) === undefined) res.setHeader('connection', 'close');
  answerRefusal(req, res, error, audience);
  // The answer goes first: with the request its connection is destroyed.
  if (res.writableFinished || res.destroyed) destroy();
  else res.once('close', destroy);
}

/** Node discards a body that nobody began to read, but takes hashing for reading: unread, it would block the connection. */
function discardUntouched(req: IncomingMessage): void {
  if (req.readableFlowing === null) req.resume();
}
