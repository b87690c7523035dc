import { BoundedMap } from '../lib/bounded-map.ts';
import type { NonceClaim } from '../verify/nonce-store.ts';

/** The widest limits that verifiers of one audience have claimed with. */
export interface Limits {
  /** Seconds for which a request lives. */
  readonly window: number;
  /** Seconds by which a request may be dated ahead. */
  readonly ahead: number;
}

type Claimed = Pick<
  NonceClaim,
  'audience' | 'signedAt' | 'acceptableFrom' | 'acceptableUntil' | 'presigned'
>;

/** More audiences than any server has. They come from options, so callers cannot fill the map. */
const MOST_AUDIENCES = 1_000;

/**
 * Verifiers that share a store can have different limits: one with a window of 300 s accepts a
 * request that is too old for another with 120 s. So a nonce is kept for the widest window.
 */
export class WidestLimits {
  readonly #limits = new BoundedMap<string, Limits>(MOST_AUDIENCES);

  /**
   * Records the limits that a claim was made with. A presigned URL itself says how long it lives,
   * so its lifetime does not count as a window.
   *
   * @returns the widest limits so far, and whether nonces were kept for a shorter time before
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

  /** @returns the widest limits so far */
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
