// The checks of a request, each by itself: what no whole request reaches, and what they say.

import type { SignatureParams, VerifyKey } from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { checkCoverage } from '../../src/verify/check-coverage.ts';
import { checkSignature } from '../../src/verify/check-signature.ts';
import { checkWindow, lifetime } from '../../src/verify/check-window.ts';
import type { AnyKey } from '../../src/verify/choose-key.ts';

describe('checkWindow()', () => {
  const limits = { window: 120, ahead: 30, presignedMaxExpires: 600 };
  const check = (params: Partial<SignatureParams>, now: number) =>
    checkWindow({ signedAt: 1_000, inUrl: false, ...params } as SignatureParams, limits, now);

  it('says by how many seconds a request is off, and how many are allowed', () => {
    expect(() => check({}, 1_121)).toThrow(/^The request was signed 121 s ago, 120 s are allowed/);
    expect(() => check({}, 969)).toThrow(
      /^The request is dated 31 s ahead of the server's clock, 30 s are allowed/,
    );
    expect(() => check({ inUrl: true, expiresIn: 601 }, 1_000)).toThrow(
      /^The URL asks for 601 s, at most 600 s are allowed$/,
    );
  });

  it('gives a URL that asks for no time the window of a request', () => {
    const params = { inUrl: true, expiresIn: undefined };
    expect(lifetime(params, limits)).toBe(120);
    check(params, 1_120);
    expect(() => check(params, 1_121)).toThrow(/^The request was signed 121 s ago/);
  });
});

describe('checkSignature()', () => {
  const accessKey = { accessKeyId: 'key' } as AnyKey;
  const flaw = { code: 'ERR_KEY_INACTIVE', text: 'it is revoked' } as const;
  const codeOf = (matches: unknown, key: AnyKey | undefined, why?: typeof flaw): unknown => {
    const verifyKey = { verify: () => matches } as unknown as VerifyKey;
    try {
      const bytes = new Uint8Array();
      return checkSignature(bytes, bytes, 'key', { verifyKey, accessKey: key, flaw: why });
    } catch (error) {
      return (error as { code: unknown }).code;
    }
  };

  it('gives the key only if the signature matches, the key is there and nothing is wrong with it', () => {
    expect(codeOf(true, accessKey)).toBe(accessKey);
    expect(codeOf(true, accessKey, flaw)).toBe('ERR_KEY_INACTIVE');
    expect(codeOf(true, undefined)).toBe('ERR_SIGNATURE_MISMATCH');
    for (const matches of [false, undefined, 1, 'true'])
      expect(codeOf(matches, accessKey)).toBe('ERR_SIGNATURE_MISMATCH');
  });
});

describe('checkCoverage()', () => {
  it('refuses the signature of a scheme that does not say which target it covers', () => {
    const covers = undefined as unknown as SignatureParams['covers'];
    const request = { headers: { raw: [] } } as unknown as Parameters<typeof checkCoverage>[0];
    expect(() => checkCoverage(request, { covers, signedHeaders: [] }, new Set())).toThrow(
      expect.objectContaining({ code: 'ERR_COMPONENT_NOT_COVERED' }),
    );
  });
});
