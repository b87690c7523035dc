/** What went wrong where keys are kept: for programs, one heading each in `docs/keys.md`. */
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
 * Keys cannot be kept, or what is asked for cannot be done to them. Messages never hold a secret.
 *
 * @example
 * ```ts
 * import { MemoryKeyStore } from '@countersign/server';
 *
 * const { code } = await new MemoryKeyStore().disable('CSAK7Q2M5X9R4T8W3Y6Z0ABC').catch((error) => error);
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

/** Whether a change was made that may be lost again. */
export function isNotReplicated(error: unknown): boolean {
  return error instanceof KeyStoreError && error.code === 'ERR_NOT_REPLICATED';
}

/** Whether it is a record that cannot be opened, rather than a store that cannot be reached: it was changed or lost, or its master key is not there. */
export function isUnreadable(error: unknown): error is KeyStoreError {
  if (!(error instanceof KeyStoreError)) return false;
  return UNREADABLE.has(error.code);
}
