/**
 * Every reason to refuse a request: the reason on the wire, the HTTP status, and whether the client
 * may send the request again. There is one table, so that a code means the same in all places.
 */
const refusals = {
  ERR_SIGNATURE_MISSING: { reason: 'signature-missing', status: 401, retry: 'no' },
  ERR_SIGNATURE_MALFORMED: { reason: 'signature-malformed', status: 400, retry: 'no' },
  ERR_SIGNATURE_AMBIGUOUS: { reason: 'signature-malformed', status: 400, retry: 'no' },
  ERR_TARGET_AMBIGUOUS: { reason: 'signature-malformed', status: 400, retry: 'no' },
  ERR_SIGNATURE_EXPIRED: { reason: 'clock-skew', status: 401, retry: 're-signed' },
  ERR_SIGNATURE_NOT_YET_VALID: { reason: 'clock-skew', status: 401, retry: 're-signed' },
  ERR_COMPONENT_NOT_COVERED: { reason: 'component-not-covered', status: 401, retry: 'no' },
  ERR_KEY_UNKNOWN: { reason: 'signature-invalid', status: 401, retry: 'no' },
  ERR_KEY_INACTIVE: { reason: 'signature-invalid', status: 401, retry: 'no' },
  ERR_SIGNATURE_MISMATCH: { reason: 'signature-invalid', status: 401, retry: 'no' },
  ERR_BODY_MISMATCH: { reason: 'body-mismatch', status: 401, retry: 'no' },
  ERR_NONCE_REUSED: { reason: 'nonce-reused', status: 401, retry: 're-signed' },
  ERR_NONCE_UNCERTAIN: { reason: 'replay-unknown', status: 401, retry: 're-signed' },
  ERR_SCOPE_MISSING: { reason: 'scope-missing', status: 403, retry: 'no' },
  ERR_BODY_TOO_LARGE: { reason: 'body-too-large', status: 413, retry: 'no' },
  ERR_KEY_STORE_FAILED: { reason: 'unavailable', status: 503, retry: 're-signed' },
  ERR_NONCE_STORE_FAILED: { reason: 'unavailable', status: 503, retry: 're-signed' },
  ERR_TOO_MANY_REQUESTS: { reason: 'too-many-requests', status: 429, retry: 'later' },
  ERR_TOO_MANY_FAILURES: { reason: 'too-many-failures', status: 429, retry: 'later' },
  ERR_TOO_MANY_CALLBACKS: { reason: 'too-many-callbacks', status: 429, retry: 'later' },
  ERR_BODY_CONSUMED: { reason: 'internal', status: 500, retry: 'no' },
} as const;

/** The stable name of a refusal, for programs. `docs/errors.md` has a heading for each. */
export type SignatureErrorCode = keyof typeof refusals;

/** The reason of a refusal on the wire. Refusals that an attacker could probe share one reason. */
export type RefusalReason = (typeof refusals)[SignatureErrorCode]['reason'];

/** What a refusal carries besides its code and message. */
export interface SignatureErrorOptions {
  /** The nonce store's epoch, for the client to echo. */
  readonly epoch?: string | undefined;
  /** Seconds until a new attempt can succeed. */
  readonly retryAfter?: number | undefined;
  /** The error that caused the refusal. It is never sent to the client. */
  readonly cause?: unknown;
}

/**
 * A request cannot be signed, or was refused.
 *
 * Messages name the wrong value, cut short. They never hold a secret, a signature or a token.
 *
 * @example
 * ```ts
 * import { SignatureError } from '@countersign/shared';
 *
 * const error = new SignatureError('ERR_SIGNATURE_EXPIRED', 'Signed 180 s ago, 120 s are allowed');
 * console.assert(error.status === 401 && error.reason === 'clock-skew');
 * console.assert(error.retry === 're-signed');
 * ```
 */
export class SignatureError extends Error {
  override readonly name = 'SignatureError';
  readonly code: SignatureErrorCode;
  /** The reason of this refusal on the wire. */
  readonly reason: RefusalReason;
  /** The HTTP status of the answer. */
  readonly status: number;
  /**
   * Whether the caller may try again: `re-signed` with a new signature, `later` after `retryAfter`
   * seconds.
   */
  readonly retry: 'no' | 're-signed' | 'later';
  /** The nonce store's epoch if it is known, for the client to echo. */
  readonly epoch: string | undefined;
  /** Seconds until a new attempt can succeed, if that is known. */
  readonly retryAfter: number | undefined;

  /**
   * @param code one of {@link SignatureErrorCode}
   * @param message what was wrong, with which value, and what to do
   */
  constructor(code: SignatureErrorCode, message: string, options: SignatureErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    const { reason, status, retry } = refusals[code];
    this.code = code;
    this.reason = reason;
    this.status = status;
    this.retry = retry;
    this.epoch = options.epoch;
    this.retryAfter = options.retryAfter;
  }

  /** The URL of the page that explains this refusal. */
  get help(): string {
    return `docs/errors.md#${this.code.toLowerCase()}`;
  }
}

/** Quotes a value for a message: escaped, so that it cannot forge a log line, and cut short. */
export function quote(value: unknown, longest = 64): string {
  const text = describe(value);
  return JSON.stringify(text.length > longest ? `${text.slice(0, longest)}…` : text);
}

function describe(value: unknown): string {
  try {
    return String(value);
  } catch {
    // An object without a prototype cannot be turned into text.
    return typeof value;
  }
}

/** The type of a value, for a message that must not show the value: it may be a secret. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/**
 * A wrong value for a message about an option. Text is quoted; of an object, only the type is
 * named.
 */
export function describeValue(value: unknown): string {
  if (typeof value === 'string')
    return /^[a-z][a-z\d+.-]*:\/\/[^/]*@/i.test(value) ? 'a URL with a user name' : quote(value);
  const isShown = value === null || (typeof value !== 'object' && typeof value !== 'function');
  return isShown ? String(value) : `of type ${kindOf(value)}`;
}
