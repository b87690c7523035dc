import type { ManagedKeyStore } from '@countersign/server';
import { isUnreadable } from './unreadable.ts';

/** What a revocation can reach in a store. */
export interface Reached {
  /** Access keys that were not revoked before. */
  readonly keys: number;
  readonly revokedBefore: number;
  /** Access keys whose records cannot be decrypted. They may be of any subject. */
  readonly unreadable: number;
  /** Whether a session may have been issued. Sessions are not stored: their number is unknown. */
  readonly sessions: boolean;
}

/** @param subject all subjects if not given */
export async function countReached(store: ManagedKeyStore, subject?: string): Promise<Reached> {
  const found = await store.list({ subject });
  const count = (...statuses: string[]) =>
    found.filter(({ status }) => statuses.includes(status)).length;
  return {
    keys: count('active', 'disabled'),
    revokedBefore: count('revoked'),
    unreadable: count('unreadable'),
    sessions: await hasSessions(store),
  };
}

/** Whether nothing can be revoked. Then the subject, the prefix or the file may be misspelt. */
export function isNothing({ keys, revokedBefore, unreadable, sessions }: Reached): boolean {
  return keys + revokedBefore + unreadable === 0 && !sessions;
}

export function countOf(keys: number): string {
  return keys === 1 ? '1 access key' : `${keys} access keys`;
}

/**
 * Whether a session may have been issued with the store. The probe is a session later than every
 * revocation. The store refuses it only if no session was ever issued with the store.
 */
async function hasSessions(store: ManagedKeyStore): Promise<boolean> {
  const latest = Number.MAX_SAFE_INTEGER;
  const probe = {
    accessKeyId: 'CSSK',
    parent: undefined,
    subject: '',
    issuedAt: latest,
    versions: { subject: latest, all: latest },
  };
  try {
    return !(await store.isSessionRevoked(probe));
  } catch (error) {
    // A record that cannot be read must not keep an operator from revoking.
    if (isUnreadable(error)) return true;
    throw error;
  }
}
