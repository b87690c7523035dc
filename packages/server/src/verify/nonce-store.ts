/** A nonce that a verified request brings, and when that request can be accepted. */
export interface NonceClaim {
  readonly accessKeyId: string;
  readonly audience: string;
  readonly nonce: string;
  /**
   * Who may have only so many live nonces: the subject of the access key, the secret of a callback.
   * The access key if not given. Owners of two audiences are two.
   */
  readonly owner?: string | undefined;
  /**
   * Whether the nonce is that of a presigned URL, which may live for an hour. Its owner has room of
   * its own for those, so that they take none from requests.
   */
  readonly presigned?: boolean | undefined;
  /** Unix seconds: when the request says that it was signed. */
  readonly signedAt: number;
  /** Unix seconds: no server could have accepted the request before. */
  readonly acceptableFrom: number;
  /** Unix seconds: no server can accept the request after. The nonce is remembered until then at least. */
  readonly acceptableUntil: number;
  /** The epoch that the request echoes. */
  readonly epoch?: string | undefined;
}

/**
 * What became of a claim, and the epoch of the store, for the client to echo:
 * - `claimed`: never seen before. The only outcome with which a request is accepted.
 * - `replayed`: seen before.
 * - `uncertain`: the store may have forgotten it, or the request echoes another epoch. Signed anew with the epoch it is judged at
 *   once; without one after `retryAfter` seconds.
 * - `stale`: by the store's clock the request is too old.
 * - `early`: by the store's clock no server could have accepted the request yet.
 * - `exhausted`: the owner has as many live nonces as one owner may have, `limit`. There is room after `retryAfter` seconds, for a
 *   request that is signed again.
 */
export type ClaimOutcome =
  | { readonly outcome: 'claimed' | 'replayed' | 'stale' | 'early'; readonly epoch: string }
  | {
      readonly outcome: 'exhausted';
      readonly epoch: string;
      readonly retryAfter: number;
      readonly limit: number;
    }
  | { readonly outcome: 'uncertain'; readonly epoch: string; readonly retryAfter: number };

/** Where a verifier claims nonces. */
export interface NonceStore {
  /**
   * Claims a nonce: one atomic act, so that of any number of copies exactly one is `claimed`. It must settle
   * within a time of its own: a request waits for it.
   *
   * @returns a rejection means that the store failed, and the request is answered 503
   */
  claim(claim: NonceClaim): Promise<ClaimOutcome>;
}

/** Seconds by which the clocks of servers and store may differ without a nonce being forgotten too early. */
export const CLOCK_SLACK = 1;

/** Whether all times of a claim are times. One that is not has no place in comparisons: none of them would refuse it. */
export function hasTimes({ signedAt, acceptableFrom, acceptableUntil }: NonceClaim): boolean {
  return (
    Number.isFinite(signedAt) && Number.isFinite(acceptableFrom) && Number.isFinite(acceptableUntil)
  );
}
