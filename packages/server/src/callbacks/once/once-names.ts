import { hash } from 'node:crypto';
import type { CallbackIdentity } from '../receive/callback-identity.ts';
import { scopesOf } from '../receive/once-scopes.ts';
import type { OnceScope } from './once-store.ts';

/** A name of a callback in the store. */
export interface OnceName {
  readonly key: string;
  readonly scope: OnceScope;
}

/**
 * The names of a callback: its sender and id, with each secret that it could have been signed with.
 * While a secret is rotated there are two names, since the next delivery may be signed with either.
 */
export function onceNamesOf(callback: CallbackIdentity): OnceName[] {
  const { sender, id } = callback;
  const { inForce, signer } = scopesOf(callback);
  // No part can contain a line feed, so two lists of parts never have the same name.
  const nameOf = (...parts: string[]) => hash('sha256', parts.join('\n'), 'base64url');
  const countsFor = nameOf(sender, signer);
  return inForce
    .map((secret) => ({
      key: nameOf(sender, secret, id),
      scope: { id: nameOf(sender, secret), countsFor },
    }))
    .sort((one, other) => (one.key < other.key ? -1 : 1));
}
