import { FoundError } from '../lib/errors.ts';
import type { ListedKey } from './key-view.ts';

/**
 * Checks that all keys of a list could be read, so that a script notices a wrong master key. Call
 * it after the list was printed.
 *
 * @throws FoundError `ERR_RECORD_UNREADABLE`
 */
export function checkReadable(keys: readonly ListedKey[]): void {
  const unreadable = keys.filter(({ status }) => status === 'unreadable').length;
  if (unreadable === 0) return;
  const hint = unreadable === keys.length ? '. The master key may be the wrong one' : '';
  throw new FoundError(
    'ERR_RECORD_UNREADABLE',
    `Cannot read ${unreadable} of ${keys.length} access keys, so servers refuse them: run countersign keys show <id> for the reason${hint}`,
  );
}
