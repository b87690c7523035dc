import { quote } from '@countersign/shared';

/**
 * What was thrown, as an `Error`. Anything can be thrown, and Express takes `next(undefined)` for "go on" and `next('route')` for "skip
 * the rest of this route": a request that could not be verified would reach its handler.
 */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error
    ? thrown
    : new Error(`Something other than an Error was thrown: ${quote(thrown)}`);
}

/** Describes what was thrown, for a log. Never throws, whatever it is. */
export function describeThrown(thrown: unknown): string {
  try {
    return thrown instanceof Error ? String(thrown.stack ?? thrown.message) : quote(thrown);
  } catch {
    return 'an Error that cannot be read';
  }
}
