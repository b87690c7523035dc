/** What a store says of a callback whose handler is about to run. */
export type OnceState =
  /** It is this run's: nobody else has it, for as long as its lease lasts. */
  | { readonly state: 'begun' }
  /** Another run has it, for so many seconds at most unless it goes on. */
  | { readonly state: 'in-progress'; readonly seconds: number }
  /** A handler has completed. */
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

/** Whose callback it is. Both names have 43 characters. A callback that was verified with the only secret has the same name twice. */
export interface OnceScope {
  /** Names the sender and one of its secrets. The callback is kept under this name. */
  readonly id: string;
  /** Names the sender and the secret that verified the callback. Their bound counts it, so no other sender pays for it. */
  readonly countsFor: string;
}

/** Of a caller that tells no scope: all of these count together. */
export const NO_SCOPE: OnceScope = { id: '', countsFor: '' };

/**
 * Where it is kept which callbacks were handled. Each method is one atomic act, and asked again after an answer was lost it gives the
 * same one. Whatever goes wrong must reject: the sender is then asked to try again.
 *
 * A callback has the same `scope.id` in each call, but not always the same `scope.countsFor`.
 */
export interface OnceStore {
  /**
   * Begins a run, where the callback is not done and no other run has it.
   *
   * @param key names the callback: 43 characters
   * @param token names the run
   * @param lease seconds after which the run is taken for dead, if it does not go on
   * @param scope whose callback it is: one sender must not use up the room of another
   */
  begin(key: string, token: string, lease: number, scope: OnceScope): Promise<OnceState>;
  /**
   * Says that a run goes on: its lease begins anew, also where it was over and nobody had the callback since.
   *
   * @returns whether the callback is this run's
   */
  goOn(key: string, token: string, lease: number, scope: OnceScope): Promise<boolean>;
  /**
   * Says that a handler has completed, whoever has the callback by now: that is a fact. Kept for `remember` seconds, whatever the
   * bounds say.
   */
  finish(key: string, remember: number, scope: OnceScope): Promise<void>;
  /** Says that a run has failed: the next delivery runs. Where the callback is not this run's any more, nothing happens. */
  release(key: string, token: string, scope: OnceScope): Promise<void>;
}
