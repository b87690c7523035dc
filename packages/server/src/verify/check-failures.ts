import { quote, SignatureError, type SignatureParams } from '@countersign/shared';
import { callHook } from '../lib/call-hook.ts';
import type { FailureBlock, FailureLimit, SignatureKind } from './failure-limit.ts';

/**
 * The refusal to verify a signature where too many have failed that came from the same client address: `ERR_TOO_MANY_FAILURES`.
 *
 * @param clientAddress the caller's network address; without one there is nothing to count by
 */
export function failureRefusal(
  failures: FailureLimit | undefined,
  clientAddress: string | undefined,
  params: SignatureParams,
): SignatureError | undefined {
  if (failures === undefined || !isAddress(clientAddress)) return undefined;
  const { accessKeyId } = params;
  const kind = kindOf(params);
  const block = failures.check(clientAddress, accessKeyId, kind);
  return block === undefined ? undefined : refusalOf(block, accessKeyId, kind);
}

/** Records that a signature was refused: it did not match, or its key is unknown or inactive. */
export function recordFailure(
  failures: FailureLimit | undefined,
  clientAddress: string | undefined,
  params: SignatureParams,
): void {
  if (!isAddress(clientAddress)) return;
  const { accessKeyId } = params;
  callHook(
    (kind) => failures?.record(clientAddress, accessKeyId, kind),
    kindOf(params),
    'COUNTERSIGN_FAILURES',
  );
}

function kindOf({ inUrl }: SignatureParams): SignatureKind {
  return inUrl === true ? 'presigned' : 'headers';
}

let last: { readonly message: string; readonly refusal: SignatureError } | undefined;

/**
 * Whoever guesses is refused in the same words thousands of times a second. To make the error anew, and to find out each time where
 * it comes from, would cost more than all the rest of the refusal; as requests share it, nobody may write into it.
 */
function refusalOf(
  { of, seconds }: FailureBlock,
  accessKeyId: string,
  kind: SignatureKind,
): SignatureError {
  // The address is not told: behind a proxy it may be one that nobody outside should know.
  const what = of === 'client address' ? '' : ` of access key ${quote(accessKeyId)}`;
  const subject = kind === 'headers' ? 'signatures' : 'presigned URLs';
  const message = `Cannot verify ${subject}${what} from this client address: too many have failed, wait ${seconds} s`;
  if (last?.message !== message) {
    const refusal = new SignatureError('ERR_TOO_MANY_FAILURES', message, { retryAfter: seconds });
    last = { message, refusal: Object.freeze(refusal) };
  }
  return last.refusal;
}

/** What an application finds out about its callers may be anything. */
function isAddress(clientAddress: unknown): clientAddress is string {
  return typeof clientAddress === 'string' && clientAddress !== '';
}
