import { quote } from '@countersign/shared';
import { UsageError } from './errors.ts';

const DATE = String.raw`(\d{4}-\d\d-\d\d)`;
const CLOCK = String.raw`(\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)`;
const ZONE = String.raw`(Z|UTC|[+-]\d\d:\d\d)`;
// A time of day needs a zone: an operator and a server may be in different zones.
const TIME = new RegExp(`^${DATE}(?:[T ]${CLOCK} ?${ZONE})?$`);

/**
 * Parses a time as people write it, and as `formatTime` does.
 *
 * @param text `now`, a day (meaning its start, in UTC), or a time with its zone
 * @param now Unix seconds
 * @returns Unix seconds
 * @throws UsageError if `text` is no time
 */
export function parseTime(text: string, now: number): number {
  if (text === 'now') return now;
  const [, date, clock = '00:00', zone = 'Z'] = TIME.exec(text) ?? [];
  const seconds = Date.parse(`${date}T${clock}${zone === 'UTC' ? 'Z' : zone}`) / 1000;
  if (date === undefined || !isDate(date) || !(seconds >= 0))
    throw new UsageError(
      `Cannot parse time ${quote(text)}: expected now, a day as 2026-11-24, or a time as 2026-11-24T22:30Z`,
    );
  return seconds;
}

/** `Date` turns 30 February into 2 March. */
function isDate(date: string): boolean {
  const day = new Date(`${date}T00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(date);
}

/** `2026-11-24 22:30:05 UTC`. */
export function formatTime(seconds: number): string {
  return `${iso(seconds).slice(0, 19).replace('T', ' ')} UTC`;
}

/** `2026-11-24 22:30`, for a table whose heading says UTC. */
export function formatMinute(seconds: number): string {
  return iso(seconds).slice(0, 16).replace('T', ' ');
}

function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
