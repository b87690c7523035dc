import { quote } from '@countersign/shared';
import { checkCallbackUrl } from './callback-address.ts';
import type { CheckedEndpoint } from './callback-endpoint.ts';
import type { PostAnswer, Poster } from './poster.ts';
import type { DeliveryAttempt, DeliveryProgress, QueuedCallback } from './queue/callback-queue.ts';
import { parseRetryAfter } from './retry-schedule.ts';
import type { SenderSettings } from './sender-options.ts';
import { signAttempt } from './sign-attempt.ts';

/** The outcome of an attempt. */
export interface AttemptResult {
  readonly attempt: DeliveryAttempt;
  /** `gone` is 410: the receiver wants no more callbacks. */
  readonly outcome: 'delivered' | 'failed' | 'gone';
  /** Unix seconds: the receiver asked for no attempt before this time. */
  readonly retryAt: number | undefined;
}

const LONGEST_ERROR = 256;
/** The most characters of a `Location` that are kept: no endpoint has a longer URL. */
const LONGEST_LOCATION = 2_048;
/** The most characters of a `Location` inside an error message. */
const LONGEST_SHOWN = 200;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** Makes one attempt. It never rejects: a failure is a result too. */
export async function makeAttempt(
  callback: QueuedCallback,
  endpoint: CheckedEndpoint,
  progress: DeliveryProgress,
  { poster, settings }: { poster: Poster; settings: SenderSettings },
): Promise<AttemptResult> {
  const { clock, scheme, timeouts, maxResponse, keepResponse, maxRetryAfter } = settings;
  const at = clock();
  const seconds = () => Math.max(0, clock() - at);
  let signedAt: number | undefined;
  try {
    const address = await checkWithin(endpoint.url, settings);
    signedAt = unusedTime(Math.floor(clock()), endpoint, progress);
    const headers = {
      'user-agent': 'Countersign-Callbacks',
      ...(await signAttempt(callback, endpoint, { scheme, url: address.url, signedAt })),
    };
    const { body } = callback;
    const answer = await poster.post({ ...address, headers, body, timeouts, maxResponse });
    const { status } = answer;
    const response = toText(answer.body, keepResponse);
    return {
      attempt: { at, seconds: seconds(), signedAt, status, response, ...redirectOf(answer) },
      outcome: outcomeOf(status),
      retryAt: parseRetryAfter(answer.retryAfter, clock(), maxRetryAfter),
    };
  } catch (error) {
    return {
      attempt: { at, seconds: seconds(), signedAt, error: describe(error) },
      outcome: 'failed',
      retryAt: undefined,
    };
  }
}

/**
 * The same secret, id and second give the same signature. A receiver that accepts each signature
 * once would refuse a second attempt in the same second as a replay. So that attempt is dated a
 * second later. Requests signed with credentials do not need this: each has its own nonce.
 */
function unusedTime(
  now: number,
  { credentials }: CheckedEndpoint,
  { attempts }: DeliveryProgress,
): number {
  if (credentials !== undefined) return now;
  const used = new Set(attempts.map((attempt) => attempt.signedAt));
  let time = now;
  while (used.has(time)) time += 1;
  return time;
}

/**
 * The target of a redirect. The endpoint's owner must see it, because the sender does not follow
 * it.
 */
function redirectOf({ status, location }: PostAnswer): Pick<DeliveryAttempt, 'error' | 'location'> {
  if (!REDIRECTS.has(status)) return {};
  if (location === undefined)
    return { error: 'It redirects, which is not followed, and does not say where to' };
  const text = withoutControls(location.slice(0, LONGEST_LOCATION));
  const shown = quote(text, LONGEST_SHOWN);
  return {
    error: `It redirects to ${shown}, which is not followed: register that URL`,
    location: text,
  };
}

/** A redirect is a failure, because its target was not checked. */
function outcomeOf(status: number): AttemptResult['outcome'] {
  if (status >= 200 && status <= 299) return 'delivered';
  return status === 410 ? 'gone' : 'failed';
}

/**
 * The receiver chooses its DNS server. A slow one must not hold a place longer than a slow
 * connection.
 */
async function checkWithin(url: string, settings: SenderSettings) {
  const { connect } = settings.timeouts;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`Cannot find the addresses of the endpoint within ${connect} s`);
    timer = setTimeout(() => reject(error), connect * 1000);
  });
  try {
    return await Promise.race([checkCallbackUrl(url, settings), late]);
  } finally {
    clearTimeout(timer);
  }
}

function toText(bytes: Uint8Array, most: number): string {
  return withoutControls(new TextDecoder().decode(bytes.subarray(0, 4 * most)).slice(0, most));
}

/** A receiver wrote the text. Its control characters could forge lines in a log or a terminal. */
function withoutControls(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd');
}

function describe(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException;
  // If several addresses do not answer, Node leaves the message empty.
  const text = message || code || 'unknown';
  return text.slice(0, LONGEST_ERROR);
}
