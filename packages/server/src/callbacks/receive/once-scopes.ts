import type { CallbackIdentity } from './callback-identity.ts';

/** By which secrets a callback could have been verified, and by which it was. */
export interface CallbackScopes {
  /**
   * The ids of all secrets in force: the next delivery of the callback may be signed with another.
   */
  readonly inForce: readonly string[];
  /** The id of the secret that verified it. */
  readonly signer: string;
}

/** Kept apart from the callback: what is derived of a secret must not get into logs. */
const scopes = new WeakMap<CallbackIdentity, CallbackScopes>();

/**
 * Records by which secrets a callback could have been verified. Ids of two receivers with secrets
 * of their own never meet, though their senders have one name.
 */
export function keepScopes(callback: CallbackIdentity, known: CallbackScopes): void {
  scopes.set(callback, known);
}

/** The ids of the secrets; one empty id if a callback was made up. */
export function scopesOf(callback: CallbackIdentity): CallbackScopes {
  return scopes.get(callback) ?? { inForce: [''], signer: '' };
}
