import { createSha256, SignatureError, sha256Hex } from '@countersign/shared';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AdapterPolicy } from './adapter-options.ts';
import { type BodySource, checkBodyHash, tooLarge, tooSlow } from './steps/body.ts';

const rawBodies = new WeakMap<IncomingMessage, Uint8Array>();

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
  // A parser hands out what it inflated; signed are the bytes that went over the wire.
  const encoding = req.headers['content-encoding'] ?? 'identity';
  if (encoding.toLowerCase() === 'identity') rawBodies.set(req, bytes);
}

/**
 * The body of a request of `node:http`, read only when it is asked for, and left as it was for whoever parses it next.
 *
 * @param onMismatch what to do where a streamed body turns out not to be the signed one
 */
export function nodeBody(req: IncomingMessage, policy: AdapterPolicy, onMismatch: (error: SignatureError) => void): BodySource {
  return {
    check(declared, seconds) {
      const kept = rawBodies.get(req) ?? rawBodyOf(req);
      if (kept !== undefined) return checkBodyHash(sha256Hex(kept), declared);
      if (!hasBody(req)) return checkBodyHash(sha256Hex(''), declared);
      if (req.readableDidRead || req.readableEnded) throw consumed();
      if (policy.body === 'stream') return hashOnTheWay(req, declared, onMismatch);
      return bufferBody(req, policy.limit, seconds).then((bytes) => {
        rawBodies.set(req, bytes);
        checkBodyHash(sha256Hex(bytes), declared);
      });
    },
  };
}

/** Whether a message has a body is said by these two headers (RFC 9112 section 6.3). */
function hasBody(req: IncomingMessage): boolean {
  const length = req.headers['content-length'];
  return req.headers['transfer-encoding'] !== undefined || (length === undefined ? req.httpVersionMajor >= 2 : length !== '0');
}

/** What `express.raw()` leaves is the body, unless it was inflated: then its hash is wrong, and it is refused. */
function rawBodyOf(req: IncomingMessage & { body?: unknown }): Uint8Array | undefined {
  return Buffer.isBuffer(req.body) ? req.body : undefined;
}

function consumed(): SignatureError {
  return new SignatureError(
    'ERR_BODY_CONSUMED',
    'A body parser ran before the signature was verified, and kept no raw bytes: mount requireSignature() above ' +
      'express.json(), or give the parser the hook, express.json({ verify: keepRawBody })',
  );
}

/** Reads the whole body and puts it back, so that a parser that comes after finds the request unread. */
function bufferBody(req: IncomingMessage, limit: number, seconds: number): Promise<Uint8Array> {
  const declaredLength = Number(req.headers['content-length'] ?? 0);
  if (!(declaredLength <= limit)) return Promise.reject(tooLarge(limit));
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;

    const settle = (act: () => void): void => {
      clearTimeout(timer);
      req.off('readable', onReadable).off('error', onError).off('close', onClose);
      act();
    };
    const onError = (cause: Error): void => settle(() => reject(aborted(cause)));
    const onClose = (): void => settle(() => reject(aborted(undefined)));
    const onReadable = (): void => {
      // Reading past the last byte would end the stream for good: look whether there is something first.
      while (req.readableLength > 0) {
        const chunk = req.read() as Buffer | null;
        if (chunk === null) break;
        length += chunk.length;
        if (!(length <= limit)) return settle(() => reject(tooLarge(limit)));
        chunks.push(chunk);
      }
      if (!req.complete) return;
      settle(() => {
        const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, length);
        if (length > 0) req.unshift(bytes);
        resolve(bytes);
      });
    };
    const timer = setTimeout(() => settle(() => reject(tooSlow())), Math.max(0, seconds) * 1000);
    req.on('readable', onReadable).on('error', onError).on('close', onClose);
    if (req.readableLength > 0 || req.complete) onReadable();
  });
}

/**
 * Hashes a body as it is read, by whomever: every byte passes `push`. The end is passed on only where the hash is right; the
 * rest is held back by back pressure as always, so memory stays constant.
 */
function hashOnTheWay(req: IncomingMessage, declared: string, onMismatch: (error: SignatureError) => void): void {
  const digest = createSha256();
  const waiting: Buffer[] = [];
  while (req.readableLength > 0) {
    const chunk = req.read() as Buffer | null;
    if (chunk === null) break;
    digest.update(chunk);
    waiting.push(chunk);
  }
  // All of it was here already: it can be judged before anything is handed on.
  if (req.complete) checkBodyHash(digest.hex(), declared);
  if (waiting.length > 0) req.unshift(Buffer.concat(waiting));
  if (req.complete) return;

  const push = req.push.bind(req);
  req.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    if (chunk !== null) {
      digest.update(chunk);
      return push(chunk, encoding);
    }
    try {
      checkBodyHash(digest.hex(), declared);
    } catch (error) {
      onMismatch(error as SignatureError);
      return false;
    }
    return push(null);
  };
}

function aborted(cause: Error | undefined): SignatureError {
  return new SignatureError('ERR_BODY_MISMATCH', 'The connection closed before the body had arrived', { cause });
}
