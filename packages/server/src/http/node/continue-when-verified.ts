import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { checkHandler } from '../adapter-options.ts';
import { streamOf } from './body.ts';

/**
 * Wraps a listener for the event `checkContinue` of `node:http` or `node:http2`. A client that
 * sends `Expect: 100-continue` waits for an invitation before it sends the body. Without this
 * listener, Node invites the body before any of your code runs. With it, the server writes `100
 * Continue` when something first reads the body. Our guards read it after they have verified
 * everything else. A refused client gets the answer alone, and sends nothing.
 *
 * @param listener the same that handles other requests, such as an Express app or the result of
 * `withSignature()`
 * @throws TypeError if it is not a function
 *
 * @example
 * ```ts
 * import { generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
 * import { continueWhenVerified, requireSignature } from '@countersign/server/express';
 * import { createServer } from 'node:http';
 * import express from 'express';
 *
 * const keys = new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]);
 * const app = express();
 * app.use(requireSignature({ audience: 'video-api', keys, nonces: new MemoryNonceStore() }));
 * const server = createServer(app);
 * server.on('checkContinue', continueWhenVerified(app));
 * ```
 * @see RFC 9110, section 10.1.1
 */
export function continueWhenVerified<
  Req extends IncomingMessage | Http2ServerRequest = IncomingMessage,
  Res extends ServerResponse | Http2ServerResponse = ServerResponse,
>(listener: (req: Req, res: Res) => unknown): (req: Req, res: Res) => void {
  checkHandler('listener', listener);
  return function continueListener(req, res) {
    // HTTP/2 has the same names for everything that is used here.
    continueWhenRead(req as IncomingMessage, res as ServerResponse);
    listener(req, res);
  };
}

/** Invites the body when something first reads it. A stream asks for bytes in no other way. */
function continueWhenRead(req: IncomingMessage, res: ServerResponse): void {
  const { _read } = req;
  const value = (size: number): void => {
    req._read = _read;
    // Nothing may come after the final answer. Node reads the rest of a request behind it.
    if (!res.headersSent && streamOf(req)?.destroyed !== true) res.writeContinue();
    _read.call(req, size);
  };
  Object.defineProperty(req, '_read', { value, writable: true, configurable: true });
}
