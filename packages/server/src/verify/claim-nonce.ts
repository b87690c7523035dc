import { hash } from 'node:crypto';
import { isEpoch, SignatureError, type SignatureParams } from '@countersign/shared';
import { lifetime, type Window } from './check-window.ts';
import type { AnyKey } from './choose-key.ts';
import type { ClaimOutcome, NonceClaim } from './nonce-store.ts';

/** Identifies a request among all of its key and audience. */
export interface RequestName {
  readonly audience: string;
  readonly nonce: string;
}

/**
 * Names a request by its nonce, or by a hash of its string to sign. The signature cannot name it:
 * an attacker can turn an ECDSA signature into a second valid one for the same bytes.
 */
export function nameRequest(
  params: SignatureParams,
  stringToSign: Uint8Array,
  ownAudience: string,
): RequestName {
  const { audience, nonce } = params;
  if (audience !== undefined && nonce !== undefined) return params as RequestName;
  return {
    // The scheme was told the audience, and has refused others.
    audience: audience ?? ownAudience,
    nonce: nonce ?? hash('sha256', stringToSign, 'buffer').toString('base64url', 0, 16),
  };
}

/** The claim for a request: its nonce, for as long as any server could accept the request. */
export function nonceClaim(
  params: SignatureParams,
  { audience, nonce }: RequestName,
  { subject, session }: Pick<AnyKey, 'subject' | 'session'>,
  limits: Window,
): NonceClaim {
  const { accessKeyId, signedAt, epoch, inUrl } = params;
  const acceptableUntil = signedAt + lifetime(params, limits);
  // A key store of the application may give a key without a subject.
  const owner = subject || session?.parent || accessKeyId;
  return {
    accessKeyId,
    audience,
    nonce,
    owner,
    presigned: inUrl,
    signedAt,
    acceptableFrom: signedAt - limits.ahead,
    acceptableUntil,
    epoch,
  };
}

/**
 * Judges the answer of a nonce store. Only `claimed` accepts the request; every other answer
 * refuses it.
 *
 * @param owner whose limit the nonce counts for, as the message names it, such as `subject "alice"`
 * @returns the store's epoch
 * @throws SignatureError `ERR_NONCE_REUSED`, `ERR_NONCE_UNCERTAIN`, `ERR_TOO_MANY_REQUESTS`,
 * `ERR_SIGNATURE_EXPIRED`, `ERR_NONCE_STORE_FAILED`
 */
export function checkClaim(claim: ClaimOutcome, owner: string): string {
  // A store of the application may answer anything, and its epoch goes into a header.
  if (!isEpoch(claim?.epoch)) throw noAnswer();
  switch (claim.outcome) {
    case 'claimed':
      return claim.epoch;
    case 'replayed':
      throw new SignatureError(
        'ERR_NONCE_REUSED',
        'The nonce was used before: sign again for each attempt',
        { epoch: claim.epoch },
      );
    case 'uncertain':
      throw new SignatureError(
        'ERR_NONCE_UNCERTAIN',
        'The nonce store cannot rule out a replay: sign again with its epoch',
        {
          epoch: claim.epoch,
          retryAfter: claim.retryAfter,
        },
      );
    case 'exhausted':
      throw new SignatureError(
        'ERR_TOO_MANY_REQUESTS',
        `Cannot accept more requests of ${owner} now: it has ${claim.limit} live nonces, the most of one subject (perSubject of the nonce store); wait ${claim.retryAfter} s, then sign again`,
        { epoch: claim.epoch, retryAfter: claim.retryAfter },
      );
    case 'stale':
      throw new SignatureError(
        'ERR_SIGNATURE_EXPIRED',
        'By the clock of the nonce store the request is too old: sign it again',
        {
          epoch: claim.epoch,
        },
      );
    case 'early':
      throw new SignatureError(
        'ERR_SIGNATURE_NOT_YET_VALID',
        "By the clock of the nonce store the request is dated too far ahead: set the client's clock",
        { epoch: claim.epoch },
      );
    default:
      throw noAnswer();
  }
}

function noAnswer(): SignatureError {
  return new SignatureError(
    'ERR_NONCE_STORE_FAILED',
    'The answer of the nonce store cannot be read: expected { outcome, epoch }',
    { retryAfter: 1 },
  );
}
