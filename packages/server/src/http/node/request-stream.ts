import type { IncomingMessage } from 'node:http';

export const EMPTY = Buffer.alloc(0);

/** Reads the bytes that wait in a request, and puts them back. */
export function peek(req: IncomingMessage): Uint8Array {
  const bytes = take(req);
  if (bytes.length > 0) req.unshift(bytes);
  return bytes;
}

/** Takes the bytes that wait in a request. */
export function take(req: IncomingMessage): Uint8Array {
  const { readableLength } = req;
  if (readableLength === 0) return EMPTY;
  // read() also emits `data`. A listener above must get the bytes only when the application reads.
  const isHeard = req.listenerCount('data') > 0;
  if (isHeard) Object.defineProperty(req, 'emit', { value: () => false, configurable: true });
  // Asking for more bytes than there are would end the stream permanently.
  const bytes = req.read(readableLength) as Buffer;
  if (isHeard) delete (req as Partial<IncomingMessage>).emit;
  return bytes;
}

/**
 * Replaces a stream's own `push()` with `act`, until the caller assigns the old `push()` again.
 * `act` gets bytes, never text.
 */
export function catchPush(req: IncomingMessage, act: (bytes: Buffer | null) => boolean): void {
  // Some adapters push `undefined` if there is no body. A stream takes that for no bytes, not for
  // its end.
  const value = (chunk: Buffer | string | null | undefined, encoding?: BufferEncoding): boolean =>
    act(
      typeof chunk === 'string'
        ? Buffer.from(chunk, encoding)
        : chunk === undefined
          ? EMPTY
          : chunk,
    );
  // Defined, not assigned: after an assignment V8 keeps more than a kilobyte of each request until
  // it collects all of its memory.
  Object.defineProperty(req, 'push', { value, writable: true, configurable: true });
}

/**
 * Pushes each piece. If there is none, it pushes an empty one, because otherwise the stream would
 * wait for these bytes forever.
 */
export function pushAll(
  req: IncomingMessage,
  push: IncomingMessage['push'],
  pieces: readonly Uint8Array[],
): boolean {
  let mayGoOn = pieces.length > 0 || push.call(req, EMPTY);
  for (const piece of pieces) mayGoOn = push.call(req, piece);
  return mayGoOn;
}
