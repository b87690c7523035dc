import type { SignatureParams } from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { checkClaim, nameRequest, nonceClaim } from '../../src/verify/claim-nonce.ts';
import type { ClaimOutcome } from '../../src/verify/nonce-store.ts';

const limits = { window: 120, ahead: 30, presignedMaxExpires: 600 };
const params: SignatureParams = {
  accessKeyId: 'key',
  audience: 'video-api',
  signedAt: 1_000,
  inUrl: false,
  covers: [],
  signedHeaders: [],
  nonce: 'nonce',
  epoch: 'epoch',
};
const name = { audience: 'video-api', nonce: 'nonce' };
const bytes = new Uint8Array([1, 2, 3]);
/** The first 16 bytes of the SHA-256 of these bytes, in base64url. */
const OF_BYTES = 'A5BYxvLAy0ksUzsKTRTvdw';

describe('nameRequest()', () => {
  it.each([
    ['both of the signature', {}, 'video-api', 'nonce'],
    ['the own audience without one', { audience: undefined }, 'own', 'nonce'],
    ['what was signed without a nonce', { nonce: undefined }, 'video-api', OF_BYTES],
    ['both without either', { audience: undefined, nonce: undefined }, 'own', OF_BYTES],
  ])('takes %s', (_, without, audience, nonce) => {
    expect(nameRequest({ ...params, ...without }, bytes, 'own')).toMatchObject({ audience, nonce });
  });
});

describe('nonceClaim()', () => {
  const ownerOf = (subject: string, parent?: string) => {
    const session = parent === undefined ? undefined : { parent };
    return nonceClaim(params, name, { subject, session }, limits).owner;
  };

  it('counts for the subject; without one for the key, or for that on which a session was lent', () => {
    expect(ownerOf('alice')).toBe('alice');
    expect(ownerOf('alice', 'parent')).toBe('alice');
    expect(ownerOf('', 'parent')).toBe('parent');
    expect(ownerOf('')).toBe('key');
  });

  it('claims for as long as any server could accept the request', () => {
    expect(nonceClaim(params, name, { subject: 'alice' }, limits)).toEqual({
      ...name,
      accessKeyId: 'key',
      owner: 'alice',
      presigned: false,
      signedAt: 1_000,
      acceptableFrom: 970,
      acceptableUntil: 1_120,
      epoch: 'epoch',
    });
  });
});

describe('checkClaim()', () => {
  const epoch = 'A'.repeat(16);
  const refusal = (claim: unknown): unknown => {
    try {
      return checkClaim(claim as ClaimOutcome, 'alice');
    } catch (error) {
      return error;
    }
  };

  it('gives the epoch of the store if the nonce is claimed', () => {
    expect(checkClaim({ outcome: 'claimed', epoch }, 'alice')).toBe(epoch);
  });

  it.each([
    ['replayed', {}, 'ERR_NONCE_REUSED', /^The nonce was used before: sign /],
    ['uncertain', { retryAfter: 7 }, 'ERR_NONCE_UNCERTAIN', /^The nonce store .* sign /],
    [
      'exhausted',
      { retryAfter: 7, limit: 9 },
      'ERR_TOO_MANY_REQUESTS',
      /^Cannot accept more requests of alice now: .*\b9 .*perSubject.* wait 7 s, then sign again$/,
    ],
    ['stale', {}, 'ERR_SIGNATURE_EXPIRED', /^By the clock of the nonce store .* too old: /],
    ['early', {}, 'ERR_SIGNATURE_NOT_YET_VALID', /^By the clock of the nonce store .* ahead: /],
  ])('refuses a nonce that is %s', (outcome, further, code, message) => {
    expect(refusal({ outcome, epoch, ...further })).toMatchObject({
      code,
      message: expect.stringMatching(message),
      epoch,
      ...('retryAfter' in further ? { retryAfter: 7 } : {}),
    });
  });

  it.each([
    ['undefined', undefined],
    ['no epoch', { outcome: 'claimed' }],
    ['an epoch that is none', { outcome: 'claimed', epoch: 'a\r\nb' }],
    ['another outcome', { outcome: 'granted', epoch }],
  ])('takes %s for a failure of the store', (_, claim) => {
    expect(refusal(claim)).toMatchObject({
      code: 'ERR_NONCE_STORE_FAILED',
      message: expect.stringContaining('nonce store'),
      retryAfter: 1,
    });
  });
});
