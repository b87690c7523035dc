/** What went wrong in a key store, for programs. `docs/keys.md` explains each code. */
export type KeyStoreErrorCode =
  | 'ERR_KEY_EXISTS'
  | 'ERR_KEY_INACTIVE'
  | 'ERR_KEY_NOT_FOUND'
  | 'ERR_KEY_REVOKED'
  | 'ERR_MASTER_KEY'
  | 'ERR_NOT_REPLICATED'
  | 'ERR_RECORD_LOST'
  | 'ERR_RECORD_UNREADABLE'
  | 'ERR_STORE_BUSY'
  | 'ERR_STORE_EMPTY'
  | 'ERR_STORE_FULL'
  | 'ERR_STORE_UNFIT'
  | 'ERR_STORE_WENT_BACK';

/**
 * A key store cannot do what it was asked for. Messages never show a secret.
 *
 * @example
 * ```ts
 * import { MemoryKeyStore } from '@countersign/server';
 *
 * const keys = new MemoryKeyStore();
 * const { code } = await keys.disable('CSAK7Q2M5X9R4T8W3Y6Z0ABC').catch((error) => error);
 * console.assert(code === 'ERR_KEY_NOT_FOUND');
 * ```
 */
export class KeyStoreError extends Error {
  override readonly name = 'KeyStoreError';
  readonly code: KeyStoreErrorCode;

  /**
   * @param code one of {@link KeyStoreErrorCode}
   * @param message what was wrong, with which value, and what to do
   */
  constructor(code: KeyStoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const UNREADABLE = new Set<KeyStoreErrorCode>([
  'ERR_MASTER_KEY',
  'ERR_RECORD_LOST',
  'ERR_RECORD_UNREADABLE',
]);

/** Whether a change was made that a failover may lose. */
export function isNotReplicated(error: unknown): boolean {
  return error instanceof KeyStoreError && error.code === 'ERR_NOT_REPLICATED';
}

/**
 * Whether a record cannot be opened: it was changed or lost, or its master key is missing. A store
 * that cannot be reached is another matter.
 */
export function isUnreadable(error: unknown): error is KeyStoreError {
  if (!(error instanceof KeyStoreError)) return false;
  return UNREADABLE.has(error.code);
}
