import { describeThrown } from './thrown.ts';

/**
 * Calls a hook for logs, which must decide neither what becomes of a request nor of the process: if it throws or rejects, a
 * process warning says so.
 *
 * @param code of the warning
 */
export function callHook<T>(hook: (told: T) => unknown, told: T, code: string): void {
  try {
    watchPromise(hook(told), code);
  } catch (error) {
    warnOf(error, code);
  }
}

/**
 * Keeps a promise that nothing waits for from ending the process: if it rejects, a process warning says so.
 *
 * @param result what a function of the application returned, a promise or anything else
 */
export function watchPromise(result: unknown, code: string): void {
  if (typeof result === 'object' && result !== null)
    Promise.resolve(result).catch((error) => warnOf(error, code));
}

function warnOf(error: unknown, code: string): void {
  process.emitWarning(describeThrown(error), { code });
}
