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
  /** What the server saw. Values of unsigned or confidential headers are left out. */
  readonly saw: string;
  readonly signed: boolean;
}

/**
 * Whether a request was accepted, and why. It is plain data without secrets: `JSON.stringify` makes
 * a log line of it.
 */
export interface Explanation {
  readonly outcome: 'accepted' | 'refused';
  /** Why it was refused. */
  readonly code?: SignatureErrorCode | undefined;
  /** The reason that the client was told. */
  readonly reason?: RefusalReason | undefined;
  readonly message?: string | undefined;
  /**
   * Each check: `passed`, `failed`, or `not made`. A check is not made if an earlier one failed,
   * and an explanation claims no nonce.
   */
  readonly checks: Readonly<Record<Check, 'passed' | 'failed' | 'not made'>>;
  readonly scheme?: string | undefined;
  /** The network address of the caller, if it is known. It is quoted if it is not plain text. */
  readonly clientAddress?: string | undefined;
  /** The epoch of the nonce store, if the store has refused the request. */
  readonly epoch?: string | undefined;
  /** The epoch that the request echoed. */
  readonly echoedEpoch?: string | undefined;
  readonly accessKeyId?: string | undefined;
  readonly subject?: string | undefined;
  readonly components: readonly Component[];
  /**
   * As this server built it, without confidential values. Compare it with the one that the client
   * signed.
   */
  readonly canonicalRequest?: string | undefined;
  readonly stringToSign?: string | undefined;
}
