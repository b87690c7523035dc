import { SignatureError, type SignatureErrorCode } from '@countersign/server';
import { describe, expect, it } from 'vitest';
import { problemOf } from '../../src/http/problem-details.ts';

const table: [SignatureErrorCode, string, number, string][] = [
  ['ERR_SIGNATURE_MISSING', 'signature-missing', 401, 'no'],
  ['ERR_SIGNATURE_MALFORMED', 'signature-malformed', 400, 'no'],
  ['ERR_SIGNATURE_AMBIGUOUS', 'signature-malformed', 400, 'no'],
  ['ERR_TARGET_AMBIGUOUS', 'signature-malformed', 400, 'no'],
  ['ERR_SIGNATURE_EXPIRED', 'clock-skew', 401, 're-signed'],
  ['ERR_SIGNATURE_NOT_YET_VALID', 'clock-skew', 401, 're-signed'],
  ['ERR_COMPONENT_NOT_COVERED', 'component-not-covered', 401, 'no'],
  ['ERR_KEY_UNKNOWN', 'signature-invalid', 401, 'no'],
  ['ERR_KEY_INACTIVE', 'signature-invalid', 401, 'no'],
  ['ERR_SIGNATURE_MISMATCH', 'signature-invalid', 401, 'no'],
  ['ERR_BODY_MISMATCH', 'body-mismatch', 401, 'no'],
  ['ERR_NONCE_REUSED', 'nonce-reused', 401, 're-signed'],
  ['ERR_NONCE_UNCERTAIN', 'replay-unknown', 401, 're-signed'],
  ['ERR_SCOPE_MISSING', 'scope-missing', 403, 'no'],
  ['ERR_BODY_TOO_LARGE', 'body-too-large', 413, 'no'],
  ['ERR_KEY_STORE_FAILED', 'unavailable', 503, 're-signed'],
  ['ERR_NONCE_STORE_FAILED', 'unavailable', 503, 're-signed'],
  ['ERR_TOO_MANY_REQUESTS', 'too-many-requests', 429, 'later'],
  ['ERR_TOO_MANY_FAILURES', 'too-many-failures', 429, 'later'],
  ['ERR_BODY_CONSUMED', 'internal', 500, 'no'],
];

describe('problemOf()', () => {
  it.each(table)('answers %s as %s, %i', (code, reason, status, retry) => {
    const { headers, body, ...answer } = problemOf(
      new SignatureError(code, 'What was wrong'),
      'video-api',
    );
    expect(answer.status).toBe(status);
    const problem = JSON.parse(body);
    expect(problem).toMatchObject({
      type: `urn:countersign:error:${reason}`,
      status,
      reason,
      retry,
    });
    expect(problem.title).toMatch(/^[A-Z]/);
    expect(headers['content-type']).toBe('application/problem+json');
    expect(headers['cache-control']).toBe('no-store');
    const challenge = `COUNTERSIGN1-HMAC-SHA256 realm="video-api", error="${reason}"`;
    expect(headers['www-authenticate']).toBe(status === 401 ? challenge : undefined);
    const hidden = ['signature-invalid', 'unavailable', 'internal'].includes(reason);
    expect(problem.detail).toBe(hidden ? undefined : 'What was wrong');
  });

  it('sends the epoch, and when to come back, in whole seconds', () => {
    const error = new SignatureError('ERR_NONCE_UNCERTAIN', 'Sign again', {
      epoch: '0rUZxSUWbNHpOdEpVZTEgg',
      retryAfter: 1.2,
    });
    expect(problemOf(error, 'video-api').headers).toMatchObject({
      'countersign-epoch': '0rUZxSUWbNHpOdEpVZTEgg',
      'retry-after': '2',
    });
    const { headers } = problemOf(new SignatureError('ERR_SIGNATURE_MISSING', 'Sign'), 'video-api');
    expect(headers).not.toHaveProperty('countersign-epoch');
    expect(headers).not.toHaveProperty('retry-after');
  });

  it('never shows the cause of an error', () => {
    const error = new SignatureError('ERR_KEY_STORE_FAILED', 'The key store failed', {
      cause: new Error('redis://:secret@host'),
    });
    expect(JSON.stringify(problemOf(error, 'video-api'))).not.toContain('secret');
  });
});
