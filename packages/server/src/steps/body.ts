import {
  EMPTY_SHA256,
  SignatureError,
  type SignatureParams,
  sha256Hex,
  UNSIGNED_PAYLOAD,
} from '@countersign/shared';
import { lifetime, type Window } from './window.ts';

/** The body of a request that is being verified. An adapter reads it only when it is asked. */
export interface BodySource {
  /**
   * Compares the body with its declared hash, or sees to it that it will be compared before anybody sees its end.
   *
   * @param declared 64 characters of lower-case hex
   * @param seconds for how long the request stays fresh: waiting longer for its body is pointless
   * @throws SignatureError `ERR_BODY_MISMATCH`, `ERR_BODY_TOO_LARGE`, `ERR_BODY_CONSUMED`, `ERR_SIGNATURE_EXPIRED`
   */
  check(declared: string, seconds: number): Promise<void> | void;
}

/** A body as it was received: bytes, text, nothing, or a way to read it. */
export type ReceivedBody = Uint8Array | string | BodySource | undefined;

/** What the server allows of bodies, and for how long it waits for them. */
export interface BodyPolicy extends Window {
  readonly unsignedPayload: 'refuse' | 'accept-unsigned-bodies';
}

/**
 * Holds the body against its declared hash.
 *
 * @param body what was received; text is taken as UTF-8, nothing as an empty body
 * @param now Unix seconds
 * @throws SignatureError what {@link BodySource.check} throws; `ERR_COMPONENT_NOT_COVERED` where the body is not signed
 * and the server does not accept that
 */
export function checkBody(
  body: ReceivedBody,
  params: SignatureParams,
  policy: BodyPolicy,
  now: number,
): Promise<void> | void {
  const declared = params.bodyHash;
  if (declared === UNSIGNED_PAYLOAD) {
    if (policy.unsignedPayload === 'accept-unsigned-bodies') return;
    throw new SignatureError(
      'ERR_COMPONENT_NOT_COVERED',
      `The body is not signed: ${UNSIGNED_PAYLOAD} is not accepted here`,
    );
  }
  if (body === undefined) return checkBodyHash(EMPTY_SHA256, declared);
  if (typeof body === 'string' || body instanceof Uint8Array)
    return checkBodyHash(sha256Hex(body), declared);
  return body.check(declared, params.signedAt + lifetime(params, policy) - now);
}

/**
 * Neither hash is a secret, so they need no comparison in constant time.
 *
 * @throws SignatureError `ERR_BODY_MISMATCH`
 */
export function checkBodyHash(actual: string, declared: string): void {
  if (actual !== declared) {
    throw new SignatureError(
      'ERR_BODY_MISMATCH',
      `The body has the SHA-256 ${actual}, the request declares ${declared}: sign the bytes that are sent`,
    );
  }
}

/** The refusal of a body of more than `limit` bytes. */
export function tooLarge(limit: number): SignatureError {
  return new SignatureError(
    'ERR_BODY_TOO_LARGE',
    `The body has more than ${limit} bytes: send less, or raise the option "limit"`,
  );
}

/** The refusal of a body that does not come while its request is fresh. */
export function tooSlow(): SignatureError {
  return new SignatureError(
    'ERR_SIGNATURE_EXPIRED',
    'The request went stale before its body had arrived: send it faster, signed anew',
  );
}
