import { hash } from 'node:crypto';
import { BoundedMap } from '../../lib/bounded-map.ts';
import type { NonceClaim } from '../../verify/nonce-store.ts';

/** What a server knows of an owner of nonces. */
export interface Account {
  /** 128 bits, for the names of keys. */
  readonly name: string;
  /** Nonces of this owner that were claimed here and are not counted in Redis yet. Below zero if some were counted and not claimed. */
  uncounted: number;
  /** Unix seconds: the latest until which a request of these is acceptable. */
  until: number;
}

/** Nonces to count in Redis. */
export interface Charge {
  readonly count: number;
  /** Unix seconds: none of their requests is acceptable after. */
  readonly until: number;
}

/** The most owners of which a server keeps accounts. An account that is dropped loses less than a step. */
const MOST_ACCOUNTS = 10_000;

/** One step in a thousand of what an owner may have: fifty servers together are wrong by 5 % at most. */
const STEPS = 1_000;

/**
 * Counts the nonces of owners in steps, because to count each in Redis would cost as much as to claim it. If an owner may have
 * fewer than 2,000, each is counted, and so is each presigned URL.
 */
export class NonceCharges {
  readonly #accounts = new BoundedMap<string, Account>(MOST_ACCOUNTS);

  accountOf({ audience, owner, accessKeyId, presigned }: NonceClaim): Account {
    // An owner has nonces of requests and of presigned URLs, each with a bound of its own.
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
   * Records a claim before it is made, so that claims which come at once count for themselves.
   *
   * @param claimed until when, in Unix seconds, the nonce is remembered; the most live nonces of one owner
   * @returns what to count in Redis now, with this one; `undefined` if it is too early for that
   */
  take(
    account: Account,
    { until, isPresigned, limit }: { until: number; isPresigned: boolean; limit: number },
  ): Charge | undefined {
    this.add(account, { count: 1, until });
    // Presigned URLs live for a second or for days: counted in steps, those that live for long would
    // be forgotten with one that does not, or the other way round.
    const step = isPresigned ? 1 : Math.floor(limit / STEPS);
    if (account.uncounted < Math.max(1, step)) return undefined;
    const charge = { count: account.uncounted, until: account.until };
    account.uncounted = 0;
    account.until = 0;
    return charge;
  }

  /** Records what is not counted in Redis: also a charge that was not taken there. */
  add(account: Account, { count, until }: Charge): void {
    account.uncounted += count;
    account.until = Math.max(account.until, until);
  }
}
