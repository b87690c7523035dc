import type { SignableRequest } from '@countersign/shared';
import type { FoundKey } from './choose-key.ts';
import type { Check } from './explanation.ts';
import type { SchemedSignature } from './read-signature.ts';

/** What the checks have seen so far, for an explanation. */
export interface Attempt {
  /** Unix seconds, when verification began. */
  readonly now: number;
  /** The check that is being made. */
  check: Check;
  /** The checks that were passed. Some are made twice. */
  readonly passed: Check[];
  /** The network address of the caller, as the application gives it. */
  clientAddress: unknown;
  request: SignableRequest | undefined;
  signed: SchemedSignature | undefined;
  /** The hash of a body, if the request does not declare it. */
  bodyHash: string | undefined;
  key: FoundKey | undefined;
  isReported: boolean;
}

/** @param now Unix seconds */
export function newAttempt(now: number): Attempt {
  return {
    now,
    check: 'syntax',
    passed: [],
    clientAddress: undefined,
    request: undefined,
    signed: undefined,
    bodyHash: undefined,
    key: undefined,
    isReported: false,
  };
}

/** Goes on to a check. The one before it was passed. */
export function goOn(attempt: Attempt, check: Check): void {
  attempt.passed.push(attempt.check);
  attempt.check = check;
}
