import { describe, expect, it } from 'vitest';
import { parseDuration } from '../../src/lib/duration.ts';
import { UsageError } from '../../src/lib/errors.ts';

describe('parseDuration()', () => {
  it.each([
    ['30s', 30],
    ['15m', 900],
    ['24h', 86_400],
    ['90d', 7_776_000],
    ['1.5h', 5_400],
    ['0s', 0],
    ['36500d', 3_153_600_000],
  ])('reads %s', (text, seconds) => expect(parseDuration(text)).toBe(seconds));

  it.each(['5x', '', 'd', '5', '-5d', '5 d', '5D', '1h30m', '1e3s', '٣d', 'NaNs', '.5h', '5.h'])(
    'refuses "%s"',
    (text) => {
      const message = `Cannot parse duration "${text}": expected a number and s, m, h or d, as 90d`;
      expect(() => parseDuration(text)).toThrow(new UsageError(message));
    },
  );

  it('refuses what is longer than makes sense', () => {
    expect(parseDuration('366d', '366d')).toBe(366 * 86_400);
    expect(() => parseDuration('367d', '366d')).toThrow(
      'Cannot use duration "367d": expected at most 366d',
    );
    expect(() => parseDuration('999999999999d')).toThrow('expected at most 36500d');
  });
});
