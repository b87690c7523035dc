import { describeValue } from './errors.ts';

/** The last second that has four digits of a year. Milliseconds are beyond it. */
const LATEST = 253_402_300_799;
const EXPECTED = 'a function that returns Unix seconds';

/**
 * Says what is wrong with the option `clock`, after one call.
 *
 * @returns what is expected in its place; `undefined` if it gives Unix seconds
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
 * A clock that gives a time or throws. Compared with `NaN` every lease would be over, and a callback handled twice.
 *
 * @returns a function that throws a TypeError if `clock` gives something else than Unix seconds
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

function isTime(now: unknown): now is number {
  return typeof now === 'number' && now >= 0 && now <= LATEST;
}
