import { SignatureError } from '@countersign/shared';

/** The refusal of a body of more than `limit` bytes. */
export function tooLarge(limit: number): SignatureError {
  return new SignatureError(
    'ERR_BODY_TOO_LARGE',
    `The body has more than ${limit} bytes: send less, or raise the option "limit"`,
  );
}
