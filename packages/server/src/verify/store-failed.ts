import { quote, SignatureError } from '@countersign/shared';
import { withoutCommand } from '../lib/without-command.ts';

/**
 * The refusal where a store failed. Only whoever runs the server sees why; callers are told that it is so.
 *
 * @param which it was
 * @param cause what it threw
 * @param what failed, as the message begins
 */
export function storeFailed(
  which: 'key' | 'nonce',
  cause: unknown,
  what = `The ${which} store failed`,
): SignatureError {
  const code = which === 'key' ? 'ERR_KEY_STORE_FAILED' : 'ERR_NONCE_STORE_FAILED';
  const why = cause instanceof Error ? cause.message : cause;
  return new SignatureError(code, `${what}: ${quote(why, 300)}`, {
    cause: withoutCommand(cause),
    retryAfter: 1,
  });
}
