import { FoundError } from '../lib/errors.ts';
import type { ListedKey } from './key-view.ts';

/**
 * Makes sure that all keys of a list could be read: a script must notice a wrong master key.
 *
 * @throws FoundError `ERR_RECORD_UNREADABLE`; call it after the list was printed
 */
export function checkReadable(keys: readonly ListedKey[]): void {
  const unreadable = keys.filter(({ status }) => status === 'unreadable').length;
  if (unreadable === 0) return;
  const hint = unreadable === keys.length ? '. The master key may be the wrong one' : '';
  throw new FoundError(
    'ERR_RECORD_UNREADABLE',
    `Cannot read ${unreadable} of ${keys.length} access keys, which servers refuse: countersign keys show <id> says why${hint}`,
  );
}
