import { SignatureError } from '@countersign/shared';
import { HeldBody } from './held-body.ts';
import { tooLarge, tooSlow } from './steps/body.ts';

/**
 * Reads the whole body of a `Request`.
 *
 * @param limit the most bytes that are held
 * @param seconds for how long it is waited for
 * @param caller what should have been called first, where somebody has read the body already
 * @returns its bytes, and a request that has them still
 * @throws SignatureError `ERR_BODY_CONSUMED`, `ERR_BODY_TOO_LARGE`, `ERR_BODY_MISMATCH`, `ERR_SIGNATURE_EXPIRED`
 */
export async function readFetchBody(
  received: Request,
  limit: number,
  seconds: number,
  caller: string,
): Promise<{ readonly bytes: Uint8Array<ArrayBuffer>; readonly request: Request }> {
  const body = untouchedBody(received, caller);
  if (body === null) return { bytes: new Uint8Array(0), request: received };
  if (!(Number(received.headers.get('content-length') ?? 0) <= limit)) throw tooLarge(limit);
  const bytes = await readStream(body, limit, seconds);
  return { bytes, request: new Request(received, { body: bytes }) };
}

/** @throws SignatureError `ERR_BODY_CONSUMED` where somebody has read it already */
export function untouchedBody(
  { body, bodyUsed }: Request,
  caller: string,
): ReadableStream<Uint8Array<ArrayBuffer>> | null {
  if (!bodyUsed && !body?.locked) return body;
  throw new SignatureError(
    'ERR_BODY_CONSUMED',
    `The body was read before the signature was verified: call ${caller} first`,
  );
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
    throw (
      refusal ??
      new SignatureError('ERR_BODY_MISMATCH', 'The connection closed before the body had arrived', {
        cause,
      })
    );
  } finally {
    clearTimeout(timer);
  }
}
