import { hash } from 'node:crypto';
import { BoundedMap } from '../../lib/bounded-map.ts';
import type { NonceClaim } from '../../verify/nonce-store.ts';

/** What a server knows of an owner of nonces. */
export interface Account {
  /** A hash of 128 bits, for the names of keys in Redis. */
  readonly name: string;
  /**
   * How many nonces this server has claimed and not counted in Redis yet. Below zero if more were
   * counted than claimed.
   */
  uncounted: number;
  /** Unix seconds: no request of the uncounted nonces is acceptable later. */
  until: number;
}

/** Nonces to count in Redis. */
export interface Charge {
  readonly count: number;
  /** Unix seconds: no request of these nonces is acceptable later. */
  readonly until: number;
}

/**
 * How many accounts a server keeps at most. A dropped account loses the count of less than one
 * step.
 */
const MOST_ACCOUNTS = 10_000;

/**
 * A step is a thousandth of the limit of an owner. So fifty servers together are wrong by 5 % at
 * most.
 */
const STEPS = 1_000;

/**
 * Counts the nonces of owners in steps: to count each in Redis would cost as much as to claim it.
 * If the limit of an owner is below 2,000, each nonce is counted. Each presigned URL is always
 * counted.
 */
export class NonceCharges {
  readonly #accounts = new BoundedMap<string, Account>(MOST_ACCOUNTS);

  accountOf({ audience, owner, accessKeyId, presigned }: NonceClaim): Account {
    // Requests and presigned URLs of one owner have separate limits.
    const kind = presigned === true ? 'presigned' : 'requests';
    const text = `${kind}\n${audience}\n${owner ?? accessKeyId}`;
    let account = this.#accounts.get(text);
    if (account === undefined) {
      const name = `${kind}:${hash('sha256', text, 'base64url').slice(0, 22)}`;
      account = { name, uncounted: 0, until: 0 };
      this.#accounts.set(text, account);
    }
    return account;
  }

  /**
   * Records a claim before it is made, so that several claims at once are all counted.
   *
   * @param claimed the Unix seconds until which the nonce is kept; whether it is of a presigned
   * URL; the limit of one owner
   * @returns what to count in Redis now, including this nonce; `undefined` if the step is not full
   * yet
   */
  take(
    account: Account,
    { until, isPresigned, limit }: { until: number; isPresigned: boolean; limit: number },
  ): Charge | undefined {
    this.add(account, { count: 1, until });
    // A presigned URL lives for a second or for days. If several were counted together, their
    // counts would end together: too early for some, too late for others.
    const step = isPresigned ? 1 : Math.floor(limit / STEPS);
    if (account.uncounted < Math.max(1, step)) return undefined;
    const charge = { count: account.uncounted, until: account.until };
    account.uncounted = 0;
    account.until = 0;
    return charge;
  }

  /** Records nonces that are not counted in Redis, such as a charge that Redis did not accept. */
  add(account: Account, { count, until }: Charge): void {
    account.uncounted += count;
    account.until = Math.max(account.until, until);
  }
}
