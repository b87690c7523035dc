import { quote } from '@countersign/shared';

/**
 * Makes an `Error` of a thrown value. Code can throw any value. Express reads `next(undefined)` as
 * "go on" and `next('route')` as "skip the rest of this route", so a request that could not be
 * verified would reach its handler.
 */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error
    ? thrown
    : new Error(`Something other than an Error was thrown: ${quote(thrown)}`);
}

/** Describes a thrown value for a log. It never throws, whatever the value is. */
export function describeThrown(thrown: unknown): string {
  try {
    return thrown instanceof Error ? String(thrown.stack ?? thrown.message) : quote(thrown);
  } catch {
    return 'an Error that cannot be read';
  }
}
