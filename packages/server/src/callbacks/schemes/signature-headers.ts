import { timingSafeEqual } from 'node:crypto';
import { encodeUtf8, quote, SignatureError } from '@countersign/shared';

/**
 * The most that is looked at, before any work: a sender that rotates its secret signs twice, not a
 * thousand times.
 */
const LONGEST_HEADER = 4_096;
const MOST_SIGNATURES = 16;

/**
 * In one way only, so that the number and the text that is signed are one: no sign, no fraction, no
 * zero in front.
 */
const SECONDS = /^(?:0|[1-9][0-9]{0,11})$/;

/**
 * Splits the value of a header, which may be of any length until here.
 *
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED` where it is longer than 4,096 characters
 */
export function splitHeader(name: string, value: string, separator: string): string[] {
  if (!(value.length <= LONGEST_HEADER))
    throw malformed(
      `header ${quote(name)} has ${value.length} characters, at most ${LONGEST_HEADER} are read`,
    );
  return value.split(separator);
}

/**
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED` where there is none, or there are more than 16
 */
export function checkCount(signatures: readonly string[], name: string): readonly string[] {
  if (!(signatures.length >= 1 && signatures.length <= MOST_SIGNATURES))
    throw malformed(
      `header ${quote(name)} holds ${signatures.length} signatures, expected 1 to ${MOST_SIGNATURES}`,
    );
  return signatures;
}

/**
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED` where it is not a decimal number of Unix seconds
 */
export function parseSeconds(name: string, text: string | undefined): number {
  if (text === undefined) throw malformed(`${quote(name)} is missing`);
  if (!SECONDS.test(text))
    throw malformed(`${quote(name)} is ${quote(text)}, expected Unix seconds in decimal`);
  return Number(text);
}

/**
 * Whether one of the signatures is the expected one. Each is compared, in constant time and to its
 * end: how long it takes tells neither how much of one was right, nor which one was.
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
