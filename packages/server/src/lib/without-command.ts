/**
 * Fields that ioredis adds to its errors: the command that failed, and the errors of nodes of a
 * cluster with their commands.
 */
const TELLTALES = ['command', 'lastNodeError', 'previousErrors'];

/**
 * An error without the command that failed. That may have been AUTH, and logs must not show the
 * password.
 */
export function withoutCommand(error: unknown): unknown {
  if (!(error instanceof Error && TELLTALES.some((it) => it in error))) return error;
  return Object.assign(new Error(error.message), { name: error.name });
}
