import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { SignatureError } from '@countersign/shared';
import type { Identity } from '../../verify/identity.ts';
import type { Verifier } from '../../verify/verifier.ts';
import type { VerifierOptions } from '../../verify/verifier-options.ts';
import {
  type AdapterOptions,
  type AdapterSettings,
  adapterSchema,
  checkHandler,
  clientAddressSchema,
  parseVerifierOrOptions,
} from '../adapter-options.ts';
import { ConnectionHold } from '../connection-hold.ts';
import { type ProblemAnswer, problemOf } from '../problem-details.ts';
import { answerFailure, answerProblem, answerRefusal, onceAnswered } from './answer.ts';
import { heldBody, streamedBody, streamOf } from './body.ts';
import { callListener } from './call-listener.ts';
import { handOn, type Outcome } from './hand-on.ts';
import { headersOf, showHost } from './headers.ts';
import { signedRequests } from './verified-requests.ts';

/** Options of `withSignature()` beside those of the verifier. */
export interface NodeOptions<Req extends IncomingMessage | Http2ServerRequest = IncomingMessage>
  extends AdapterOptions {
  /**
   * Returns the network address of a caller. Failures are limited by address. If not given, it is
   * the address of the connection. Behind a proxy, all connections come from the proxy. The
   * function must then return the address that the proxy reports, from a field that only the proxy
   * can write.
   */
  readonly clientAddress?: ((req: Req) => string | undefined) | undefined;
}

const nodeSchema = adapterSchema.extend({
  clientAddress: clientAddressSchema<[req: IncomingMessage]>(),
});

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
  const { verifier, settings } = parseVerifierOrOptions(
    nodeSchema,
    given as Verifier | (VerifierOptions & NodeOptions),
    options as NodeOptions,
  );
  const clientAddressOf = settings.clientAddress ?? ((req) => req.socket.remoteAddress);
  const problem = (error: SignatureError): ProblemAnswer =>
    problemOf(error, verifier.audience, verifier.challenge);
  checkHandler('listener', listener);
  return function signedRequestListener(req, res) {
    // HTTP/2 has the same names for everything that is used here.
    const [incoming, answer] = [req as IncomingMessage, res as ServerResponse];
    authenticate(verifier, settings, incoming, answer, clientAddressOf, {
      accept: (identity) => callListener(incoming, answer, () => listener(req, res, identity)),
      refuse: (error) => answerRefusal(incoming, answer, error, problem),
    }).catch((error) => answerFailure(incoming, answer, error, 'COUNTERSIGN_VERIFIER_FAILED'));
  };
}

/**
 * Verifies a request of `node:http`.
 *
 * @param clientAddressOf returns the network address of the caller
 * @param outcome what to do next. When `accept` is called, the epoch is already in the answer's
 * headers
 */
export function authenticate(
  verifier: Verifier,
  settings: AdapterSettings,
  req: IncomingMessage,
  res: ServerResponse,
  clientAddressOf: (req: IncomingMessage) => string | undefined,
  outcome: Outcome<Identity>,
): Promise<void> {
  const hold = new ConnectionHold(req);
  const options = { limit: settings.limit, middleware: 'requireSignature()', hold };
  const isStreamed = settings.body === 'stream';
  const body = isStreamed
    ? streamedBody(req, options, (error) => failStream(req, res, error, verifier))
    : heldBody(req, options);
  const verify = (): Promise<Identity> =>
    verifier.verify({
      method: req.method as string,
      // A mounted router has cut its path off `url`. The signature covers the target on the request
      // line. CONNECT over HTTP/2 has none, and is refused: `*` is no path.
      url: (req as { originalUrl?: string }).originalUrl ?? req.url ?? '*',
      headers: headersOf(req),
      parsedHeaders: req.headers,
      body,
      clientAddress: clientAddressOf(req),
    });
  return handOn(req, res, hold, verify, {
    accept(identity) {
      if (isStreamed) onceAnswered(req, res, () => discardUntouched(req));
      showHost(req, identity.host);
      if (identity.epoch !== undefined && !res.headersSent)
        res.setHeader('countersign-epoch', identity.epoch);
      signedRequests.keep(req, verifier, identity);
      outcome.accept(identity);
    },
    refuse: outcome.refuse,
  });
}

/**
 * Fails a streamed body that is not the signed one. Otherwise its reader would take the bytes so
 * far for the whole body.
 */
function failStream(
  req: IncomingMessage,
  res: ServerResponse,
  error: SignatureError,
  { audience, challenge }: Verifier,
): void {
  const destroy = (): void => {
    // An error without a listener would end the process. HTTP/2 emits this error. Node emits one of
    // its own if an adapter for cloud functions uses a socket that is no stream.
    req.on('error', () => undefined);
    req.destroy(error);
  };
  if (res.headersSent && !res.writableEnded) {
    destroy();
    res.destroy(error);
    return;
  }
  if (!res.headersSent) {
    // The application set these fields for its own answer.
    for (const name of ['transfer-encoding', 'content-encoding']) res.removeHeader(name);
    if (streamOf(req) === undefined) res.setHeader('connection', 'close');
  }
  // Node tells the application that the request is aborted. If the application answers then, behind
  // our answer, the response emits an error. Without a listener it would end the process.
  res.on('error', () => undefined);
  answerProblem(req, res, problemOf(error, audience, challenge));
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
