import { hash } from 'node:crypto';
import { isEpoch, SignatureError, type SignatureParams } from '@countersign/shared';
import { lifetime, type Window } from './check-window.ts';
import type { AnyKey } from './choose-key.ts';
import type { ClaimOutcome, NonceClaim } from './nonce-store.ts';

/** What tells a request from all others of its key and audience. */
export interface RequestName {
  readonly audience: string;
  readonly nonce: string;
}

/**
 * Names a request: by its nonce, or by the string to sign. Never by the signature: whoever has one of ECDSA can make a second one of the
 * same bytes.
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

/** What is claimed for a request: its nonce, for as long as any server could accept it. */
export function nonceClaim(
  params: SignatureParams,
  { audience, nonce }: RequestName,
  { subject, session }: Pick<AnyKey, 'subject' | 'session'>,
  limits: Window,
): NonceClaim {
  const { accessKeyId, signedAt, epoch, inUrl } = params;
  const acceptableUntil = signedAt + lifetime(params, limits);
  // A store of the application's own may give a key without a subject.
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
 * Judges what a nonce store answered. Only `claimed` accepts the request: whatever else a store says refuses it.
 *
 * @param owner whose budget the nonce counts for, in the words of a refusal
 * @returns the store's epoch
 * @throws SignatureError `ERR_NONCE_REUSED`, `ERR_NONCE_UNCERTAIN`, `ERR_TOO_MANY_REQUESTS`, `ERR_SIGNATURE_EXPIRED`,
 *   `ERR_NONCE_STORE_FAILED`
 */
export function checkClaim(claim: ClaimOutcome, owner: string): string {
  // A store of somebody's own may answer anything, and what it calls its epoch goes into a header.
  if (!isEpoch(claim?.epoch)) throw noAnswer();
  switch (claim.outcome) {
    case 'claimed':
      return claim.epoch;
    case 'replayed':
      throw new SignatureError(
        'ERR_NONCE_REUSED',
        'The nonce was used before: sign every attempt anew',
        { epoch: claim.epoch },
      );
    case 'uncertain':
      throw new SignatureError(
        'ERR_NONCE_UNCERTAIN',
        'The nonce store cannot vouch for the time of this request: sign anew with its epoch',
        {
          epoch: claim.epoch,
          retryAfter: claim.retryAfter,
        },
      );
    case 'exhausted':
      throw new SignatureError(
        'ERR_TOO_MANY_REQUESTS',
        `Cannot accept more requests of ${owner} now: ${claim.limit} are remembered, the most of one owner (perSubject of the nonce store); wait ${claim.retryAfter} s, then sign again`,
        { epoch: claim.epoch, retryAfter: claim.retryAfter },
      );
    case 'stale':
      throw new SignatureError(
        'ERR_SIGNATURE_EXPIRED',
        'By the clock of the nonce store the request is too old: sign it anew',
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
    'The nonce store gave an answer that is none',
    { retryAfter: 1 },
  );
}
