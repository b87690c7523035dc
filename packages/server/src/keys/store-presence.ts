import { quote } from '@countersign/shared';
import type { OperatorWarnings } from '../lib/operator-warning.ts';
import { KeyStoreError } from './key-store-error.ts';

/**
 * Whether a store exists. A store that has lost its records must not answer that a key does not
 * exist: clients would discard their credentials.
 */
export class StorePresence {
  readonly #where: string;
  readonly #loss: string;
  readonly #warnings: OperatorWarnings;
  #wasThere = false;
  /** The record whose loss was reported. */
  #lost: string | undefined;

  /**
   * @param where the name of the store in messages
   * @param loss what must have happened if the store existed before
   */
  constructor(where: string, loss: string, warnings: OperatorWarnings) {
    this.#where = where;
    this.#loss = loss;
    this.#warnings = warnings;
  }

  /** Whether this process has seen the store. Then it cannot be a new one. */
  get wasThere(): boolean {
    return this.#wasThere;
  }

  /** Records that the store exists. */
  found(): void {
    this.#wasThere = true;
    this.#warnings.end('COUNTERSIGN_KEY_STORE_EMPTY');
  }

  /** Records that a record exists. */
  foundRecord(name: string): void {
    if (name !== this.#lost) return;
    this.#lost = undefined;
    this.#warnings.end('COUNTERSIGN_KEY_STORE_RECORD_LOST');
  }

  /** Makes the error that the store is missing, and warns the operator. */
  missing(): KeyStoreError {
    const doubt = this.#wasThere ? '' : ', or no key was ever added';
    const add = this.#wasThere ? '' : 'add the first key, ';
    const message = `The key store at ${quote(this.#where, 200)} is empty: ${this.#loss}${doubt}. Restore the records, ${add}or create an empty store by name: createEmpty(), or countersign keys init`;
    this.#warnings.begin('COUNTERSIGN_KEY_STORE_EMPTY', { message, cause: 'empty' });
    return new KeyStoreError('ERR_STORE_EMPTY', message);
  }

  /**
   * Makes the error that a record is missing which must exist, and warns the operator once for all
   * such records.
   */
  missingRecord(name: string): KeyStoreError {
    const message = `The key store at ${quote(this.#where, 200)} has lost the record ${quote(name, 160)}: ${this.#loss}. Restore it; or revoke what it is of, or add it again`;
    this.#lost ??= name;
    this.#warnings.begin('COUNTERSIGN_KEY_STORE_RECORD_LOST', { message, cause: 'lost' });
    return new KeyStoreError('ERR_RECORD_LOST', message);
  }
}
