import { describe, expect, it } from 'vitest';
import { formatMinute, formatTime, parseTime } from '../../src/lib/time.ts';
import { NOW } from '../support.ts';

describe('parseTime()', () => {
  it.each([
    ['now', NOW],
    ['2026-11-24', NOW - 81_005],
    ['2026-11-24T22:30Z', NOW - 5],
    ['2026-11-24T22:30:05Z', NOW],
    ['2026-11-24T22:30:05.250Z', NOW + 0.25],
    ['2026-11-24T23:30:05+01:00', NOW],
    ['2026-11-24 22:30:05 UTC', NOW],
    ['2028-02-29', 1_835_395_200],
  ])('reads %s', (text, seconds) => expect(parseTime(text, NOW)).toBe(seconds));

  it('reads what formatTime() writes', () => expect(parseTime(formatTime(NOW), 0)).toBe(NOW));

  it.each([
    'tomorrow',
    '',
    '2026-11-24T22:30',
    '2026-02-30',
    '2026-13-01',
    '2026-11-24T25:00Z',
    '1969-12-31',
    '24.11.2026',
    '1795559405',
  ])('refuses "%s"', (text) => {
    expect(() => parseTime(text, NOW)).toThrow(
      `Cannot parse time "${text}": expected now, a day as 2026-11-24, or a time as 2026-11-24T22:30Z`,
    );
  });
});

describe('formatTime(), formatMinute()', () => {
  it('write UTC', () => {
    expect(formatTime(NOW + 0.9)).toBe('2026-11-24 22:30:05 UTC');
    expect(formatMinute(NOW)).toBe('2026-11-24 22:30');
  });
});
