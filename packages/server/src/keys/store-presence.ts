import { quote } from '@countersign/shared';
import { KeyStoreError } from './key-store-error.ts';

/**
 * Whether a store is there. A store that has lost its records must not say that there are no such
 * keys: clients would give up their credentials.
 */
export class StorePresence {
  readonly #where: string;
  readonly #loss: string;
  #wasThere = false;
  #isWarned = false;
  #isRecordWarned = false;

  /**
   * @param where the store, as messages name it
   * @param loss what must have happened if it was there
   */
  constructor(where: string, loss: string) {
    this.#where = where;
    this.#loss = loss;
  }

  /** Whether this process has seen the store: then it cannot be a new one. */
  get wasThere(): boolean {
    return this.#wasThere;
  }

  /** Notes that the store is there. */
  found(): void {
    this.#wasThere = true;
    this.#isWarned = false;
  }

  /** The error if the store is not there. It is a process warning, too: once, until the store is there again. */
  missing(): KeyStoreError {
    const doubt = this.#wasThere ? '' : ', or no key was ever added';
    const add = this.#wasThere ? '' : 'add the first key, ';
    const message = `The key store at ${quote(this.#where, 200)} is empty: ${this.#loss}${doubt}. Restore the records, ${add}or create an empty store by name: createEmpty(), or countersign keys init`;
    if (!this.#isWarned) warn(message);
    this.#isWarned = true;
    return new KeyStoreError('ERR_STORE_EMPTY', message);
  }

  /** The error if a record is not there that must be. It is a process warning, too: one for all records. */
  missingRecord(name: string): KeyStoreError {
    const message = `The key store at ${quote(this.#where, 200)} has lost the record ${quote(name, 160)}: ${this.#loss}. Restore it; or revoke what it is of, or add it again`;
    if (!this.#isRecordWarned) warn(message);
    this.#isRecordWarned = true;
    return new KeyStoreError('ERR_RECORD_LOST', message);
  }
}

/** Callers are told nothing but that they should try again: who runs the server must hear of it. */
function warn(message: string): void {
  process.emitWarning(message, { code: 'COUNTERSIGN_KEY_STORE' });
}
