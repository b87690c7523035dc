import { describeThrown } from './thrown.ts';
import type { WarningCode } from './warning-codes.ts';

/**
 * Calls a hook that only writes logs. If it throws or rejects, a process warning says so. Its
 * failure must neither change the answer to a request nor end the process.
 *
 * @param code of the warning
 */
export function callHook<T>(hook: (told: T) => unknown, told: T, code: WarningCode): void {
  try {
    watchPromise(hook(told), code);
  } catch (error) {
    warnOf(error, code);
  }
}

/**
 * Handles the rejection of a promise that no code awaits: a process warning says so. Otherwise Node
 * would end the process.
 *
 * @param result the value that a function of the application returned, a promise or not
 */
export function watchPromise(result: unknown, code: WarningCode): void {
  if (typeof result === 'object' && result !== null)
    Promise.resolve(result).catch((error) => warnOf(error, code));
}

function warnOf(error: unknown, code: WarningCode): void {
  process.emitWarning(describeThrown(error), { code });
}
