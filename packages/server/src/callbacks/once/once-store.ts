/** What a store answers before a handler runs. */
export type OnceState =
  /** This run owns the callback, and no other run does, until its lease ends. */
  | { readonly state: 'begun' }
  /** Another run owns it. Its lease ends after so many seconds, unless the run renews it. */
  | { readonly state: 'in-progress'; readonly seconds: number }
  /** A handler has completed for it. */
  | { readonly state: 'done' }
  /**
   * There is no room for it: `most` are remembered, and the store forgets none of them early. The
   * next one expires after so many seconds.
   */
  | {
      readonly state: 'full';
      /** Whose bound it is: that of the sender, or that of the whole store. */
      readonly of: 'sender' | 'store';
      /** The option that sets the bound. */
      readonly option: string;
      readonly most: number;
      readonly seconds: number;
    };

/**
 * Whose callback it is. Each name has 43 characters. If the receiver has one secret, both names are
 * the same.
 */
export interface OnceScope {
  /** Names the sender and one of its secrets. The callback is kept under this name. */
  readonly id: string;
  /**
   * Names the sender and the secret that verified the callback: it counts for their share of the
   * store.
   */
  readonly countsFor: string;
}

/** The scope if the caller gives none: all such callbacks share one bound. */
export const NO_SCOPE: OnceScope = { id: '', countsFor: '' };

/**
 * Remembers which callbacks were handled. Each method is one atomic step. If the answer is lost,
 * the caller asks again, and must get the same answer. On any failure a method must reject: then
 * the sender is asked to try again.
 *
 * A callback has the same `scope.id` in each call, but not always the same `scope.countsFor`.
 */
export interface OnceStore {
  /**
   * Begins a run, if the callback is not done and no other run owns it.
   *
   * @param key names the callback: 43 characters
   * @param token names the run
   * @param lease seconds after which the run loses the callback, unless it calls `goOn`
   * @param scope whose callback it is: one sender must not use up the room of another
   */
  begin(key: string, token: string, lease: number, scope: OnceScope): Promise<OnceState>;
  /**
   * Renews the lease of a run. An ended lease is renewed, too, if no other run has taken the
   * callback.
   *
   * @returns whether this run owns the callback
   */
  goOn(key: string, token: string, lease: number, scope: OnceScope): Promise<boolean>;
  /**
   * Records that a handler has completed, even if another run owns the callback by now, and even if
   * the store is full: the work was done, and must not be done again. Kept for `remember` seconds.
   */
  finish(key: string, remember: number, scope: OnceScope): Promise<void>;
  /**
   * Gives the callback back after a run has failed: the next delivery runs. Does nothing if another
   * run owns it.
   */
  release(key: string, token: string, scope: OnceScope): Promise<void>;
}
