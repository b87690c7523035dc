import { describe, expect, it } from 'vitest';
import {
  formatCredential,
  isAccessKeyId,
  isAudience,
  parseCredential,
} from '../src/credential-scope.ts';

const CREDENTIAL = 'CSAK7Q2M5X9R4T8W3Y6Z0ABC/20261121/video-api/countersign1_request';
const LONGEST = 'a'.repeat(128);

describe('parseCredential()', () => {
  it('reads what formatCredential() writes', () => {
    expect(parseCredential(CREDENTIAL)).toEqual({
      text: CREDENTIAL,
      accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
      date: '20261121',
      audience: 'video-api',
    });
    const scope = { date: '20261121', audience: LONGEST };
    const longest = formatCredential(LONGEST, scope);
    expect(parseCredential(longest)).toEqual({ text: longest, accessKeyId: LONGEST, ...scope });
  });

  it.each([
    '',
    `${CREDENTIAL} `,
    `${CREDENTIAL}\n`,
    `${CREDENTIAL}/`,
    `${CREDENTIAL}2`,
    ` ${CREDENTIAL}`,
    `/${CREDENTIAL}`,
    CREDENTIAL.replace('20261121', '2026112'),
    CREDENTIAL.replace('20261121', '202611211'),
    CREDENTIAL.replace('20261121', '2026112x'),
    CREDENTIAL.replace('video-api', ''),
    CREDENTIAL.replace('video-api', 'video/api'),
    CREDENTIAL.replace('video-api', `${LONGEST}a`),
    CREDENTIAL.replace('CSAK7Q2M5X9R4T8W3Y6Z0ABC', ''),
    CREDENTIAL.replace('CSAK7Q2M5X9R4T8W3Y6Z0ABC', `${LONGEST}a`),
    CREDENTIAL.replace('CSAK', 'CS AK'),
    CREDENTIAL.replace('countersign1', 'countersign2'),
    CREDENTIAL.replace('countersign1', 'COUNTERSIGN1'),
  ])('refuses %j', (text) => {
    expect(() => parseCredential(text)).toThrow(
      expect.objectContaining({
        code: 'ERR_SIGNATURE_MALFORMED',
        message: expect.stringContaining('Cannot parse credential "'),
      }),
    );
  });
});

describe('names', () => {
  it.each([
    ['a', true, true],
    [LONGEST, true, true],
    ['a-b.c_d', true, true],
    ['a:b', false, true],
    [`${LONGEST}a`, false, false],
    ['', false, false],
    ['a/b', false, false],
    ['a b', false, false],
    ['a\n', false, false],
    ['ä', false, false],
  ])('%j: of an access key %s, of a service %s', (text, isId, isService) => {
    expect([isAccessKeyId(text), isAudience(text)]).toEqual([isId, isService]);
  });
});
