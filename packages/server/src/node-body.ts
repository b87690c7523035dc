import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { createSha256, quote, SignatureError, sha256Hex } from '@countersign/shared';
import type { AdapterPolicy } from './adapter-options.ts';
import { HeldBody } from './held-body.ts';
import { type BodySource, checkBodyHash, tooLarge, tooSlow } from './steps/body.ts';

/** What parsers read, by the hook below. */
const rawBodies = new WeakMap<IncomingMessage, Uint8Array>();

/** Requests that were read from here, and have got everything back. */
const putBack = new WeakSet<IncomingMessage>();

/**
 * Keeps the bytes of a body that a parser is about to read: the `verify` hook of `express.json()`, `express.urlencoded()`,
 * `express.text()` and `express.raw()`, for servers that must parse before they verify. Better mount `requireSignature()`
 * first: it needs no hook, and strangers' bodies are then never parsed.
 *
 * @example
 * ```ts
 * import { keepRawBody } from '@countersign/server/express';
 * import express from 'express';
 *
 * const app = express();
 * app.use(express.json({ verify: keepRawBody }));
 * ```
 */
export function keepRawBody(req: IncomingMessage, _res: ServerResponse, bytes: Buffer): void {
  if (!Buffer.isBuffer(bytes)) {
    throw new TypeError(
      `Cannot keep ${quote(typeof bytes)} as a body: keepRawBody is a parser's hook, express.json({ verify: keepRawBody })`,
    );
  }
  // A parser hands out what it inflated; signed are the bytes that went over the wire.
  const encoding = req.headers['content-encoding'] ?? 'identity';
  if (encoding.toLowerCase() === 'identity') rawBodies.set(req, bytes);
}

/**
 * The body of a request of `node:http` or `node:http2`, read only when it is asked for, and left as it was for whoever parses
 * it next.
 *
 * What arrives is caught at `push()`, the one way into a stream: nobody can read past it, whichever way they read.
 *
 * @param onMismatch what to do where a streamed body turns out not to be the signed one
 */
export function nodeBody(
  req: IncomingMessage,
  policy: AdapterPolicy,
  onMismatch: (error: SignatureError) => void,
): BodySource {
  return {
    check(declared, seconds) {
      const known = knownBody(req, 'requireSignature()');
      if (known !== undefined) return checkBodyHash(sha256Hex(known), declared);
      if (policy.body === 'stream') return hashOnTheWay(req, declared, onMismatch);
      const digest = createSha256();
      const arriving = holdBack(req, policy.limit, seconds, digest.update);
      if (arriving instanceof Uint8Array) return checkBodyHash(digest.hex(), declared);
      return arriving.then(() => checkBodyHash(digest.hex(), declared));
    },
  };
}

/**
 * Reads the whole body of such a request, and leaves it as it was.
 *
 * @param limit the most bytes that are held
 * @param seconds for how long it is waited for
 * @param middleware what is named where a parser came first
 * @throws SignatureError `ERR_BODY_CONSUMED`, `ERR_BODY_TOO_LARGE`, `ERR_BODY_MISMATCH`, `ERR_SIGNATURE_EXPIRED`
 */
export function readNodeBody(
  req: IncomingMessage,
  limit: number,
  seconds: number,
  middleware: string,
): Promise<Uint8Array> | Uint8Array {
  const known = knownBody(req, middleware);
  if (known === undefined) return holdBack(req, limit, seconds, () => undefined);
  if (!(known.length <= limit)) throw tooLarge(limit);
  return known;
}

/** The body where there is nothing to wait for: a parser has kept it, or there is none. */
function knownBody(req: IncomingMessage, middleware: string): Uint8Array | undefined {
  const kept = rawBodies.get(req);
  if (kept !== undefined) return kept;
  if ((req.readableDidRead && !putBack.has(req)) || req.readableEncoding !== null)
    throw consumed(middleware);
  // Read to its end without a byte in it: somebody has looked for a body where there is none.
  if (req.readableEnded) return new Uint8Array(0);
  if (req.destroyed) throw cutShort(req);
  return undefined;
}

/** The stream of an HTTP/2 request. */
export function streamOf(req: IncomingMessage): Http2ServerRequest['stream'] | undefined {
  return req.httpVersionMajor >= 2 ? (req as unknown as Http2ServerRequest).stream : undefined;
}

/** Whether all of a request has arrived. */
export function isWhole(req: IncomingMessage): boolean {
  const stream = streamOf(req);
  // There `complete` tells something else: that all was read.
  if (stream !== undefined) return stream.readableEnded || stream.endAfterHeaders;
  // Whether there is a body is said by these two headers (RFC 9112 section 6.3), before Node has seen the end of it.
  const { 'transfer-encoding': coding, 'content-length': length = '0' } = req.headers;
  return req.complete || (coding === undefined && length === '0');
}

function consumed(middleware: string): SignatureError {
  return new SignatureError(
    'ERR_BODY_CONSUMED',
    `A body parser ran before the signature was verified, and kept no raw bytes: mount ${middleware} above ` +
      'express.json(), or give the parser the hook, express.json({ verify: keepRawBody }), which cannot keep compressed bodies',
  );
}

function cutShort(req: IncomingMessage): SignatureError {
  return new SignatureError(
    'ERR_BODY_MISMATCH',
    'The connection closed before the body had arrived',
    { cause: req.errored },
  );
}

/** What has arrived already, without taking it away. */
function peek(req: IncomingMessage): Buffer {
  const chunks: Buffer[] = [];
  // Reading once more than there is would end the stream for good.
  while (req.readableLength > 0) chunks.push(req.read() as Buffer);
  const bytes = Buffer.concat(chunks);
  if (bytes.length > 0) {
    req.unshift(bytes);
    putBack.add(req);
  }
  return bytes;
}

/**
 * Lets no more of a body through until all of it has arrived.
 *
 * @param see what to do with each piece as it comes
 * @returns all of it, which whoever reads next gets too
 */
function holdBack(
  req: IncomingMessage,
  limit: number,
  seconds: number,
  see: (bytes: Uint8Array) => void,
): Promise<Uint8Array> | Uint8Array {
  if (!(Number(req.headers['content-length'] ?? 0) <= limit)) throw tooLarge(limit);
  const early = peek(req);
  if (!(early.length <= limit)) throw tooLarge(limit);
  see(early);
  if (isWhole(req)) return early;

  const held = new HeldBody(limit - early.length);
  const arrived = new Promise<void>((resolve, reject) => {
    const { push } = req;
    const settle = (error?: SignatureError): void => {
      clearTimeout(timer);
      req.push = push;
      req.off('close', onClose);
      if (error === undefined) resolve();
      else reject(error);
    };
    const onClose = (): void => settle(cutShort(req));
    const timer = setTimeout(() => settle(tooSlow()), Math.max(0, seconds) * 1000);
    req.once('close', onClose);
    catchPush(req, (chunk) => {
      if (chunk === null) {
        settle();
        const { buffer, length } = held.bytes;
        if (length > 0) req.push(Buffer.from(buffer, 0, length));
      } else if (held.add(chunk)) {
        see(chunk);
        return true;
      } else {
        settle(tooLarge(limit));
      }
      return req.push(chunk);
    });
    askForMore(req);
  });
  return arrived.then(() => (early.length === 0 ? held.bytes : Buffer.concat([early, held.bytes])));
}

/** Hashes a body while it is read, by whomever. Its end is let through only where it is the signed one. */
function hashOnTheWay(
  req: IncomingMessage,
  declared: string,
  onMismatch: (error: SignatureError) => void,
): void {
  const early = peek(req);
  if (isWhole(req)) {
    checkBodyHash(sha256Hex(early), declared);
    return;
  }

  const digest = createSha256();
  digest.update(early);
  const { push } = req;
  catchPush(req, (chunk) => {
    if (chunk !== null) {
      digest.update(chunk);
      return push.call(req, chunk);
    }
    try {
      checkBodyHash(digest.hex(), declared);
    } catch (error) {
      // HTTP/2 pushes the end once more when the stream closes.
      req.push = () => false;
      onMismatch(error as SignatureError);
      return false;
    }
    req.push = push;
    return req.push(null);
  });
  askForMore(req);
}

/** Puts a function in the place of a stream's own `push()`, until that is assigned to it again. */
function catchPush(req: IncomingMessage, push: (chunk: Buffer | null) => boolean): void {
  // Not assigned: for that V8 keeps more than a kilobyte of each request until it collects all of its memory.
  Object.defineProperty(req, 'push', { value: push, writable: true, configurable: true });
}

/** Makes a stream read on, and takes nothing from it. */
function askForMore(req: IncomingMessage): void {
  req.read(0);
}
