import type { RefusalReason, SignatureErrorCode } from '@countersign/shared';

/** The checks of a verifier, in their order. */
export const CHECKS = [
  'syntax',
  'time',
  'failures',
  'coverage',
  'key',
  'signature',
  'body',
  'nonce',
] as const;

export type Check = (typeof CHECKS)[number];

/** One thing that a signature covers, or should. */
export interface Component {
  /** `method`, `path`, `query`, `header <name>`, `body hash` or `time`. */
  readonly component: string;
  /** What the server saw; values of headers that are not signed, or are confidential, are left out. */
  readonly saw: string;
  readonly signed: boolean;
}

/** What became of a request, and why. Plain data without a secret in it: `JSON.stringify` makes a log line of it. */
export interface Explanation {
  readonly outcome: 'accepted' | 'refused';
  /** Why it was refused. */
  readonly code?: SignatureErrorCode | undefined;
  /** The word that the client was told. */
  readonly reason?: RefusalReason | undefined;
  readonly message?: string | undefined;
  /** Each check: `passed`, `failed`, or `not made` because an earlier one failed or nothing is claimed for an explanation. */
  readonly checks: Readonly<Record<Check, 'passed' | 'failed' | 'not made'>>;
  readonly scheme?: string | undefined;
  /** The network address that the request came from, if it is known. One that is no plain text is quoted. */
  readonly clientAddress?: string | undefined;
  /** The epoch of the nonce store, if the store was asked and has refused the request. */
  readonly epoch?: string | undefined;
  /** The epoch that the request echoed. */
  readonly echoedEpoch?: string | undefined;
  readonly accessKeyId?: string | undefined;
  readonly subject?: string | undefined;
  readonly components: readonly Component[];
  /** As this server built it, confidential header values left out: hold it against the one that was signed. */
  readonly canonicalRequest?: string | undefined;
  readonly stringToSign?: string | undefined;
}
