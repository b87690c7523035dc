import { quote } from '@countersign/shared';
import type { OperatorWarnings } from '../lib/operator-warning.ts';
import { KeyStoreError } from './key-store-error.ts';

/** How many of its last changes a store remembers. A running server is never that many behind. */
export const KEPT_CHANGES = 64;

/** How many changes a store has seen, and which was the last one. */
export interface StoreState {
  /** The number of changes. */
  readonly count: number;
  /** The name of the last change, which no other has; `''` if there was none. */
  readonly last: string;
  /**
   * Milliseconds of Unix time at which the store was created, or an older copy was accepted. It
   * only grows.
   */
  readonly since: number;
}

/** What a store answers to a server that has seen it before. */
export interface StoreLook extends StoreState {
  /** Whether the store remembers the last change that the server has seen. */
  readonly isKnown: boolean;
}

const NOTHING_SEEN: StoreState = { count: 0, last: '', since: 0 };

/**
 * Which changes of a store a server has seen. If the store does not have them any more, an older
 * copy was restored. Keys and sessions that were revoked since are alive in that copy.
 */
export class StoreHistory {
  readonly #where: string;
  readonly #warnings: OperatorWarnings;
  #seen = NOTHING_SEEN;
  #isBack = false;

  /** @param where the name of the store in messages */
  constructor(where: string, warnings: OperatorWarnings) {
    this.#where = where;
    this.#warnings = warnings;
  }

  /** What the store is asked about. */
  get seen(): StoreState {
    return this.#seen;
  }

  /**
   * Whether the store has lost changes that this server has seen, and the operator has not accepted
   * it.
   */
  get isBack(): boolean {
    return this.#isBack;
  }

  /**
   * Records an announced change, if it directly follows the last one seen. Any other change is
   * learned from the next look.
   */
  recordChange(before: string, change: StoreState): void {
    if (this.#seen.last === '' || before !== this.#seen.last || this.#isBack) return;
    this.#seen = change;
  }

  /**
   * Records an answer of the store.
   *
   * @param asked what was seen when the question was sent: a change may have been announced since
   * @returns whether the store has all changes of `asked`
   */
  recordLook(asked: StoreState, look: StoreLook): boolean {
    const isWhole = this.#follows(asked, look);
    if (asked !== this.#seen) return isWhole;
    this.#isBack = !isWhole;
    // Callers are only told to try again, so the operator must be told the reason.
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
