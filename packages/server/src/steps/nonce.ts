import { SignatureError, type SignatureParams } from '@countersign/shared';
import type { ClaimOutcome, NonceStore } from '../nonces/nonce-store.ts';
import { lifetime, type Window } from './window.ts';

/**
 * Claims the nonce of a request that is otherwise good. Only `claimed` accepts it: whatever else a store says, or fails
 * to say, refuses.
 *
 * @returns the store's epoch
 * @throws SignatureError `ERR_NONCE_REUSED`, `ERR_NONCE_UNCERTAIN`, `ERR_SIGNATURE_EXPIRED`, `ERR_NONCE_STORE_FAILED`
 */
export async function claimNonce(nonces: NonceStore, params: SignatureParams, limits: Window): Promise<string> {
  const { accessKeyId, audience, nonce, signedAt, epoch } = params;
  const acceptableFrom = signedAt - limits.ahead;
  const acceptableUntil = signedAt + lifetime(params, limits);
  let claim: ClaimOutcome;
  try {
    claim = await nonces.claim({ accessKeyId, audience, nonce, signedAt, acceptableFrom, acceptableUntil, epoch });
    if (claim.outcome === 'claimed') return claim.epoch;
  } catch (cause) {
    throw new SignatureError('ERR_NONCE_STORE_FAILED', 'The nonce store failed', { cause, retryAfter: 1 });
  }
  switch (claim.outcome) {
    case 'replayed':
      throw new SignatureError('ERR_NONCE_REUSED', 'The nonce was used before: sign every attempt anew', { epoch: claim.epoch });
    case 'uncertain':
      throw new SignatureError('ERR_NONCE_UNCERTAIN', 'The nonce store cannot vouch for the time of this request: sign anew with its epoch', {
        epoch: claim.epoch,
        retryAfter: claim.retryAfter,
      });
    case 'stale':
      throw new SignatureError('ERR_SIGNATURE_EXPIRED', 'By the clock of the nonce store the request is too old: sign it anew', {
        epoch: claim.epoch,
      });
    default:
      throw new SignatureError('ERR_NONCE_STORE_FAILED', 'The nonce store gave an answer that is none', { retryAfter: 1 });
  }
}
