import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto';
import { standardWebhooks } from '@countersign/server/callbacks';
import { readHeaders } from '@countersign/shared';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const scheme = standardWebhooks();
const SECRET = `whsec_${Buffer.alloc(24, 'countersign').toString('base64')}`;
const PARAMS = { id: 'msg_2KWPBgLlAfxdpx2AI54pPJ85f4W', signedAt: 1_674_087_231 };
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A key pair of node:crypto, as the format writes it. */
function ed25519() {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const { d = '', x = '' } = privateKey.export({ format: 'jwk' });
  const [seed, point] = [Buffer.from(d, 'base64url'), Buffer.from(x, 'base64url')];
  const whole = Buffer.concat([seed, point]);
  return {
    privateKey,
    publicKey,
    whsk: `whsk_${seed.toString('base64')}`,
    whsk64: `whsk_${whole.toString('base64')}`,
    whpk: `whpk_${point.toString('base64')}`,
  };
}

function headers(fields: Record<string, string> = {}) {
  return readHeaders({
    'webhook-id': PARAMS.id,
    'webhook-timestamp': String(PARAMS.signedAt),
    'webhook-signature': 'v1,AAAA',
    ...fields,
  });
}

describe('standardWebhooks()', () => {
  it('signs what the specification gives as its example', () => {
    // Of the reference libraries' own tests.
    const key = scheme.parseKey('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
    const params = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', signedAt: 1_614_265_330 };
    const content = scheme.content(params, bytes('{"test": 2432232314}'));
    expect(key.sign?.(content)).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  });

  it('signs bytes: the bodies ff and fe differ', () => {
    const key = scheme.parseKey(SECRET);
    const of = (byte: number) => key.sign?.(scheme.content(PARAMS, Uint8Array.of(byte)));
    expect(of(0xff)).not.toBe(of(0xfe));
  });

  it('writes what it reads', () => {
    const ids = fc.stringMatching(/^[!-\-/-~]{1,256}$/);
    fc.assert(
      fc.property(ids, fc.nat(), fc.uint8Array(), (id, signedAt, body) => {
        const key = scheme.parseKey(SECRET);
        const content = scheme.content({ id, signedAt }, body);
        const written = scheme.write?.({ id, signedAt }, [key.sign?.(content) ?? '']) ?? {};
        const received = scheme.read(readHeaders(written));
        expect(received).toMatchObject({ id, signedAt });
        expect(
          key.verify(scheme.content(received ?? PARAMS, body), received?.signatures ?? []),
        ).toBe(true);
      }),
    );
  });

  it('never gives two callbacks one content', () => {
    const one = fc.record({
      id: fc.stringMatching(/^[0-9a]{1,3}$/),
      signedAt: fc.nat(99),
      body: fc.stringMatching(/^[0-9.]{0,6}$/),
    });
    fc.assert(
      fc.property(one, one, (a, b) => {
        fc.pre(JSON.stringify(a) !== JSON.stringify(b));
        const [left, right] = [a, b].map((it) =>
          Buffer.from(scheme.content(it, bytes(it.body))).toString(),
        );
        expect(left).not.toBe(right);
      }),
      { numRuns: 1_000 },
    );
  });

  it('verifies what node:crypto signs with Ed25519, and the other way round', () => {
    const { privateKey, publicKey, whsk, whsk64, whpk } = ed25519();
    const content = scheme.content(PARAMS, Uint8Array.of(0xff, 0));
    const theirs = `v1a,${sign(null, content, privateKey).toString('base64')}`;
    for (const text of [whpk, whsk, whsk64]) {
      expect(scheme.parseKey(text).verify(content, ['v1,AAAA', theirs])).toBe(true);
      expect(scheme.parseKey(text).verify(content, [theirs.replace('v1a,', 'v1,')])).toBe(false);
    }
    for (const text of [whsk, whsk64]) {
      const ours = scheme.parseKey(text).sign?.(content) ?? '';
      expect(ours).toBe(theirs);
      expect(
        verify(
          null,
          content,
          createPublicKey(publicKey.export({ format: 'pem', type: 'spki' })),
          Buffer.from(ours.slice(4), 'base64'),
        ),
      ).toBe(true);
    }
    expect(scheme.parseKey(whpk).sign).toBeUndefined();
  });

  it('accepts one good signature among others, wherever it stands', () => {
    const key = scheme.parseKey(SECRET);
    const content = scheme.content(PARAMS, bytes('{}'));
    const good = key.sign?.(content) ?? '';
    const bad = `v1,${Buffer.alloc(32).toString('base64')}`;
    for (const signatures of [[good], [good, bad], [bad, good], ['v9,x', good, 'v1a,x']])
      expect(key.verify(content, signatures)).toBe(true);
    for (const signatures of [[], [bad], [''], [good.slice(3)], [`${good}=`], [good.slice(0, -1)]])
      expect(key.verify(content, signatures)).toBe(false);
  });

  /** Bytes that are random enough, so that nothing else is wrong with them. */
  const bytesOf = (length: number): string =>
    Buffer.from(Array.from({ length }, (_, index) => 31 * index + 7)).toString('base64');
  const PREFIX = 'it begins with none of "whsec_", "whpk_" and "whsk_"';
  const notBase64 = (prefix: string) => `what follows "${prefix}" is not canonical base64`;
  const AROUND = 'it begins or ends with a blank, a line break or a quote';
  const REPEATS = 'it repeats a few bytes';

  it.each([
    ['nothing', '', PREFIX],
    ['no prefix', SECRET.slice(6), PREFIX],
    ['another prefix', SECRET.replace('whsec_', 'whsec-'), PREFIX],
    ['a prefix in capitals', SECRET.replace('whsec_', 'WHSEC_'), PREFIX],
    ['no text', 42 as unknown as string, PREFIX],
    ['a space in front', ` ${SECRET}`, AROUND],
    ['a line feed', `${SECRET}\n`, AROUND],
    [
      'a line feed inside',
      `whsec_${bytesOf(24).slice(0, 16)}\n${bytesOf(24).slice(16)}`,
      'it holds a control character or one that cannot be seen, such as a byte order mark',
    ],
    ['a missing padding', `whsec_${bytesOf(25).replace(/=+$/, '')}`, notBase64('whsec_')],
    [
      'base64url',
      `whsec_${Buffer.from(Array.from({ length: 24 }, (_, index) => 255 - index)).toString('base64url')}`,
      notBase64('whsec_'),
    ],
    [
      'bits that are not there',
      `whsec_${bytesOf(25).replace(/.(?===)/, '9')}`,
      notBase64('whsec_'),
    ],
    ['a prefix only', 'whsec_', 'it has 0 bytes, 24 to 64 are expected after "whsec_"'],
    ['23 bytes', `whsec_${bytesOf(23)}`, 'it has 23 bytes, 24 to 64 are expected after "whsec_"'],
    ['65 bytes', `whsec_${bytesOf(65)}`, 'it has 65 bytes, 24 to 64 are expected after "whsec_"'],
    [
      'a public key of 31 bytes',
      `whpk_${bytesOf(31)}`,
      'it has 31 bytes, 32 are expected after "whpk_"',
    ],
    [
      'a public key of 33 bytes',
      `whpk_${bytesOf(33)}`,
      'it has 33 bytes, 32 are expected after "whpk_"',
    ],
    ...[31, 33, 63, 65].map((length): [string, string, string] => [
      `a private key of ${length} bytes`,
      `whsk_${bytesOf(length)}`,
      `it has ${length} bytes, 32 or 64 are expected after "whsk_"`,
    ]),
    [
      'halves that do not belong together',
      `whsk_${bytesOf(64)}`,
      'its public half does not belong to its private half',
    ],
    ['24 zeros', `whsec_${Buffer.alloc(24).toString('base64')}`, REPEATS],
    ['one letter again and again', `whsec_${Buffer.alloc(32, 'k').toString('base64')}`, REPEATS],
    ['5 different bytes', `whsec_${Buffer.alloc(30, 'abcde').toString('base64')}`, REPEATS],
    ['a private key of zeros', `whsk_${Buffer.alloc(32).toString('base64')}`, REPEATS],
    [
      'a public key of zeros',
      `whpk_${Buffer.alloc(32).toString('base64')}`,
      'it is a point of small order: an attacker could sign with it, without a private key',
    ],
  ])('parseKey() refuses %s, and does not show it', (_, text, why) => {
    // The whole message, so nothing of the key is in it.
    expect(() => scheme.parseKey(text)).toThrow(new TypeError(`Cannot read callback key: ${why}`));
  });

  it.each([24, 64])('parseKey() takes %i bytes, and 6 different ones', (length) => {
    const content = Buffer.from('x');
    for (const base64 of [bytesOf(length), Buffer.alloc(length, 'abcdef').toString('base64')]) {
      const key = scheme.parseKey(`whsec_${base64}`);
      expect(key.verify(content, [key.sign?.(content) ?? ''])).toBe(true);
    }
  });

  it('parseKey() refuses public keys under which an attacker could sign', () => {
    // Eight points have a small order (RFC 8032 section 5.1), and some of them can be written in more ways than one.
    const p = 2n ** 255n - 19n;
    const pow = (base: bigint, exponent: bigint): bigint => {
      let result = 1n;
      for (let b = base, e = exponent; e > 0n; e >>= 1n, b = (b * b) % p)
        if (e & 1n) result = (result * b) % p;
      return result;
    };
    const root = pow(2n, (p - 1n) / 4n);
    const d = (-121_665n * pow(121_666n, p - 2n)) % p;
    // Of order eight is what doubles to an ordinate of zero: y² = (-1 ± √(1 + d)) / d.
    const sqrt = (n: bigint): bigint => {
      const x = pow(n, (p + 3n) / 8n);
      return (x * x - n) % p === 0n ? x : (x * root) % p;
    };
    const mod = (n: bigint): bigint => ((n % p) + p) % p;
    const eighths = [1n, -1n]
      .map((sign) => mod((-1n + sign * sqrt(mod(1n + d))) * pow(mod(d), p - 2n)))
      .map((square) => ({ square, y: sqrt(square) }))
      .filter(({ square, y }) => mod(y * y) === square)
      .flatMap(({ y }) => [y, p - y]);
    expect(eighths).toHaveLength(2);
    for (const y of [0n, 1n, p - 1n, p, p + 1n, ...eighths]) {
      for (const sign of [0n, 1n]) {
        const hex = (y | (sign << 255n)).toString(16).padStart(64, '0');
        const point = Buffer.from(hex, 'hex').reverse();
        expect(() => scheme.parseKey(`whpk_${point.toString('base64')}`)).toThrow(
          'an attacker could sign with it',
        );
      }
    }
  });

  it('read() leaves alone what carries no signature of this form', () => {
    expect(
      scheme.read(readHeaders({ 'webhook-id': 'msg_1', 'x-hub-signature-256': 'x' })),
    ).toBeUndefined();
  });

  it.each([
    ['an id with a full stop', { 'webhook-id': 'a.1' }],
    ['an empty id', { 'webhook-id': '' }],
    ['an id with a space', { 'webhook-id': 'a b' }],
    ['an id of 257 characters', { 'webhook-id': 'a'.repeat(257) }],
    ['an id beyond ASCII', { 'webhook-id': 'ä' }],
    ...['', '-1', '+1', '1.5', '1e3', '0x10', '01', ' ', '1 2', 'NaN', '9'.repeat(13)].map(
      (time): [string, Record<string, string>] => [
        `the time "${time}"`,
        { 'webhook-timestamp': time },
      ],
    ),
    ['17 signatures', { 'webhook-signature': 'v1,A '.repeat(17).trim() }],
    ['4,097 characters of signature', { 'webhook-signature': 'v'.repeat(4_097) }],
  ])('read() refuses %s', (_, fields) => {
    expect(() => scheme.read(headers(fields))).toThrow(
      expect.objectContaining({ code: 'ERR_SIGNATURE_MALFORMED' }),
    );
  });

  it('read() refuses what occurs twice or not at all', () => {
    for (const name of ['webhook-id', 'webhook-timestamp', 'webhook-signature']) {
      const twice = readHeaders([...headers().raw, name, 'x']);
      expect(() => scheme.read(twice)).toThrow(
        expect.objectContaining({ code: 'ERR_SIGNATURE_AMBIGUOUS' }),
      );
    }
    for (const name of ['webhook-id', 'webhook-timestamp']) {
      const { raw } = headers();
      const at = raw.indexOf(name);
      const without = readHeaders(raw.filter((_, index) => index !== at && index !== at + 1));
      expect(() => scheme.read(without)).toThrow(
        expect.objectContaining({ code: 'ERR_SIGNATURE_MALFORMED' }),
      );
    }
  });

  it('write() refuses what read() would', () => {
    expect(() => scheme.write?.({ id: 'a.b', signedAt: 1 }, [])).toThrow(
      new TypeError(
        'Cannot write callback id "a.b": expected 1 to 256 visible ASCII characters without "."',
      ),
    );
    for (const signedAt of [1.5, -1, Number.NaN])
      expect(() => scheme.write?.({ id: 'a', signedAt }, [])).toThrow(
        new RangeError(`Cannot write callback time "${signedAt}": expected whole Unix seconds`),
      );
  });
});
