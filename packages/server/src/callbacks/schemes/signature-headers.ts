import { timingSafeEqual } from 'node:crypto';
import { encodeUtf8, quote, SignatureError } from '@countersign/shared';

/**
 * Bounds on what is read before any work. A sender that rotates its secret signs twice, not a
 * thousand times.
 */
const LONGEST_HEADER = 4_096;
const MOST_SIGNATURES = 16;

/**
 * No sign, no fraction, no leading zero. So each number has one text, and that text is what was
 * signed.
 */
const SECONDS = /^(?:0|[1-9][0-9]{0,11})$/;

/**
 * Splits the value of a header. Nothing before has bounded its length.
 *
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED` if it is longer than 4,096 characters
 */
export function splitHeader(name: string, value: string, separator: string): string[] {
  if (!(value.length <= LONGEST_HEADER))
    throw malformed(
      `header ${quote(name)} has ${value.length} characters, at most ${LONGEST_HEADER} are read`,
    );
  return value.split(separator);
}

/**
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED` if there is none, or if there are more than 16
 */
export function checkCount(signatures: readonly string[], name: string): readonly string[] {
  if (!(signatures.length >= 1 && signatures.length <= MOST_SIGNATURES))
    throw malformed(
      `header ${quote(name)} holds ${signatures.length} signatures, expected 1 to ${MOST_SIGNATURES}`,
    );
  return signatures;
}

/**
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED` if it is not a decimal number of Unix seconds
 */
export function parseSeconds(name: string, text: string | undefined): number {
  if (text === undefined) throw malformed(`${quote(name)} is missing`);
  if (!SECONDS.test(text))
    throw malformed(`${quote(name)} is ${quote(text)}, expected Unix seconds in decimal`);
  return Number(text);
}

/**
 * Whether one of the signatures is the expected one. All are compared, each in constant time. So
 * the time shows neither how much of a signature was right, nor which one was.
 */
export function isAmong(expected: string, signatures: readonly string[]): boolean {
  const bytes = encodeUtf8(expected);
  let found = false;
  for (const signature of signatures) {
    const other = encodeUtf8(signature);
    const matches = other.length === bytes.length && timingSafeEqual(other, bytes);
    found = matches || found;
  }
  return found;
}

export function malformed(what: string): SignatureError {
  return new SignatureError('ERR_SIGNATURE_MALFORMED', `Cannot read the callback: ${what}`);
}
