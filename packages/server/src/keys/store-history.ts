import { quote } from '@countersign/shared';
import type { OperatorWarnings } from '../lib/operator-warning.ts';
import { KeyStoreError } from './key-store-error.ts';

/** How many of its last changes a store remembers: a server that runs is never that far behind. */
export const KEPT_CHANGES = 64;

/** How far a store has come. */
export interface StoreState {
  /** How many changes there were. */
  readonly count: number;
  /** The name of the last one, which no other change has; `''` if there was none. */
  readonly last: string;
  /** Milliseconds of Unix time: when the store was made, or an older copy of it was accepted. It only grows. */
  readonly since: number;
}

/** What a store answers to who has seen it before. */
export interface StoreLook extends StoreState {
  /** Whether the store remembers the last change that was seen before. */
  readonly isKnown: boolean;
}

const NOTHING_SEEN: StoreState = { count: 0, last: '', since: 0 };

/**
 * What a server has seen of a store's changes. If the store does not have them any more, an older copy of it was restored: in that
 * copy live keys and sessions which were revoked since.
 */
export class StoreHistory {
  readonly #where: string;
  readonly #warnings: OperatorWarnings;
  #seen = NOTHING_SEEN;
  #isBack = false;

  /** @param where the store, as messages name it */
  constructor(where: string, warnings: OperatorWarnings) {
    this.#where = where;
    this.#warnings = warnings;
  }

  /** What to ask the store about. */
  get seen(): StoreState {
    return this.#seen;
  }

  /** Whether the store has lost what was seen of it, and the loss was not accepted. */
  get isBack(): boolean {
    return this.#isBack;
  }

  /** Records an announced change, if it is the next one after what was seen. A look tells about any other. */
  recordChange(before: string, change: StoreState): void {
    if (this.#seen.last === '' || before !== this.#seen.last || this.#isBack) return;
    this.#seen = change;
  }

  /**
   * Records an answer.
   *
   * @param asked what was seen when the store was asked: a change may have been announced meanwhile
   * @returns whether the store has all that was seen then
   */
  recordLook(asked: StoreState, look: StoreLook): boolean {
    const isWhole = this.#follows(asked, look);
    if (asked !== this.#seen) return isWhole;
    this.#isBack = !isWhole;
    // Callers are told nothing but that they should try again: the operator must hear of it.
    if (isWhole) this.#warnings.end('COUNTERSIGN_KEY_STORE_WENT_BACK');
    else this.#warnings.begin('COUNTERSIGN_KEY_STORE_WENT_BACK', { message: this.#message });
    const { count, last, since } = look;
    if (isWhole && last !== asked.last) this.#seen = { count, last, since };
    return isWhole;
  }

  error(): KeyStoreError {
    return new KeyStoreError('ERR_STORE_WENT_BACK', this.#message);
  }

  #follows(asked: StoreState, { count, since, isKnown }: StoreLook): boolean {
    if (asked.last === '') return true;
    if (since !== asked.since) return since > asked.since;
    return isKnown || (!this.#isBack && count - asked.count >= KEPT_CHANGES);
  }

  get #message(): string {
    return `The key store at ${quote(this.#where, 200)} went back in time: an older copy was restored, or a replica without the last changes took over. Keys and sessions may live in it that were revoked since. Revoke them again, then accept it: acceptRestore(), or countersign keys accept-restore`;
  }
}
