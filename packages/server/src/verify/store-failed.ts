import { quote, SignatureError } from '@countersign/shared';
import { withoutCommand } from '../lib/without-command.ts';

/**
 * The refusal if a store failed. Callers hear only that it failed. The operator sees the cause.
 *
 * @param which the store
 * @param cause what the store threw
 * @param what the beginning of the message
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
