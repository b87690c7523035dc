import { quote, SignatureError, type SignatureParams } from '@countersign/shared';
import { callHook } from '../lib/call-hook.ts';
import type { FailureBlock, FailureLimit, SignatureKind } from './failure-limit.ts';

/**
 * Refuses to verify a signature if too many from the same client address have failed.
 *
 * @param clientAddress the caller's network address; without one nothing is counted
 * @returns the refusal, `ERR_TOO_MANY_FAILURES`; `undefined` if the signature may be verified
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

/** Records that a signature was refused: it was wrong, or its key is unknown or inactive. */
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
 * The refusal. An attacker who guesses gets the same one thousands of times a second. To make a new
 * error with a stack each time would cost more than the rest of the refusal, so the last one is
 * used again. It is frozen because requests share it.
 */
function refusalOf(
  { of, seconds }: FailureBlock,
  accessKeyId: string,
  kind: SignatureKind,
): SignatureError {
  // The message does not name the address: behind a proxy it may be an internal one.
  const what = of === 'client address' ? '' : ` of access key ${quote(accessKeyId)}`;
  const subject = kind === 'headers' ? 'signatures' : 'presigned URLs';
  const message = `Cannot verify ${subject}${what} from this client address: too many have failed, wait ${seconds} s`;
  if (last?.message !== message) {
    const refusal = new SignatureError('ERR_TOO_MANY_FAILURES', message, { retryAfter: seconds });
    last = { message, refusal: Object.freeze(refusal) };
  }
  return last.refusal;
}

/** The application gives the address, so it may be anything. */
function isAddress(clientAddress: unknown): clientAddress is string {
  return typeof clientAddress === 'string' && clientAddress !== '';
}
