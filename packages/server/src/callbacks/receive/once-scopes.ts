import type { CallbackIdentity } from './callback-identity.ts';

/** The secrets that were in force when a callback was verified, and the one that verified it. */
export interface CallbackScopes {
  /**
   * The ids of all secrets in force. The next delivery of the callback may be signed with another
   * one.
   */
  readonly inForce: readonly string[];
  /** The id of the secret that verified it. */
  readonly signer: string;
}

/** Kept apart from the callback, so that ids derived from secrets do not get into logs. */
const scopes = new WeakMap<CallbackIdentity, CallbackScopes>();

/**
 * Records the secrets for a callback. Two receivers with different secrets have different ids, even
 * if their senders have the same name.
 */
export function keepScopes(callback: CallbackIdentity, known: CallbackScopes): void {
  scopes.set(callback, known);
}

/** The ids of the secrets; one empty id if no verifier made the callback, as in tests. */
export function scopesOf(callback: CallbackIdentity): CallbackScopes {
  return scopes.get(callback) ?? { inForce: [''], signer: '' };
}
