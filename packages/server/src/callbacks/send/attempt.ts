import { checkCallbackUrl } from './callback-address.ts';
import type { DeliveryAttempt, QueuedCallback } from './callback-queue.ts';
import type { CheckedEndpoint } from './endpoint.ts';
import type { Poster } from './pinned-post.ts';
import { parseRetryAfter } from './retry-schedule.ts';
import type { SenderPolicy } from './sender-options.ts';
import { signAttempt } from './sign-attempt.ts';

/** What came of an attempt. */
export interface AttemptResult {
  readonly attempt: DeliveryAttempt;
  /** `gone` is 410: the receiver wants nothing any more. */
  readonly outcome: 'delivered' | 'failed' | 'gone';
  /** Unix seconds: before which the receiver wants no other. */
  readonly retryAt: number | undefined;
}

const LONGEST_ERROR = 256;

/** Makes one attempt. Whatever goes wrong is its result. */
export async function makeAttempt(
  callback: QueuedCallback,
  endpoint: CheckedEndpoint,
  { poster, policy }: { poster: Poster; policy: SenderPolicy },
): Promise<AttemptResult> {
  const { clock, scheme, timeouts, maxResponse, keepResponse, maxRetryAfter } = policy;
  const at = clock();
  const seconds = () => Math.max(0, clock() - at);
  try {
    const address = await checkWithin(endpoint.url, policy);
    const signedAt = Math.floor(clock());
    const headers = {
      'user-agent': 'Countersign-Callbacks',
      ...signAttempt(callback, endpoint, { scheme, url: address.url, signedAt }),
    };
    const { body } = callback;
    const answer = await poster.post({ ...address, headers, body, timeouts, maxResponse });
    const { status } = answer;
    const response = toText(answer.body, keepResponse);
    return {
      attempt: { at, seconds: seconds(), status, response },
      outcome: outcomeOf(status),
      retryAt: parseRetryAfter(answer.retryAfter, clock(), maxRetryAfter),
    };
  } catch (error) {
    return {
      attempt: { at, seconds: seconds(), error: describe(error) },
      outcome: 'failed',
      retryAt: undefined,
    };
  }
}

/** A redirect is a failure: what is behind it nobody has checked. */
function outcomeOf(status: number): AttemptResult['outcome'] {
  if (status >= 200 && status <= 299) return 'delivered';
  return status === 410 ? 'gone' : 'failed';
}

/** DNS of the receiver's choice must not hold a place for longer than its connection may. */
async function checkWithin(url: string, policy: SenderPolicy) {
  const { connect } = policy.timeouts;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`Cannot find the addresses of the endpoint within ${connect} s`);
    timer = setTimeout(() => reject(error), connect * 1000);
  });
  try {
    return await Promise.race([checkCallbackUrl(url, policy), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Of a stranger: no control characters, which would forge lines where it is shown. */
function toText(bytes: Uint8Array, most: number): string {
  const text = new TextDecoder().decode(bytes.subarray(0, 4 * most));
  return text.slice(0, most).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd');
}

function describe(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException;
  // Several addresses, none of which answers: the message is empty.
  const text = message || code || 'unknown';
  return text.slice(0, LONGEST_ERROR);
}
