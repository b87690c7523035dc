import { describeValue } from './errors.ts';

/** Unix seconds: the end of the year 9999. A time in milliseconds is later, so it is refused. */
export const LATEST_TIME = 253_402_300_799;
const EXPECTED = 'a function that returns Unix seconds';

/**
 * Calls the option `clock` once, and says what is wrong with it.
 *
 * @returns what is expected instead; `undefined` if it gives Unix seconds
 */
export function findClockFlaw(clock: unknown): string | undefined {
  if (typeof clock !== 'function') return EXPECTED;
  try {
    const now: unknown = clock();
    return isTime(now) ? undefined : `${EXPECTED}; what it returned is ${describeValue(now)}`;
  } catch {
    return `${EXPECTED}; it threw`;
  }
}

/**
 * A clock that gives a time or throws. With `NaN` every lease would look expired, and a callback
 * would be handled twice.
 *
 * @returns a function that throws a TypeError if `clock` does not give Unix seconds
 */
export function strictClock(clock: () => number): () => number {
  return () => {
    const now = clock();
    if (isTime(now)) return now;
    throw new TypeError(
      `Cannot tell the time: what the clock returned is ${describeValue(now)}, expected Unix seconds`,
    );
  };
}

/** Whether a value can be a time in Unix seconds. */
export function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= LATEST_TIME;
}
