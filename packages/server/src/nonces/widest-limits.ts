import { BoundedMap } from '../lib/bounded-map.ts';
import type { NonceClaim } from '../verify/nonce-store.ts';

/** The widest limits that verifiers of one audience have claimed with. */
export interface Limits {
  /** Seconds for which a request lives. */
  readonly window: number;
  /** Seconds that a request may be dated ahead. */
  readonly ahead: number;
}

type Claimed = Pick<
  NonceClaim,
  'audience' | 'signedAt' | 'acceptableFrom' | 'acceptableUntil' | 'presigned'
>;

/** More audiences than any server has: they come from options, not from callers. */
const MOST_AUDIENCES = 1_000;

/**
 * Verifiers that share a store can have other limits: one with a window of 300 s accepts what another with 120 s takes for stale. So
 * a nonce is kept for as long as the widest window lasts.
 */
export class WidestLimits {
  readonly #limits = new BoundedMap<string, Limits>(MOST_AUDIENCES);

  /**
   * Records the limits that a claim was made with. A presigned URL says itself for how long it lives.
   *
   * @returns the widest so far, and whether nonces were kept for less before
   */
  record(claim: Claimed): Limits & { readonly isWider: boolean } {
    const { audience, signedAt, acceptableFrom, acceptableUntil, presigned } = claim;
    const known = this.#limits.get(audience);
    const window = presigned === true ? 0 : Math.max(0, acceptableUntil - signedAt);
    const ahead = Math.max(0, signedAt - acceptableFrom);
    const widest = this.widen(audience, { window, ahead });
    const isWider = known !== undefined && known.window > 0 && widest.window > known.window;
    return { ...widest, isWider };
  }

  /** @returns the widest so far */
  widen(audience: string, { window, ahead }: Limits): Limits {
    const known = this.#limits.get(audience);
    if (known !== undefined && window <= known.window && ahead <= known.ahead) return known;
    const widest = {
      window: Math.max(window, known?.window ?? 0),
      ahead: Math.max(ahead, known?.ahead ?? 0),
    };
    this.#limits.set(audience, widest);
    return widest;
  }
}
