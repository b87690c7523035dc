import { isTime } from './clock.ts';
import { quote, SignatureError } from './errors.ts';
import { rememberLast } from './remember.ts';

const SHAPE = /^[0-9]{8}T[0-9]{6}Z$/;

/**
 * Formats a time for the wire: UTC, whole seconds.
 *
 * @param seconds Unix time in seconds; a fraction is cut off
 * @returns such as `20261121T222526Z`
 * @throws RangeError if the time is not a number, or its year is not from 1970 to 9999
 */
export function formatTimestamp(seconds: number): string {
  return format(Math.floor(seconds));
}

const format = rememberLast((whole: number): string => {
  if (!isTime(whole)) {
    throw new RangeError(
      `Cannot format time ${quote(whole)}: expected Unix seconds such as 1795299926`,
    );
  }
  return `${new Date(whole * 1000).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
});

/**
 * Parses a time from the wire. Each second has exactly one text, and every other text is refused: a
 * February 30th, a leap second, another format.
 *
 * @returns Unix time in whole seconds
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED`
 */
export const parseTimestamp: (text: string) => number = rememberLast((text: string): number => {
  if (SHAPE.test(text)) {
    const [year, month, day] = [number(text, 0, 4), number(text, 4, 6), number(text, 6, 8)];
    const [hour, minute, second] = [
      number(text, 9, 11),
      number(text, 11, 13),
      number(text, 13, 15),
    ];
    const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
    // A day or month that does not exist ends in another month.
    const exists = date.getUTCMonth() === month - 1;
    if (year >= 1970 && exists && hour <= 23 && minute <= 59 && second <= 59)
      return date.getTime() / 1000;
  }
  throw new SignatureError(
    'ERR_SIGNATURE_MALFORMED',
    `Cannot parse timestamp ${quote(text)}: expected a UTC time such as 20261121T222526Z`,
  );
});

function number(text: string, from: number, to: number): number {
  let value = 0;
  for (let index = from; index < to; index++) value = value * 10 + text.charCodeAt(index) - 0x30;
  return value;
}
