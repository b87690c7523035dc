import { KeyStoreError } from '@countersign/server';

const CODES: readonly string[] = ['ERR_MASTER_KEY', 'ERR_RECORD_LOST', 'ERR_RECORD_UNREADABLE'];

/** Whether only one record cannot be read. Its key or session can still be revoked. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof KeyStoreError && CODES.includes(error.code);
}
