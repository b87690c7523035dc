import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { quote, SignatureError } from '@countersign/shared';
import type { BodyCheck, FieldChanges, IncomingBody } from '../../verify/check-body.ts';
import { tooLarge } from '../../verify/too-large.ts';
import { cutShort, tooSlow } from '../body-errors.ts';
import { type ConnectionHold, hasEnded } from '../connection-hold.ts';
import { HeldBody } from '../held-body.ts';
import { showBody } from './headers.ts';
import { catchPush, EMPTY, peek, pushAll, take } from './request-stream.ts';

/**
 * Bodies whose bytes are known: read here and put back, or kept by a parser through the hook below.
 */
const known = new WeakMap<IncomingMessage, Uint8Array>();

/**
 * Streamed requests whose first bytes were read here and put back. The rest is checked as it
 * passes.
 */
const putBack = new WeakSet<IncomingMessage>();

/**
 * Keeps the bytes of a body that a parser has read, so that they can be verified later. It is the
 * `verify` hook of `express.json()`, `express.urlencoded()`, `express.text()` and `express.raw()`,
 * for servers that must parse before they verify. It is better to mount `requireSignature()` first:
 * that needs no hook, and strangers' bodies are never parsed. If a platform has parsed the body and
 * left its bytes under another name than `req.rawBody`, call `keepRawBody(req, res, bytes)` with a
 * `Buffer`.
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
      `Cannot keep a body of type ${quote(typeof bytes)}: expected a Buffer. Give keepRawBody to a parser as its hook, ` +
        'express.json({ verify: keepRawBody }), or call keepRawBody(req, res, buffer)',
    );
  }
  // A parser hands out inflated bytes. The signature covers the compressed bytes on the wire.
  const encoding = req.headers['content-encoding'] ?? 'identity';
  if (encoding.toLowerCase() === 'identity') known.set(req, bytes);
}

/** The known body of a verified request; `undefined` if the body was streamed or empty. */
export function verifiedBody(req: IncomingMessage): Uint8Array | undefined {
  return known.get(req);
}

/** How a body is delivered. */
export interface NodeBodyOptions {
  /** The most bytes that are held. */
  readonly limit: number;
  /** The name for the message if a parser came first, such as `requireSignature()`. */
  readonly middleware: string;
  readonly hold: ConnectionHold;
}

/**
 * The body of a request of `node:http` or `node:http2`. It is held until all of it has arrived, and
 * then given back to the request.
 */
export function heldBody(req: IncomingMessage, options: NodeBodyOptions): IncomingBody {
  return new RequestBody(req, options);
}

/**
 * The body of such a request. It is checked on its way to the application.
 *
 * @param onFailure called if the body is not the signed one
 */
export function streamedBody(
  req: IncomingMessage,
  options: NodeBodyOptions,
  onFailure: (error: SignatureError) => void,
): IncomingBody {
  const body = new RequestBody(req, options);
  return {
    bytes: (seconds) => body.bytes(seconds),
    replace: (bytes, changes) => body.replace(bytes, changes),
    limit: options.limit,
    stream(check) {
      const bytes = knownBody(req, options.middleware) ?? takeWhole(req);
      if (bytes === undefined) {
        checkOnTheWay(req, check, onFailure);
        return options.hold.renew();
      }
      const released = check.push(bytes);
      check.end();
      if (released !== undefined) body.replace(Buffer.concat(released), check.changes);
    },
  };
}

class RequestBody implements IncomingBody {
  readonly #req: IncomingMessage;
  readonly #options: NodeBodyOptions;

  constructor(req: IncomingMessage, options: NodeBodyOptions) {
    this.#req = req;
    this.#options = options;
  }

  bytes(seconds: number): Uint8Array | Promise<Uint8Array> {
    const req = this.#req;
    const { limit, middleware, hold } = this.#options;
    // This only refuses early. The stream decides how long the body really is.
    if (Number(req.headers['content-length']) > limit) throw tooLarge(limit);
    const bytes = knownBody(req, middleware) ?? takeWhole(req);
    if (bytes === undefined) return holdBack(req, limit, seconds, hold);
    if (!(bytes.length <= limit)) throw tooLarge(limit);
    return bytes;
  }

  replace(bytes: Uint8Array, changes: FieldChanges = {}): void {
    const req = this.#req;
    const waiting = known.get(req)?.length ?? 0;
    // A parser above has read the framing, or a platform has kept it in `req.rawBody`.
    const wasRead = waiting === 0 && req.readableDidRead;
    if (wasRead || req.readableLength !== waiting || req.readableEncoding !== null)
      throw consumed(this.#options.middleware);
    take(req);
    known.delete(req);
    if (bytes.length > 0) {
      req.unshift(bytes);
      known.set(req, bytes);
    }
    showBody(req, changes, bytes.length);
  }
}

/**
 * The body of a request whose stream was already read, here or by something else; otherwise
 * `undefined`.
 */
function knownBody(req: IncomingMessage, middleware: string): Uint8Array | undefined {
  const bytes = known.get(req);
  if (bytes !== undefined) return bytes;
  // If the stream has ended, the application has read the bytes that were put back.
  const isPutBack = putBack.has(req) && !req.readableEnded;
  if ((req.readableDidRead && !isPutBack) || req.readableEncoding !== null) {
    // Cloud functions and frameworks keep the bytes here that they have parsed.
    const { rawBody } = req as { readonly rawBody?: unknown };
    if (rawBody instanceof Uint8Array) return rawBody;
    throw consumed(middleware);
  }
  // Something looked for a body, and there was none: the stream ended without a byte.
  if (req.readableEnded) return EMPTY;
  if (req.destroyed) throw cutShort(req.errored);
  return undefined;
}

/** Whether something else has already read the body that was verified and given back. */
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
      'the hook express.json({ verify: keepRawBody }), which cannot keep compressed bodies. If a platform parsed the body, let it ' +
      'keep the bytes as a Buffer in req.rawBody, or call keepRawBody(req, res, bytes) in a middleware above',
  );
}

/**
 * Takes the whole body if it has already arrived, and puts it back for the application. A small
 * body mostly arrives together with its headers, and then there is nothing to wait for.
 *
 * @returns `undefined` while more may come
 */
function takeWhole(req: IncomingMessage): Uint8Array | undefined {
  // HTTP/2 reads nothing until it is asked to. But it says if no body will come.
  if (!hasEnded(req)) return streamOf(req)?.endAfterHeaders === true ? EMPTY : undefined;
  const bytes = peek(req);
  if (bytes.length > 0) known.set(req, bytes);
  return bytes;
}

/**
 * Lets no part of a body through until all of it has arrived. It catches bytes at `push()`, the
 * only way into a stream, so no reader can get past it.
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
      // From here on the whole body is in the request, so the connection can be held again.
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
        // The early bytes already wait in the request, in front of these.
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
    // read(0) makes the stream read on, and takes nothing from it. If another request holds the
    // connection, reading goes on when that hold ends.
    else if (!hold.isKeptByOthers()) req.read(0);
  });
}

/**
 * Checks a body while the application reads it. The end of the stream is let through only if the
 * body is the signed one.
 */
function checkOnTheWay(
  req: IncomingMessage,
  check: BodyCheck,
  onFailure: (error: SignatureError) => void,
): void {
  const { push } = req;
  const early = take(req);
  if (early.length > 0) {
    const released = check.push(early) ?? [early];
    for (const piece of released.toReversed()) req.unshift(piece);
    putBack.add(req);
  }
  if (check.changes !== undefined) showBody(req, check.changes);
  const fail = (error: unknown): boolean => {
    // HTTP/2 pushes the end again when the stream closes.
    req.push = () => false;
    onFailure(error as SignatureError);
    return false;
  };
  catchPush(req, (bytes) => {
    let released: readonly Uint8Array[] | undefined;
    try {
      if (bytes === null) check.end();
      else released = check.push(bytes);
    } catch (error) {
      return fail(error);
    }
    if (released !== undefined) return pushAll(req, push, released);
    if (bytes === null) req.push = push;
    return push.call(req, bytes);
  });
}
