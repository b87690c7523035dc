import { quote, SignatureError } from '@countersign/shared';
import { storeFailed } from '../../verify/store-failed.ts';
import type { OnceState } from './once-store.ts';

/** The longest `Retry-After`, in seconds: an operator may raise the bound in the meantime. */
const LONGEST_RETRY = 3_600;

/**
 * The refusal of a callback for which there is no room. Its sender tries again, so it is not lost.
 */
export function storeFull(
  sender: string,
  { of, option, most, seconds }: Extract<OnceState, { state: 'full' }>,
): SignatureError {
  // In the positive, so that NaN becomes the shortest time.
  const retryAfter = seconds >= 1 ? Math.min(Math.ceil(seconds), LONGEST_RETRY) : 1;
  const advice = `raise ${quote(option)} of the store, or lower "remember" of createOnce()`;
  if (of === 'sender')
    return new SignatureError(
      'ERR_TOO_MANY_CALLBACKS',
      `Cannot remember another callback of sender ${quote(sender)}: it has ${most} of ${most}; ${advice}`,
      { retryAfter },
    );
  return new SignatureError(
    'ERR_NONCE_STORE_FAILED',
    `The store of handled callbacks is full: ${most} of ${most}; ${advice}`,
    { retryAfter },
  );
}

/** The sender only learns that it must try again. The cause is for the operator of the server. */
export function onceStoreFailed(cause: unknown): SignatureError {
  return storeFailed('nonce', cause, 'The store of handled callbacks failed');
}
