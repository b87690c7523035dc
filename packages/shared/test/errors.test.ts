import { quote, SignatureError } from '@countersign/shared';
import { describe, expect, it } from 'vitest';

describe('SignatureError', () => {
  it('has the status, reason and retry of its code', () => {
    expect(new SignatureError('ERR_NONCE_STORE_FAILED', 'down')).toMatchObject({
      name: 'SignatureError',
      code: 'ERR_NONCE_STORE_FAILED',
      status: 503,
      reason: 'unavailable',
      retry: 're-signed',
    });
  });

  it('carries epoch, seconds and cause only if they are given', () => {
    const cause = new Error('underneath');
    expect(
      new SignatureError('ERR_NONCE_UNCERTAIN', 'x', { epoch: 'e', retryAfter: 7, cause }),
    ).toMatchObject({ epoch: 'e', retryAfter: 7, cause });
    const bare = new SignatureError('ERR_KEY_UNKNOWN', 'x');
    expect([bare.epoch, bare.retryAfter, 'cause' in bare]).toEqual([undefined, undefined, false]);
  });

  it('gives refusals that a stranger could probe the same reason', () => {
    const seen = (['ERR_KEY_UNKNOWN', 'ERR_KEY_INACTIVE', 'ERR_SIGNATURE_MISMATCH'] as const)
      .map((code) => new SignatureError(code, 'x'))
      .map(({ reason, status, retry }) => ({ reason, status, retry }));
    expect(new Set(seen.map((it) => JSON.stringify(it))).size).toBe(1);
  });
});

describe('quote()', () => {
  it.each([
    ['a', '"a"'],
    ['a"\n\u0000b', '"a\\"\\n\\u0000b"'],
    ['x'.repeat(100), `"${'x'.repeat(64)}…"`],
    [undefined, '"undefined"'],
    [['a', 'b'], '"a,b"'],
    [12, '"12"'],
  ])('writes %j as one short line', (value, text) => expect(quote(value)).toBe(text));

  it('writes symbols, and objects that String() cannot convert', () => {
    expect(quote(Object.create(null))).toMatch(/^".*"$/);
    expect(quote(Symbol('s'))).toBe('"Symbol(s)"');
  });
});
