import { describe, expect, it } from 'vitest';
import { parseChallenges } from '../../src/send/challenges.ts';
import { findRetryReason } from '../../src/send/retry-reason.ts';

const OURS = 'COUNTERSIGN1-HMAC-SHA256 realm="video-api", error="replay-unknown"';

const read = (text: string) =>
  parseChallenges(text).map(({ scheme, params }) => [scheme, Object.fromEntries(params)]);

describe('parseChallenges()', () => {
  it.each([
    ['', []],
    [' , ,', []],
    ['Basic', [['basic', {}]]],
    ['Basic realm="a"', [['basic', { realm: 'a' }]]],
    ['Basic realm=a , charset = "UTF-8"', [['basic', { realm: 'a', charset: 'UTF-8' }]]],
    [
      'Negotiate YWJj==, Basic realm="a, b"',
      [
        ['negotiate', {}],
        ['basic', { realm: 'a, b' }],
      ],
    ],
    [
      'A b="c \\"d\\" \\\\", E',
      [
        ['a', { b: 'c "d" \\' }],
        ['e', {}],
      ],
    ],
    [
      'A, B x=1, y=2, C z=3',
      [
        ['a', {}],
        ['b', { x: '1', y: '2' }],
        ['c', { z: '3' }],
      ],
    ],
    ['A REALM="x"', [['a', { realm: 'x' }]]],
  ])('reads %j', (text, expected) => {
    expect(read(text)).toEqual(expected);
  });

  it.each([
    ['a parameter without a scheme', 'realm="a"'],
    ['a quote that does not end', 'A b="c'],
    ['a parameter twice', 'A b=1, b=2'],
    ['text behind a value', 'A b="c" d'],
    ['what is no token', 'A b="c", (d)'],
    ['a scheme that ends in another sign', 'A/b c=d'],
    ['more than 4,096 characters', `A b="${'c'.repeat(4_096)}"`],
  ])('believes nothing of a header with %s', (_, text) => {
    expect(read(text)).toEqual([]);
  });
});

describe('findRetryReason()', () => {
  it.each([
    ['alone', OURS],
    ['behind another', `Basic realm="x", ${OURS}`],
    ['in front of another', `${OURS}, Bearer error="invalid_token"`],
    ['in another order', 'countersign1-hmac-sha256 error=replay-unknown, realm=video-api'],
  ])('finds our challenge %s', (_, text) => {
    expect(findRetryReason(401, text, 'video-api')).toBe('epoch');
  });

  it.each([
    ['another audience', OURS.replace('video-api', 'back')],
    ['another scheme', OURS.replace('COUNTERSIGN1-HMAC-SHA256', 'Bearer')],
    ['no realm', 'COUNTERSIGN1-HMAC-SHA256 error="replay-unknown"'],
    ['our words in a string of another', `Basic realm="${OURS.replaceAll('"', '\\"')}"`],
    ['two of ours that differ', `${OURS}, ${OURS.replace('replay-unknown', 'signature-invalid')}`],
    ['a malformed header', `${OURS}, "`],
    ['nothing', ''],
  ])('finds nothing in a challenge of %s', (_, text) => {
    expect(findRetryReason(401, text, 'video-api')).toBeUndefined();
  });

  it('X4: the refusal of a service behind a gateway makes no client sign again', () => {
    // A gateway acted, and passes on the answer of the service behind it.
    const passedOn = OURS.replace('video-api', 'billing');
    for (const text of [passedOn, `${passedOn}, Basic realm="video-api"`, `Basic, ${passedOn}`])
      expect(findRetryReason(401, text, 'video-api')).toBeUndefined();
    expect(findRetryReason(401, passedOn, 'billing')).toBe('epoch');
  });

  it('believes a 401 only', () => {
    expect(findRetryReason(403, OURS, 'video-api')).toBeUndefined();
    expect(
      findRetryReason(401, OURS.replace('replay-unknown', 'signature-invalid'), 'video-api'),
    ).toBe('credentials');
  });
});
