import { quote, SignatureError } from '@countersign/shared';
import type { FailureLimit } from '../failures/failure-limit.ts';

/**
 * Refuses to verify a signature where too many have failed that came from the same source.
 *
 * @param source the caller's network address; without one there is nothing to count by
 * @throws SignatureError `ERR_TOO_MANY_FAILURES`
 */
export function checkFailures(
  failures: FailureLimit | undefined,
  source: string | undefined,
  accessKeyId: string,
): void {
  if (failures === undefined || !isSource(source)) return;
  const block = failures.check(source, accessKeyId);
  if (block === undefined) return;
  const { of, seconds } = block;
  // The address is not told: behind a proxy it may be one that nobody outside should know.
  const what = of === 'source' ? '' : ` of access key ${quote(accessKeyId)}`;
  const message = `Cannot verify signatures${what} from this source: too many have failed, wait ${seconds} s`;
  // Where it comes from is known, and to find out costs more than all the rest of a refusal.
  const { stackTraceLimit } = Error;
  // Not an assignment, which throws where intrinsics are frozen.
  Reflect.set(Error, 'stackTraceLimit', 0);
  const error = new SignatureError('ERR_TOO_MANY_FAILURES', message, { retryAfter: seconds });
  Reflect.set(Error, 'stackTraceLimit', stackTraceLimit);
  throw error;
}

/** Notes that a signature was refused: it did not match, or its key is unknown or inactive. */
export function noteFailure(
  failures: FailureLimit | undefined,
  source: string | undefined,
  accessKeyId: string,
): void {
  if (isSource(source)) failures?.note(source, accessKeyId);
}

/** What an application finds out about its callers may be anything. */
function isSource(source: unknown): source is string {
  return typeof source === 'string' && source !== '';
}
