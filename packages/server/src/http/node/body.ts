import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { quote, SignatureError } from '@countersign/shared';
import type { BodyCheck, IncomingBody } from '../../verify/check-body.ts';
import { cutShort, tooLarge, tooSlow } from '../body-errors.ts';
import { type ConnectionHold, hasEnded } from '../connection-hold.ts';
import { HeldBody } from '../held-body.ts';

/** The bodies that are known: those that were read here and put back, and those that a parser kept by the hook below. */
const known = new WeakMap<IncomingMessage, Uint8Array>();

/** Requests whose first bytes were read here and put back, while the rest is checked on its way. */
const putBack = new WeakSet<IncomingMessage>();

const EMPTY = Buffer.alloc(0);

/**
 * Keeps the bytes of a body that a parser is about to read: the `verify` hook of `express.json()`, `express.urlencoded()`,
 * `express.text()` and `express.raw()`, for servers that must parse before they verify. Better mount `requireSignature()`
 * first: it needs no hook, and strangers' bodies are then never parsed. If a platform has parsed the body and left its bytes under
 * another name than `req.rawBody`, hand them over with `keepRawBody(req, res, bytes)`.
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
  if (encoding.toLowerCase() === 'identity') known.set(req, bytes);
}

/** The body of a request that is known because it was verified; `undefined` if it was streamed, or there was none. */
export function verifiedBody(req: IncomingMessage): Uint8Array | undefined {
  return known.get(req);
}

/** How a body is delivered. */
export interface NodeBodyOptions {
  /** The most bytes that are held. */
  readonly limit: number;
  /** What is named if a parser came first, such as `requireSignature()`. */
  readonly middleware: string;
  readonly hold: ConnectionHold;
}

/** The body of a request of `node:http` or `node:http2`, held until all of it has arrived, and then given back to the request. */
export function heldBody(req: IncomingMessage, options: NodeBodyOptions): IncomingBody {
  return { bytes: (seconds) => deliver(req, options, seconds) };
}

/**
 * The body of such a request, checked on its way to the application.
 *
 * @param onFailure what to do if it turns out not to be the signed one
 */
export function streamedBody(
  req: IncomingMessage,
  options: NodeBodyOptions,
  onFailure: (error: SignatureError) => void,
): IncomingBody {
  return {
    bytes: (seconds) => deliver(req, options, seconds),
    stream(check) {
      const bytes = knownBody(req, options.middleware) ?? takeWhole(req);
      if (bytes === undefined) {
        checkOnTheWay(req, check, onFailure);
        return options.hold.renew();
      }
      check.push(bytes);
      check.end();
    },
  };
}

function deliver(
  req: IncomingMessage,
  { limit, middleware, hold }: NodeBodyOptions,
  seconds: number,
): Uint8Array | Promise<Uint8Array> {
  // Only refuses early. How long the body really is, its stream tells.
  if (Number(req.headers['content-length']) > limit) throw tooLarge(limit);
  const bytes = knownBody(req, middleware) ?? takeWhole(req);
  if (bytes === undefined) return holdBack(req, limit, seconds, hold);
  if (!(bytes.length <= limit)) throw tooLarge(limit);
  return bytes;
}

/** The body of a request that is not to be read: it was read before, or something else has read it. */
function knownBody(req: IncomingMessage, middleware: string): Uint8Array | undefined {
  const bytes = known.get(req);
  if (bytes !== undefined) return bytes;
  // What was put back has been read since, if the stream has ended.
  const isPutBack = putBack.has(req) && !req.readableEnded;
  if ((req.readableDidRead && !isPutBack) || req.readableEncoding !== null) {
    // Where cloud functions and frameworks keep the bytes that they have parsed.
    const { rawBody } = req as { readonly rawBody?: unknown };
    if (rawBody instanceof Uint8Array) return rawBody;
    throw consumed(middleware);
  }
  // Read to its end without a byte in it: something has looked for a body, and there was none.
  if (req.readableEnded) return EMPTY;
  if (req.destroyed) throw cutShort(req.errored);
  return undefined;
}

/** Whether something else has read, meanwhile, what was verified and given back. */
export function isTaken(req: IncomingMessage): boolean {
  const bytes = known.get(req);
  return bytes !== undefined && req.readableLength !== bytes.length;
}

/** The stream of an HTTP/2 request. */
export function streamOf(req: IncomingMessage): Http2ServerRequest['stream'] | undefined {
  return req.httpVersionMajor >= 2 ? (req as unknown as Http2ServerRequest).stream : undefined;
}

function consumed(middleware: string): SignatureError {
  return new SignatureError(
    'ERR_BODY_CONSUMED',
    `Cannot verify the body: a parser ran first and kept no bytes. Mount ${middleware} above express.json(), or give the parser ` +
      'the hook express.json({ verify: keepRawBody }), which cannot keep compressed bodies. If a platform parsed it, have the ' +
      'platform keep the bytes as a Buffer in req.rawBody, or call keepRawBody(req, res, bytes) above',
  );
}

/**
 * All of a body that has arrived already, put back for the application. A small body arrives together with its headers, and then
 * nothing needs to be waited for.
 *
 * @returns `undefined` while more may come
 */
function takeWhole(req: IncomingMessage): Uint8Array | undefined {
  // HTTP/2 reads nothing before it is asked to, but says that nothing will come.
  if (!hasEnded(req)) return streamOf(req)?.endAfterHeaders === true ? EMPTY : undefined;
  const bytes = peek(req);
  if (bytes.length > 0) known.set(req, bytes);
  return bytes;
}

/** What waits in a request, left where it is. */
function peek(req: IncomingMessage): Uint8Array {
  const { readableLength } = req;
  if (readableLength === 0) return EMPTY;
  // To read is to tell listeners of it, and one above has its turn when the application reads.
  const isHeard = req.listenerCount('data') > 0;
  if (isHeard) Object.defineProperty(req, 'emit', { value: () => false, configurable: true });
  // Not a byte more than there is, which would end the stream for good.
  const bytes = req.read(readableLength) as Buffer;
  if (isHeard) delete (req as Partial<IncomingMessage>).emit;
  req.unshift(bytes);
  return bytes;
}

/**
 * Lets nothing of a body through until all of it has arrived. What arrives is caught at `push()`, the one way into a stream: nothing
 * can read past it, whichever way it reads.
 */
function holdBack(
  req: IncomingMessage,
  limit: number,
  seconds: number,
  hold: ConnectionHold,
): Promise<Uint8Array> {
  hold.end();
  const held = new HeldBody(limit);
  const early = peek(req);
  return new Promise((resolve, reject) => {
    const { push } = req;
    const settle = (): void => {
      clearTimeout(timer);
      req.push = push;
      req.off('close', onClose);
      // From here on everything is waited for with the whole body in the request.
      hold.begin();
    };
    const refuse = (error: SignatureError): void => {
      settle();
      reject(error);
    };
    const onClose = (): void => refuse(cutShort(req.errored));
    const timer = setTimeout(() => refuse(tooSlow()), Math.max(0, seconds) * 1000);
    req.once('close', onClose);
    catchPush(req, (bytes) => {
      if (bytes === null) {
        settle();
        const whole = held.bytes;
        if (whole.length > 0) known.set(req, whole);
        // The early ones wait in the request already, in front of these.
        const { buffer, length } = whole.subarray(early.length);
        if (length > 0) req.push(Buffer.from(buffer, early.length, length));
        resolve(whole);
      } else if (held.add(bytes)) {
        return true;
      } else {
        refuse(tooLarge(limit));
      }
      return req.push(bytes);
    });
    if (!held.add(early)) refuse(tooLarge(limit));
    // Makes the stream read on, and takes nothing from it. If another request holds the connection, it is read on once that is done.
    else if (!hold.isKeptByOthers()) req.read(0);
  });
}

/** Checks a body while it is read, by whatever reads it. Its end is let through only if it is the signed one. */
function checkOnTheWay(
  req: IncomingMessage,
  check: BodyCheck,
  onFailure: (error: SignatureError) => void,
): void {
  const { push } = req;
  const early = peek(req);
  if (early.length > 0) {
    check.push(early);
    putBack.add(req);
  }
  catchPush(req, (bytes) => {
    if (bytes !== null) {
      check.push(bytes);
      return push.call(req, bytes);
    }
    try {
      check.end();
    } catch (error) {
      // HTTP/2 pushes the end once more when the stream closes.
      req.push = () => false;
      onFailure(error as SignatureError);
      return false;
    }
    req.push = push;
    return req.push(null);
  });
}

/** Puts a function in the place of a stream's own `push()`, until that is assigned to it again. It is given bytes, never text. */
function catchPush(req: IncomingMessage, act: (bytes: Buffer | null) => boolean): void {
  // Some adapters push `undefined` if there is no body, which is nothing to a stream, and not its end.
  const value = (chunk: Buffer | string | null | undefined, encoding?: BufferEncoding): boolean =>
    act(
      typeof chunk === 'string'
        ? Buffer.from(chunk, encoding)
        : chunk === undefined
          ? EMPTY
          : chunk,
    );
  // Not assigned: for that V8 keeps more than a kilobyte of each request until it collects all of its memory.
  Object.defineProperty(req, 'push', { value, writable: true, configurable: true });
}
