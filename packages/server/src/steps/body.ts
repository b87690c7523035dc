import { EMPTY_SHA256, sha256Hex, SignatureError, UNSIGNED_PAYLOAD } from '@countersign/shared';

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

/**
 * Holds the body against its declared hash.
 *
 * @param body what was received; text is taken as UTF-8, nothing as an empty body
 * @throws SignatureError what {@link BodySource.check} throws; `ERR_COMPONENT_NOT_COVERED` where the body is not signed
 * and the server does not accept that
 */
export function checkBody(
  body: Uint8Array | string | BodySource | undefined,
  declared: string,
  seconds: number,
  unsignedPayload: 'refuse' | 'accept-unsigned-bodies',
): Promise<void> | void {
  if (declared === UNSIGNED_PAYLOAD) {
    if (unsignedPayload === 'accept-unsigned-bodies') return;
    throw new SignatureError('ERR_COMPONENT_NOT_COVERED', `The body is not signed: ${UNSIGNED_PAYLOAD} is not accepted here`);
  }
  if (typeof body === 'object' && 'check' in body) return body.check(declared, seconds);
  checkBodyHash(body === undefined ? EMPTY_SHA256 : sha256Hex(body), declared);
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
  return new SignatureError('ERR_BODY_TOO_LARGE', `The body has more than ${limit} bytes: send less, or raise the option "limit"`);
}

/** The refusal of a body that does not come while its request is fresh. */
export function tooSlow(): SignatureError {
  return new SignatureError('ERR_SIGNATURE_EXPIRED', 'The request went stale before its body had arrived: send it faster, signed anew');
}
