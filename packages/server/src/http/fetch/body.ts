import { SignatureError } from '@countersign/shared';
import type { BodyCheck, IncomingBody } from '../../verify/check-body.ts';
import { cutShort, tooLarge, tooSlow } from '../body-errors.ts';
import type { ConnectionHold } from '../connection-hold.ts';
import { HeldBody } from '../held-body.ts';

/** The body of a `Request`, and the request to read once it is verified. */
export interface FetchBody extends IncomingBody {
  /** A request whose body can be read. */
  request(): Request;
}

/**
 * The body of a `Request`, read once all of it is asked for.
 *
 * @param limit the most bytes that are held
 * @param caller what should have been called first, if something has read the body already
 * @param hold of the connection that it comes on, if that is known
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
      // Only refuses early. How long the body really is, its stream tells.
      if (Number(received.headers.get('content-length')) > limit) throw tooLarge(limit);
      hold.end();
      const bytes = await readStream(body, limit, seconds);
      hold.begin();
      readable = new Request(received, { body: bytes });
      return bytes;
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
    stream(check) {
      const body = untouchedBody(received, caller);
      if (body === null) return check.end();
      const checked = body.pipeThrough(checkOnTheWay(check));
      readable = new Request(received, { body: checked, duplex: 'half' } as RequestInit);
    },
  };
}

/**
 * @throws SignatureError `ERR_BODY_CONSUMED` if something has read it already; `ERR_BODY_MISMATCH` if the request came with a body
 * that the runtime hides, as that of a `GET`
 */
function untouchedBody(
  { body, bodyUsed, headers }: Request,
  caller: string,
): ReadableStream<Uint8Array<ArrayBuffer>> | null {
  if (bodyUsed || body?.locked) {
    throw new SignatureError(
      'ERR_BODY_CONSUMED',
      `Cannot verify the body: it was read first. Call ${caller} before anything reads the request`,
    );
  }
  if (body === null && announcesBody(headers)) {
    throw new SignatureError(
      'ERR_BODY_MISMATCH',
      'The request came with a body that the runtime hides, so that it cannot be verified: send none with this method',
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
    // Ends the read that is waiting, too.
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

/** Passes bytes on as they come; fails instead of ending if they are not the signed ones. */
function checkOnTheWay(check: BodyCheck): TransformStream<Uint8Array, Uint8Array> {
  return new TransformStream({
    transform(chunk, controller) {
      check.push(chunk);
      controller.enqueue(chunk);
    },
    flush: () => check.end(),
  });
}
