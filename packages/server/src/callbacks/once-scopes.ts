import type { CallbackIdentity } from './callback-identity.ts';

/** Kept apart from the callback: what is derived of a secret must not get into logs. */
const scopes = new WeakMap<CallbackIdentity, readonly string[]>();

/**
 * Notes by which secrets a callback could have been verified. Ids of two receivers with secrets of
 * their own never meet, though their senders have one name.
 *
 * @param ids of all secrets that are in force, since the next delivery of the same callback may be
 * signed with another one
 */
export function keepScopes(callback: CallbackIdentity, ids: readonly string[]): void {
  scopes.set(callback, ids);
}

/** The ids of the secrets; one empty id if a callback was made up. */
export function scopesOf(callback: CallbackIdentity): readonly string[] {
  return scopes.get(callback) ?? [''];
}
