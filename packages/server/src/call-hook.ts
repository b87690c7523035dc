/**
 * Calls a hook for logs, which must decide neither what becomes of a request nor of the process: where it throws or rejects, a
 * process warning says so.
 *
 * @param code of the warning
 */
export function callHook<T>(hook: (told: T) => unknown, told: T, code: string): void {
  const warn = (error: unknown): void => process.emitWarning(String(error), { code });
  try {
    Promise.resolve(hook(told)).catch(warn);
  } catch (error) {
    warn(error);
  }
}
