import { formatTimestamp, parseTimestamp } from '@countersign/shared';
import { describe, expect, it } from 'vitest';

describe('formatTimestamp()', () => {
  it.each([
    [0, '19700101T000000Z'],
    [1_795_299_926, '20261121T222526Z'],
    [1_795_299_926.999, '20261121T222526Z'],
    [951_782_400, '20000229T000000Z'],
    [253_402_300_799, '99991231T235959Z'],
  ])('writes %d as %s', (seconds, text) => expect(formatTimestamp(seconds)).toBe(text));

  it.each([
    -1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    253_402_300_800,
    undefined,
    '1795299926x',
  ] as number[])('refuses %s', (seconds) => {
    expect(() => formatTimestamp(seconds)).toThrow(
      expect.objectContaining({
        name: 'RangeError',
        message: expect.stringMatching(/^Cannot format time ".*": expected Unix seconds/),
      }),
    );
  });
});

describe('parseTimestamp()', () => {
  it('reads every day of 400 years back to the second that was written', () => {
    for (let day = 0; day < 146_097; day++) {
      const seconds = day * 86_400 + (day % 86_400);
      expect(parseTimestamp(formatTimestamp(seconds))).toBe(seconds);
    }
  });

  it.each([
    '20260229T000000Z',
    '20260431T000000Z',
    '21000229T000000Z',
    '20261301T000000Z',
    '20260001T000000Z',
    '20260100T000000Z',
    '20260101T240000Z',
    '20260101T006000Z',
    '20260101T000060Z',
    '19691231T235959Z',
    '',
    'x',
    '20261121t222526z',
    ' 20261121T222526Z',
    '20261121T222526Z ',
    '20261121T222526Z\n',
    '2026112１T222526Z',
  ])('refuses %j', (text) => {
    expect(() => parseTimestamp(text)).toThrow(
      expect.objectContaining({
        name: 'SignatureError',
        code: 'ERR_SIGNATURE_MALFORMED',
        message: expect.stringMatching(
          /^Cannot parse timestamp ".*": expected a UTC time such as 20261121T222526Z$/s,
        ),
      }),
    );
  });
});
