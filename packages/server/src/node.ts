import { SignatureError } from '@countersign/shared';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { type AdapterOptions, type AdapterPolicy, adapterSchema, parseVerifierOrOptions } from './adapter-options.ts';
import type { Identity } from './identity.ts';
import { nodeBody } from './node-body.ts';
import { problemOf } from './problem-details.ts';
import type { Verifier } from './verifier.ts';
import type { VerifierOptions } from './verifier-options.ts';

export { keepRawBody } from './node-body.ts';

/** Answers a request whose signer is known. */
export type SignedRequestListener = (req: IncomingMessage, res: ServerResponse, identity: Identity) => void | Promise<void>;

/**
 * Wraps a listener for `node:http`, so that it is called for signed requests only. The others are answered here.
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
export function withSignature(
  listener: SignedRequestListener,
  given: Verifier | (VerifierOptions & AdapterOptions),
  options: AdapterOptions = {},
): RequestListener {
  const { verifier, policy } = parseVerifierOrOptions(adapterSchema, given, options);
  return function signedRequestListener(req, res) {
    void authenticate(verifier, policy, req, res).then(
      (identity) => listener(req, res, identity),
      (error) => (error instanceof SignatureError ? answerRefusal(req, res, error, verifier.audience) : res.destroy(error)),
    );
  };
}

/**
 * Verifies a request of `node:http`.
 *
 * @returns who signed it; the epoch stands in the answer's headers already
 * @throws SignatureError where it is refused
 */
export async function authenticate(verifier: Verifier, policy: AdapterPolicy, req: IncomingMessage, res: ServerResponse): Promise<Identity> {
  const abort = (error: SignatureError): void => {
    answerRefusal(req, res, error, verifier.audience);
    // Whoever reads the body must not take what came so far for all of it.
    if (res.writableFinished) req.destroy(error);
    else res.once('close', () => req.destroy(error));
  };
  const identity = await verifier.verify({
    method: req.method ?? '',
    // A mounted router has cut its path off `url`; signed is what stood on the request line.
    url: (req as { originalUrl?: string }).originalUrl ?? req.url ?? '',
    headers: req.rawHeaders,
    body: nodeBody(req, policy, abort),
  });
  if (identity.epoch !== undefined) res.setHeader('countersign-epoch', identity.epoch);
  return identity;
}

/** Answers a refused request. What is left of its body is not read. */
export function answerRefusal(req: IncomingMessage, res: ServerResponse, error: SignatureError, audience: string): void {
  if (res.headersSent) return void res.destroy(error);
  const { status, headers, body } = problemOf(error, audience);
  // Node would read the rest of the body to keep the connection: a stranger's gigabyte is not worth that.
  if (!req.complete && req.httpVersionMajor < 2) res.setHeader('connection', 'close');
  res.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
  res.end(body);
}
