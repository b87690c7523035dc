/** What errors of ioredis say beside their message: the command that failed, and the error of a node of a cluster, with its command. */
const TELLTALES = ['command', 'lastNodeError', 'previousErrors'];

/** The command that failed may have been AUTH: logs must not show the password. */
export function withoutCommand(error: unknown): unknown {
  if (!(error instanceof Error && TELLTALES.some((it) => it in error))) return error;
  return Object.assign(new Error(error.message), { name: error.name });
}
