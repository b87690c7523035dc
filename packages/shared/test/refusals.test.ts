import { readFileSync } from 'node:fs';
import { SignatureError, type SignatureErrorCode } from '@countersign/shared';
import { describe, expect, it } from 'vitest';

/** Clients and proxies act on these values, so each is part of the wire format. */
const REFUSALS: Record<SignatureErrorCode, [reason: string, status: number, retry: string]> = {
  ERR_SIGNATURE_MISSING: ['signature-missing', 401, 'no'],
  ERR_SIGNATURE_MALFORMED: ['signature-malformed', 400, 'no'],
  ERR_SIGNATURE_AMBIGUOUS: ['signature-malformed', 400, 'no'],
  ERR_TARGET_AMBIGUOUS: ['signature-malformed', 400, 'no'],
  ERR_SIGNATURE_EXPIRED: ['clock-skew', 401, 're-signed'],
  ERR_SIGNATURE_NOT_YET_VALID: ['clock-skew', 401, 're-signed'],
  ERR_COMPONENT_NOT_COVERED: ['component-not-covered', 401, 'no'],
  ERR_KEY_UNKNOWN: ['signature-invalid', 401, 'no'],
  ERR_KEY_INACTIVE: ['signature-invalid', 401, 'no'],
  ERR_SIGNATURE_MISMATCH: ['signature-invalid', 401, 'no'],
  ERR_BODY_MISMATCH: ['body-mismatch', 401, 'no'],
  ERR_NONCE_REUSED: ['nonce-reused', 401, 're-signed'],
  ERR_NONCE_UNCERTAIN: ['replay-unknown', 401, 're-signed'],
  ERR_SCOPE_MISSING: ['scope-missing', 403, 'no'],
  ERR_BODY_TOO_LARGE: ['body-too-large', 413, 'no'],
  ERR_KEY_STORE_FAILED: ['unavailable', 503, 're-signed'],
  ERR_NONCE_STORE_FAILED: ['unavailable', 503, 're-signed'],
  ERR_TOO_MANY_FAILURES: ['too-many-failures', 429, 'later'],
  ERR_TOO_MANY_REQUESTS: ['too-many-requests', 429, 'later'],
  ERR_TOO_MANY_CALLBACKS: ['too-many-callbacks', 429, 'later'],
  ERR_BODY_CONSUMED: ['internal', 500, 'no'],
};

describe('SignatureError', () => {
  it.each(Object.entries(REFUSALS))('%s is %j', (code, [reason, status, retry]) => {
    expect(new SignatureError(code as SignatureErrorCode, 'why')).toMatchObject({
      name: 'SignatureError',
      code,
      message: 'why',
      reason,
      status,
      retry,
    });
  });

  it('has a heading in docs/errors.md for each code, and `help` leads to it', () => {
    const text = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8');
    for (const code of Object.keys(REFUSALS)) {
      expect(text).toMatch(new RegExp(`^#+ \`?${code}\`?$`, 'm'));
      const { help } = new SignatureError(code as SignatureErrorCode, 'why');
      expect(help).toBe(`docs/errors.md#${code.toLowerCase()}`);
    }
  });
});
