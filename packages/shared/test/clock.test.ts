import { findClockFlaw, strictClock } from '@countersign/shared';
import { describe, expect, it } from 'vitest';

const EXPECTED = 'a function that returns Unix seconds';

describe('findClockFlaw()', () => {
  it.each([0, 1_795_299_926, 1_795_299_926.5, 253_402_300_799])(
    'takes one that returns %d',
    (now) => expect(findClockFlaw(() => now)).toBeUndefined(),
  );

  it.each<[unknown, string]>([
    [undefined, EXPECTED],
    [null, EXPECTED],
    [1_795_299_926, EXPECTED],
    [{ now: () => 0 }, EXPECTED],
    [new Date(), EXPECTED],
    [() => Number.NaN, `${EXPECTED}; what it returned is NaN`],
    [() => undefined, `${EXPECTED}; what it returned is undefined`],
    [() => null, `${EXPECTED}; what it returned is null`],
    [() => -1, `${EXPECTED}; what it returned is -1`],
    [() => Number.POSITIVE_INFINITY, `${EXPECTED}; what it returned is Infinity`],
    [() => 1_795_299_926_000, `${EXPECTED}; what it returned is 1795299926000`],
    [() => '1795299926', `${EXPECTED}; what it returned is "1795299926"`],
    [() => 1_795_299_926n, `${EXPECTED}; what it returned is 1795299926`],
    [() => new Date(0), `${EXPECTED}; what it returned is of type object`],
    [async () => 0, `${EXPECTED}; what it returned is of type object`],
    [
      () => {
        throw undefined;
      },
      `${EXPECTED}; it threw`,
    ],
  ])('says what is expected in the place of %s', (clock, flaw) =>
    expect(findClockFlaw(clock)).toBe(flaw),
  );
});

describe('strictClock()', () => {
  it('gives the time of the clock, and throws if that is no time', () => {
    let now: unknown = 5.5;
    const clock = strictClock(() => now as number);
    expect(clock()).toBe(5.5);
    for (const wrong of [Number.NaN, undefined, '5', 1_795_299_926_000]) {
      now = wrong;
      expect(clock).toThrow(
        /^Cannot tell the time: what the clock returned is .*, expected Unix seconds$/,
      );
      expect(clock).toThrow(/clock/);
    }
  });
});
