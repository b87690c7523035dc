import { hash } from 'node:crypto';
import type { NonceClaim } from './nonce-store.ts';

/** What a server knows of an owner of nonces. */
export interface Account {
  /** 128 bits, for the names of keys. */
  readonly name: string;
  /** Nonces of this owner that were claimed here and are not counted in Redis yet. */
  uncounted: number;
}

/** Of how many owners a server keeps accounts. With more it begins again, and forgets less than a step of each. */
const MOST_ACCOUNTS = 10_000;

/** One step in a thousand of what an owner may have: fifty servers together are wrong by 5 % at most. */
const STEPS = 1_000;

/**
 * Counts the nonces of owners in steps, because to count each in Redis would cost as much as to claim it. If an owner may have
 * fewer than 2,000, each is counted.
 */
export class NonceCharges {
  readonly #accounts = new Map<string, Account>();

  accountOf({ audience, owner, accessKeyId, presigned }: NonceClaim): Account {
    // An owner has nonces of requests and of presigned URLs, each with a bound of its own.
    const kind = presigned === true ? 'presigned' : 'requests';
    const text = `${kind}\n${audience}\n${owner ?? accessKeyId}`;
    let account = this.#accounts.get(text);
    if (account === undefined) {
      if (this.#accounts.size >= MOST_ACCOUNTS) this.#accounts.clear();
      const name = `${kind}:${hash('sha256', text, 'base64url').slice(0, 22)}`;
      account = { name, uncounted: 0 };
      this.#accounts.set(text, account);
    }
    return account;
  }

  /**
   * Takes what a claim should count for.
   *
   * @param limit the most live nonces of one owner
   * @returns how many nonces; none if the next claims will count for this one
   */
  take(account: Account, limit: number): number {
    const count = account.uncounted + 1;
    if (count < Math.floor(limit / STEPS)) return 0;
    account.uncounted = 0;
    return count;
  }

  /**
   * Settles what became of a claim.
   *
   * @param charge what {@link NonceCharges.take} gave
   */
  settle(account: Account, charge: number, isClaimed: boolean): void {
    if (charge === 0) account.uncounted += isClaimed ? 1 : 0;
    else if (!isClaimed) account.uncounted += charge - 1;
  }
}
