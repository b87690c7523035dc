/** What a store says of a callback whose handler is about to run. */
export type OnceState =
  /** It is this run's: nobody else has it, for as long as its lease lasts. */
  | { readonly state: 'begun' }
  /** Another run has it, for so many seconds at most unless it goes on. */
  | { readonly state: 'in-progress'; readonly seconds: number }
  /** A handler has completed. */
  | { readonly state: 'done' };

/**
 * Where it is kept which callbacks were handled. Each method is one atomic act, and asked again after an answer was lost it gives the
 * same one. Whatever goes wrong must reject: the sender is then asked to try again.
 */
export interface OnceStore {
  /**
   * Begins a run, where the callback is not done and no other run has it.
   *
   * @param key names the callback: 43 characters
   * @param token names the run
   * @param lease seconds after which the run is taken for dead, if it does not go on
   */
  begin(key: string, token: string, lease: number): Promise<OnceState>;
  /**
   * Says that a run goes on: its lease begins anew, also where it was over and nobody had the callback since.
   *
   * @returns whether the callback is this run's
   */
  goOn(key: string, token: string, lease: number): Promise<boolean>;
  /** Says that a handler has completed, whoever has the callback by now: that is a fact. Kept for `remember` seconds. */
  finish(key: string, remember: number): Promise<void>;
  /** Says that a run has failed: the next delivery runs. Where the callback is not this run's any more, nothing happens. */
  giveUp(key: string, token: string): Promise<void>;
}
