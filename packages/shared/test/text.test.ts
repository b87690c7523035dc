import {
  checkHost,
  encodeBase64Url,
  encodeHex,
  findSecretFlaw,
  findTextFlaw,
  isAccessKeyId,
  isAudience,
  isSha256Hex,
  parseTarget,
} from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { encodePercent } from '../src/percent-encoding.ts';

describe('parseTarget()', () => {
  it.each([
    ['', '/', ''],
    ['/', '/', ''],
    ['/a?b=c', '/a', 'b=c'],
    ['/a?', '/a?', ''],
    ['/a??', '/a', '?'],
    ['/a?b?c', '/a', 'b?c'],
    ['/a/..b/.c/d..', '/a/..b/.c/d..', ''],
    ['/a?x=/../y', '/a', 'x=/../y'],
    ['/%25', '/%25', ''],
  ])('splits %j and changes nothing', (target, path, query) =>
    expect(parseTarget(target)).toEqual({ path, query }),
  );

  it.each([
    'a',
    '*',
    'http://h/',
    '//h/',
    '/a b',
    '/\\',
    '/#',
    '/%',
    '/%0',
    '/%zz',
    '/%00',
    '/%ff',
    '/é',
    '/.',
    '/..',
    '/a/.',
    '/a/..?x',
    '/%2E',
    '/.%2e/a',
    '/a?%ff',
    '/a?x=%',
    `/${'a'.repeat(16_384)}`,
  ])('refuses %j', (target) => {
    expect(() => parseTarget(target)).toThrow(
      expect.objectContaining({
        code: 'ERR_TARGET_AMBIGUOUS',
        message: expect.stringContaining('Cannot sign request target'),
      }),
    );
  });
});

describe('checkHost()', () => {
  it.each([
    'localhost',
    'api.example.com',
    'API.example.com',
    'a_b.example',
    '127.0.0.1:8080',
    '[::1]',
    '[::ffff:127.0.0.1]:443',
    'xn--bcher-kva.example',
  ])('takes %s', (host) => expect(checkHost(host)).toBeUndefined());

  it.each([
    '',
    '.',
    'a.',
    '.a',
    'a..b',
    'a:',
    'a:0',
    'a:080',
    'a:123456',
    'a:b',
    'a/b',
    'a@b',
    'a b',
    'a,b',
    'é',
    '[::1',
    '::1',
    '[]',
    'a\n',
    'a'.repeat(300),
  ])('refuses %j', (host) => {
    expect(() => checkHost(host)).toThrow(
      expect.objectContaining({ code: 'ERR_TARGET_AMBIGUOUS' }),
    );
  });
});

const GOOD = 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA';

describe('findSecretFlaw()', () => {
  it('accepts generated secrets, and any 16 bytes that vary', () => {
    expect(findSecretFlaw('mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA')).toBeUndefined();
    expect(findSecretFlaw('correct horse ba')).toBeUndefined();
  });

  it.each([
    ['', 'it has 0 bytes'],
    ['fifteen bytes!!', 'it has 15 bytes'],
    ['aaaaaaaaaaaaaaaa', 'repeats'],
    ['abababababababab', 'repeats'],
    ['please-changeme-now', 'placeholder'],
    ['YOUR_SECRET_ACCESS_KEY', 'placeholder'],
    ['my-password-is-long', 'placeholder'],
    ['0123456789abcdefghij', 'placeholder'],
    [undefined, 'got undefined'],
    [null, 'got null'],
    [42, 'got number'],
    [new Uint8Array(32), 'got object'],
    [`${GOOD}\n`, 'begins or ends with a blank, a line break or a quote'],
    [`${GOOD}\0`, 'holds a control character'],
  ])('says what is wrong with %j', (secret, flaw) =>
    expect(findSecretFlaw(secret)).toContain(flaw),
  );
});

describe('findTextFlaw()', () => {
  const AROUND = 'it begins or ends with a blank, a line break or a quote';
  const INVISIBLE =
    'it holds a control character or one that cannot be seen, such as a byte order mark';

  it.each([
    ['a line break', `${GOOD}\n`, AROUND],
    ['a line break of Windows', `${GOOD}\r\n`, AROUND],
    ['a line break in front', `\n${GOOD}`, AROUND],
    ['a blank', `${GOOD} `, AROUND],
    ['a blank in front', ` ${GOOD}`, AROUND],
    ['a tab', `\t${GOOD}`, AROUND],
    ['a blank that does not break', `${GOOD}\u00a0`, AROUND],
    ['quotes', `"${GOOD}"`, AROUND],
    ['single quotes', `'${GOOD}'`, AROUND],
    ['backticks', `\`${GOOD}\``, AROUND],
    ['quotes of a word processor', `“${GOOD}”`, AROUND],
    ['quotes around lines', `"${GOOD}\n${GOOD}"`, AROUND],
    ['a byte order mark', `\ufeff${GOOD}`, INVISIBLE],
    ['UTF-16 that was read as bytes', [...GOOD].join('\0'), INVISIBLE],
    ['a line break in the middle', `${GOOD}\n${GOOD}`, INVISIBLE],
    ['a tab in the middle', `${GOOD}\t${GOOD}`, INVISIBLE],
    ['an escape sequence', `${GOOD}\u001b[0m${GOOD}`, INVISIBLE],
    ['a C1 control', `${GOOD}\u0085${GOOD}`, INVISIBLE],
    ['DEL', `${GOOD}\u007f${GOOD}`, INVISIBLE],
    ['a space without width', `${GOOD}\u200b`, INVISIBLE],
  ])('finds %s', (_, text, flaw) => expect(findTextFlaw(text)).toBe(flaw));

  it.each([
    GOOD,
    'correct horse battery staple',
    `it's "fine" in the middle`,
    `"said she`,
    'said she"',
    `"opens and closes'`,
    '密码密码密码 Größe',
    '',
  ])('takes what may be meant: %s', (text) => expect(findTextFlaw(text)).toBeUndefined());
});

describe('names', () => {
  it('isAccessKeyId() and isAudience() accept 1 to 128 characters of one alphabet', () => {
    for (const good of ['CSAK7Q2M5X9R4T8W3Y6Z0ABC', 'a', 'a.b_c-d', 'a'.repeat(128)])
      expect([isAccessKeyId(good), isAudience(good)]).toEqual([true, true]);
    for (const bad of ['', 'a/b', 'a b', 'a\n', 'é', 'a,b', 'a=b', 'a;b', '"', 'a'.repeat(129)])
      expect([isAccessKeyId(bad), isAudience(bad)]).toEqual([false, false]);
    expect([isAccessKeyId('urn:x'), isAudience('urn:x')]).toEqual([false, true]);
  });
});

describe('bytes', () => {
  it('encodeHex() and encodeBase64Url() equal those of Buffer, for every length and byte', () => {
    for (let length = 0; length < 70; length++) {
      const bytes = Uint8Array.from({ length }, (_, index) => (index * 37 + length * 11) & 255);
      expect(encodeHex(bytes)).toBe(Buffer.from(bytes).toString('hex'));
      expect(encodeBase64Url(bytes)).toBe(Buffer.from(bytes).toString('base64url'));
    }
  });

  it('isSha256Hex() accepts only 64 digits of lower-case hex', () => {
    expect(isSha256Hex('0123456789abcdef'.repeat(4))).toBe(true);
    for (const bad of [
      '',
      '0'.repeat(63),
      '0'.repeat(65),
      'A'.repeat(64),
      `${'0'.repeat(63)}g`,
      `${'0'.repeat(63)}\n`,
      '٠'.repeat(64),
    ])
      expect(isSha256Hex(bad)).toBe(false);
  });
});

describe('encodePercent()', () => {
  it('leaves the unreserved characters of RFC 3986 and no others', () => {
    const ascii = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code)).join('');
    const left = [...ascii].filter((character) => encodePercent(character) === character).join('');
    expect(left).toBe('-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~');
    expect(encodePercent("*!'()/ä")).toBe('%2A%21%27%28%29%2F%C3%A4');
  });
});
