import { SignatureError } from '@countersign/shared';

/** The refusal of a body of more than `limit` bytes. */
export function tooLarge(limit: number): SignatureError {
  return new SignatureError(
    'ERR_BODY_TOO_LARGE',
    `The body has more than ${limit} bytes: send less, or raise the option "limit"`,
  );
}

/** The refusal of a body that does not arrive while its request is fresh. */
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
    'The connection closed before the body had arrived',
    { cause },
  );
}

/** The refusal of a request whose body was read by something else while it was verified: the handler would run without it. */
export function takenAway(): SignatureError {
  return new SignatureError(
    'ERR_BODY_CONSUMED',
    'Cannot hand the body on: something that is mounted above has read it meanwhile. Mount it below',
  );
}

/** The refusal of a request whose client has stopped sending, as parsers then skip its body. */
export function closedEarly(): SignatureError {
  return new SignatureError(
    'ERR_BODY_MISMATCH',
    'The client closed its side of the connection while the request was verified: keep it open until the answer has come',
  );
}
