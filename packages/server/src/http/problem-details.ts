import { countersign, type RefusalReason, type SignatureError } from '@countersign/shared';

const titles: Record<RefusalReason, string> = {
  'signature-missing': 'The request is not signed',
  'signature-malformed': 'The signature or the request cannot be read in one way only',
  'clock-skew': 'The request was signed too long ago, or ahead of time',
  'component-not-covered': 'Something that must be signed is not',
  'signature-invalid': 'The access key or the signature is wrong',
  'body-mismatch': 'The body is not the one that was signed',
  'nonce-reused': 'The nonce was used before',
  'replay-unknown': 'Whether the nonce was used before cannot be told',
  'scope-missing': 'The access key may not do this',
  'body-too-large': 'The body is too large',
  'too-many-requests': 'Too many requests were made of this subject',
  'too-many-failures': 'Too many requests were refused',
  'too-many-callbacks': 'Too many callbacks of this sender are remembered',
  unavailable: 'The request cannot be verified at the moment',
  internal: 'The server is not set up to verify this request',
};

/** Refusals whose details could help an attacker. Their answer holds the title only. */
const WITHOUT_DETAIL = new Set<RefusalReason>([
  'signature-invalid',
  'too-many-callbacks',
  'unavailable',
  'internal',
]);

/** An answer to a refused request, ready to be written. */
export interface ProblemAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Writes `WWW-Authenticate` for a refusal. */
export type Challenge = (reason: RefusalReason) => string;

/**
 * Turns a refusal into the answer to it.
 *
 * @param audience the name of this service, told as the realm
 * @param challenge which signature the client is asked for: one of our own scheme if not given
 * @see RFC 9457 for the body, RFC 9110 section 11.6.1 for `WWW-Authenticate`
 */
export function problemOf(
  error: SignatureError,
  audience: string,
  challenge: Challenge = (reason) => countersign().challenge(audience, reason),
): ProblemAnswer {
  const { reason, status, retry, retryAfter, epoch } = error;
  const detail = WITHOUT_DETAIL.has(reason) ? undefined : error.message;
  const body = JSON.stringify({
    type: `urn:countersign:error:${reason}`,
    title: titles[reason],
    status,
    reason,
    retry,
    detail,
  });
  // Built by assignment, not by spreading. V8 would make a hidden class for each spread object, and
  // a flood of refusals would fill the old space of the heap with them.
  const headers: Record<string, string> = {
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
  };
  if (status === 401) headers['www-authenticate'] = challenge(reason);
  if (retryAfter !== undefined) headers['retry-after'] = String(Math.ceil(retryAfter));
  if (epoch !== undefined) headers['countersign-epoch'] = epoch;
  // This field is set last. If an earlier field cannot be written, the server gives another answer,
  // which has another length.
  headers['content-length'] = String(Buffer.byteLength(body));
  return { status, headers, body };
}
