import { KeyStoreError } from '@countersign/server';

const CODES: readonly string[] = ['ERR_MASTER_KEY', 'ERR_RECORD_LOST', 'ERR_RECORD_UNREADABLE'];

/** Whether one record cannot be read, rather than the store: what it is of can be revoked. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof KeyStoreError && CODES.includes(error.code);
}
