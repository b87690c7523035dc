import { quote, SignatureError } from '@countersign/shared';

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

/** An error of ioredis holds the command that failed, and that may have been AUTH: logs must not show the password. */
export function withoutCommand(error: unknown): unknown {
  if (!(error instanceof Error && 'command' in error)) return error;
  return Object.assign(new Error(error.message), { name: error.name });
}
