import { quote } from '@countersign/shared';
import { UsageError } from './errors.ts';

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 };

/**
 * Parses a duration as people write it.
 *
 * @param text such as `90d`, `1.5h`, `15m`, `30s`
 * @param longest the longest allowed duration, written the same way
 * @returns seconds
 * @throws UsageError if `text` is no duration, or a longer one
 */
export function parseDuration(text: string, longest = '36500d'): number {
  const seconds = read(text);
  if (seconds === undefined)
    throw new UsageError(
      `Cannot parse duration ${quote(text)}: expected a number and s, m, h or d, as 90d`,
    );
  if (!(seconds <= (read(longest) as number)))
    throw new UsageError(`Cannot use duration ${quote(text)}: expected at most ${longest}`);
  return seconds;
}

function read(text: string): number | undefined {
  const [, amount, unit] = /^(\d{1,12}(?:\.\d{1,6})?)([smhd])$/.exec(text) ?? [];
  return unit === undefined ? undefined : Number(amount) * (UNITS[unit] as number);
}
