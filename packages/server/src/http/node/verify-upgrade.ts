import { type IncomingMessage, ServerResponse } from 'node:http';
import { constants } from 'node:http2';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { SignatureError } from '@countersign/shared';
import * as z from 'zod';
import { describeThrown } from '../../lib/thrown.ts';
import type { Identity } from '../../verify/identity.ts';
import type { Verifier } from '../../verify/verifier.ts';
import type { VerifierOptions } from '../../verify/verifier-options.ts';
import { checkHandler, clientAddressSchema, parseVerifierOrOptions } from '../adapter-options.ts';
import { closedEarly } from '../body-errors.ts';
import { problemOf } from '../problem-details.ts';
import { answerRefusal, closeOwnSide, discardRest, isTooLate } from './answer.ts';
import { streamOf } from './body.ts';
import { LISTENER_FAILED, watchListener } from './call-listener.ts';
import { headersOf, showHost } from './headers.ts';
import { signedRequests } from './verified-requests.ts';

/** Options of `verifyUpgrade()` beside those of the verifier. */
export interface UpgradeOptions {
  /**
   * Returns the network address of a caller. Failures are limited by address. If not given, it is
   * the address of the connection. Behind a proxy, all connections come from the proxy. The
   * function must then return the address that the proxy reports, from a field that only the proxy
   * can write.
   */
  readonly clientAddress?: ((req: IncomingMessage) => string | undefined) | undefined;
  /**
   * The most seconds that verifying may take: 5 if not given, at most 60. After that the answer is
   * 503. Node has no limit of its own for connections that are to be upgraded.
   */
  readonly timeout?: number | undefined;
}

const upgradeSchema = z.strictObject({
  clientAddress: clientAddressSchema<[req: IncomingMessage]>(),
  timeout: z.number().min(0.01).max(60).default(5),
});

/**
 * Takes over the connection of an upgrade request whose signer is known.
 *
 * @param head the first bytes that the client sent behind the request. All further bytes are still
 * in the socket
 */
export type SignedUpgradeListener = (
  req: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  identity: Identity,
) => void | Promise<void>;

/**
 * Wraps a listener for the event `upgrade` of `node:http`, such as that of a WebSocket server, so
 * that it is called for signed requests only. Countersign answers all others itself, and ends their
 * connections. Node passes upgrade requests to this event and to nothing else: no middleware sees
 * them, so `requireSignature()` does not guard them.
 *
 * A browser cannot set header fields for a WebSocket, so its request must be a presigned URL. If
 * the listener throws or rejects, the connection is destroyed and a process warning says why.
 *
 * @param listener called with the signer's identity, which `identityOf(req)` also returns
 * @param given a verifier, or the options of one
 * @param options further options, if `given` is a verifier
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
 * import { identityOf, verifyUpgrade } from '@countersign/server/node';
 * import { createServer } from 'node:http';
 * import { WebSocketServer } from 'ws';
 *
 * const keys = new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]);
 * const sockets = new WebSocketServer({ noServer: true });
 * sockets.on('connection', (socket, req) => socket.send(`Hello ${identityOf(req).subject}`));
 *
 * const server = createServer();
 * const options = { audience: 'video-api', keys, nonces: new MemoryNonceStore() };
 * const upgrade = verifyUpgrade((req, socket, head) => {
 *   sockets.handleUpgrade(req, socket, head, (it) => sockets.emit('connection', it, req));
 * }, options);
 * server.on('upgrade', upgrade);
 * ```
 * @see docs/servers.md, "WebSockets and other upgrades"
 */
export function verifyUpgrade(
  listener: SignedUpgradeListener,
  given: Verifier | (VerifierOptions & UpgradeOptions),
  options: UpgradeOptions = {},
): (req: IncomingMessage, socket: Duplex, head: Buffer) => void {
  const { verifier, settings } = parseVerifierOrOptions(upgradeSchema, given, options);
  const clientAddressOf = settings.clientAddress ?? ((req) => req.socket.remoteAddress);
  checkHandler('listener', listener);

  async function verify(req: IncomingMessage): Promise<Identity> {
    return verifier.verify({
      method: req.method as string,
      url: req.url as string,
      headers: headersOf(req),
      parsedHeaders: req.headers,
      body: { bytes: () => emptyBody(req) },
      clientAddress: clientAddressOf(req),
    });
  }

  async function handOn(req: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const identity = await within(settings.timeout, verify(req));
    if (!socket.writable) return void socket.destroy();
    // The socket has ended and holds no bytes. The listener would wait forever for an end that is
    // over.
    if (!socket.readable) throw closedEarly();
    if (head.length > 0) socket.read(head.length);
    showHost(req, identity.host);
    signedRequests.keep(req, verifier, identity);
    watchListener(
      () => listener(req, socket, head, identity),
      (error) => {
        process.emitWarning(describeThrown(error), { code: LISTENER_FAILED });
        socket.destroy();
      },
    );
  }

  function refuse(req: IncomingMessage, socket: Duplex, error: unknown): void {
    const res = new ServerResponse(req);
    res.shouldKeepAlive = false;
    try {
      res.assignSocket(socket as Socket);
    } catch {
      // An earlier request of this connection has no answer yet. The client would take ours for it.
      return void socket.destroy();
    }
    res.once('finish', () => closeOwnSide(socket));
    discardRest(socket);
    answerRefusal(req, res, error, (refusal) =>
      problemOf(refusal, verifier.audience, verifier.challenge),
    );
  }

  return function signedUpgradeListener(req, socket, head) {
    const stream = streamOf(req);
    // The event `connect` of HTTP/2 has a response in place of a socket.
    if (stream !== undefined) return stream.close(constants.NGHTTP2_HTTP_1_1_REQUIRED);
    // Node has removed its own listener. An error without a listener would end the process.
    socket.on('error', () => undefined);
    if (isTooLate(req)) return;
    // While bytes wait in the socket, Node does not report its end. So the listener sees the end
    // after these bytes, as if verifying took no time.
    if (head.length > 0) socket.unshift(head);
    handOn(req, socket, head).catch((error) => refuse(req, socket, error));
  };
}

/**
 * The empty body of an upgrade request. Node would give a body to the listener as the first bytes
 * of the new protocol. The application would use it although the server did not verify it.
 */
function emptyBody({ headers }: IncomingMessage): Uint8Array {
  const hasNone = headers['transfer-encoding'] === undefined;
  if (hasNone && Number(headers['content-length'] ?? 0) === 0) return new Uint8Array();
  throw new SignatureError(
    'ERR_BODY_MISMATCH',
    'An upgrade request with a body cannot be verified: send it without a body',
  );
}

/** Refuses if the stores do not answer in time. */
async function within<T>(seconds: number, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeOut = new Promise<never>((_, reject) => {
    const fail = (): void => reject(tooSlow(seconds));
    timer = setTimeout(fail, seconds * 1000);
  });
  return Promise.race([work, timeOut]).finally(() => clearTimeout(timer));
}

function tooSlow(seconds: number): SignatureError {
  return new SignatureError(
    'ERR_NONCE_STORE_FAILED',
    `The upgrade was not verified within ${seconds} s: the key store or the nonce store does not answer`,
    { retryAfter: 1 },
  );
}
