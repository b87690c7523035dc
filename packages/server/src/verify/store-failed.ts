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

/** What errors of ioredis say beside their message: the command that failed, and the error of a node of a cluster, with its command. */
const TELLTALES = ['command', 'lastNodeError', 'previousErrors'];

/** The command that failed may have been AUTH: logs must not show the password. */
export function withoutCommand(error: unknown): unknown {
  if (!(error instanceof Error && TELLTALES.some((it) => it in error))) return error;
  return Object.assign(new Error(error.message), { name: error.name });
}
