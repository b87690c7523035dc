import { SignatureError } from '@countersign/shared';
import type { BodyCheck, FieldChanges, IncomingBody } from '../../verify/check-body.ts';
import { tooLarge } from '../../verify/too-large.ts';
import { cutShort, tooSlow } from '../body-errors.ts';
import type { ConnectionHold } from '../connection-hold.ts';
import { HeldBody } from '../held-body.ts';

/** The body of a `Request`, and the request that the application reads after it is verified. */
export interface FetchBody extends IncomingBody {
  /** A request whose body can be read. */
  request(): Request;
}

/**
 * The body of a `Request`. It is read when the verifier asks for all bytes.
 *
 * @param limit the most bytes that are held
 * @param caller the function to name in the message if something has already read the body
 * @param hold of the connection that the request came on, if that is known
 */
export function heldFetchBody(
  received: Request,
  limit: number,
  caller: string,
  hold: ConnectionHold,
): FetchBody {
  let readable = received;
  return {
    request: () => readable,
    async bytes(seconds) {
      const body = untouchedBody(received, caller);
      if (body === null) return new Uint8Array(0);
      // This only refuses early. The stream decides how long the body really is.
      if (Number(received.headers.get('content-length')) > limit) throw tooLarge(limit);
      hold.end();
      const bytes = await readStream(body, limit, seconds);
      hold.begin();
      readable = new Request(received, { body: bytes });
      return bytes;
    },
    replace(bytes, changes) {
      const body = received.body === null ? {} : { body: bytes as Uint8Array<ArrayBuffer> };
      const headers = shownHeaders(received.headers, changes, bytes.length);
      readable = new Request(received, { ...body, headers });
    },
  };
}

/** The body of a `Request`, checked on its way to the application. */
export function streamedFetchBody(
  received: Request,
  limit: number,
  caller: string,
  hold: ConnectionHold,
): FetchBody {
  let readable = received;
  return {
    ...heldFetchBody(received, limit, caller, hold),
    request: () => readable,
    limit,
    stream(check) {
      const body = untouchedBody(received, caller);
      const { changes } = check;
      const shown = changes && { headers: shownHeaders(received.headers, changes) };
      if (body === null) {
        check.end();
        if (shown !== undefined) readable = new Request(received, shown);
        return;
      }
      const checked = body.pipeThrough(checkOnTheWay(check));
      readable = new Request(received, { ...shown, body: checked, duplex: 'half' } as RequestInit);
    },
  };
}

/**
 * Header fields that fit a body without its framing.
 *
 * @param length if not given, it is not known yet
 */
function shownHeaders(received: Headers, changes: FieldChanges, length?: number): Headers {
  const headers = new Headers(received);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) headers.delete(name);
    else headers.set(name, value);
  }
  if (length === undefined) headers.delete('content-length');
  else if (headers.has('content-length')) headers.set('content-length', String(length));
  return headers;
}

/**
 * @throws SignatureError `ERR_BODY_CONSUMED` if something has already read the body;
 * `ERR_BODY_MISMATCH` if the runtime hides the body, as it does for a `GET`
 */
function untouchedBody(
  { body, bodyUsed, headers }: Request,
  caller: string,
): ReadableStream<Uint8Array<ArrayBuffer>> | null {
  if (bodyUsed || body?.locked) {
    throw new SignatureError(
      'ERR_BODY_CONSUMED',
      `Cannot verify the body: other code has already read it. Call ${caller} before that code`,
    );
  }
  if (body === null && announcesBody(headers)) {
    throw new SignatureError(
      'ERR_BODY_MISMATCH',
      'The runtime hides the body of this request, so it cannot be verified: send no body with this method',
    );
  }
  return body;
}

function announcesBody(headers: Headers): boolean {
  const length = headers.get('content-length') ?? '0';
  return headers.has('transfer-encoding') || !/^0+$/.test(length);
}

async function readStream(
  body: ReadableStream<Uint8Array>,
  limit: number,
  seconds: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  const held = new HeldBody(limit);
  let refusal: SignatureError | undefined;
  const refuse = (error: SignatureError): void => {
    refusal = error;
    // This also ends the read that is waiting.
    reader.cancel(error).catch(() => undefined);
  };
  const timer = setTimeout(() => refuse(tooSlow()), Math.max(0, seconds) * 1000);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (refusal !== undefined) throw refusal;
      if (done) return held.bytes;
      if (!held.add(value)) refuse(tooLarge(limit));
    }
  } catch (cause) {
    throw refusal ?? cutShort(cause);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Passes bytes on as they come. If they are not the signed bytes, the stream fails instead of
 * ending.
 */
function checkOnTheWay(check: BodyCheck): TransformStream<Uint8Array, Uint8Array> {
  return new TransformStream({
    transform(chunk, controller) {
      const released = check.push(chunk);
      if (released === undefined) controller.enqueue(chunk);
      // An empty piece would be a read that gives nothing.
      else for (const piece of released) if (piece.length > 0) controller.enqueue(piece);
    },
    flush: () => check.end(),
  });
}
