/** A nonce that a verified request brings, and when that request can be accepted. */
export interface NonceClaim {
  readonly accessKeyId: string;
  readonly audience: string;
  readonly nonce: string;
  /**
   * Whose limit of live nonces this one counts for: the subject of the access key, or the secret of
   * a callback. The access key if not given. Each audience has its own owners.
   */
  readonly owner?: string | undefined;
  /**
   * Whether the nonce is of a presigned URL, which may live for an hour. They have a separate
   * limit, so that they take no room from requests.
   */
  readonly presigned?: boolean | undefined;
  /** Unix seconds: when the request was signed, as it says. */
  readonly signedAt: number;
  /** Unix seconds: no server accepts the request earlier. */
  readonly acceptableFrom: number;
  /**
   * Unix seconds: no server accepts the request later. The store keeps the nonce at least until
   * then.
   */
  readonly acceptableUntil: number;
  /** The epoch that the request echoes. */
  readonly epoch?: string | undefined;
}

/**
 * What became of a claim, and the epoch of the store, for the client to echo:
 * - `claimed`: never seen before. The only outcome with which a request is accepted.
 * - `replayed`: seen before.
 * - `uncertain`: the store may have forgotten the nonce, or the request echoes another epoch. The
 *   client can sign again with this epoch at once, or without an epoch after `retryAfter` seconds.
 * - `stale`: by the store's clock the request is too old.
 * - `early`: by the store's clock no server accepts the request yet.
 * - `exhausted`: the owner has `limit` live nonces, which is the most. After `retryAfter` seconds
 *   there is room for a request that is signed again.
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

/** The store in which a verifier claims nonces. */
export interface NonceStore {
  /**
   * Claims a nonce. A claim must be atomic, so that exactly one of any number of copies is
   * `claimed`. The store must have its own timeout, because a request waits for the answer.
   *
   * @returns a rejection means that the store failed; the request is answered 503
   */
  claim(claim: NonceClaim): Promise<ClaimOutcome>;
}

/**
 * Seconds by which the clocks of servers and store may differ. No nonce is forgotten too early
 * then.
 */
export const CLOCK_SLACK = 1;

/** Whether all times of a claim are finite numbers. Comparisons with NaN could accept a request. */
export function hasTimes({ signedAt, acceptableFrom, acceptableUntil }: NonceClaim): boolean {
  return (
    Number.isFinite(signedAt) && Number.isFinite(acceptableFrom) && Number.isFinite(acceptableUntil)
  );
}
