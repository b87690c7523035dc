import { SignatureError } from '@countersign/shared';

/** The refusal of a body that does not arrive before its request expires. */
export function tooSlow(): SignatureError {
  return new SignatureError(
    'ERR_SIGNATURE_EXPIRED',
    'The request expired before its body had arrived: sign it again, and send it faster',
  );
}

/** The refusal of a body whose end never arrived. */
export function cutShort(cause: unknown): SignatureError {
  return new SignatureError(
    'ERR_BODY_MISMATCH',
    'The connection closed before the body had arrived: sign the request again, and send all of it',
    { cause },
  );
}

/**
 * The refusal of a request whose body something else read during verification. Its handler would
 * run without the body.
 */
export function takenAway(): SignatureError {
  return new SignatureError(
    'ERR_BODY_CONSUMED',
    'Cannot hand the body on: other middleware read it during verification. Mount that middleware below',
  );
}

/** The refusal of a request whose client has closed its side. Parsers would skip the body. */
export function closedEarly(): SignatureError {
  return new SignatureError(
    'ERR_BODY_MISMATCH',
    'The client closed its side of the connection while the request was verified: keep it open until the answer has arrived',
  );
}
