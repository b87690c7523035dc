import type { IncomingMessage, ServerResponse } from 'node:http';
import { answerFailure } from './answer.ts';

/** The process warning if a listener of the application throws or rejects. */
export const LISTENER_FAILED = 'COUNTERSIGN_LISTENER_FAILED';

/**
 * Calls a listener of the application. If it throws or rejects, the process must not end, and the
 * error must not get lost.
 */
export function callListener(
  req: IncomingMessage,
  res: ServerResponse,
  listener: () => unknown,
): void {
  watchListener(listener, (error) => answerFailure(req, res, error, LISTENER_FAILED));
}

/** Calls a listener of the application, and `fail` if it throws or rejects. */
export function watchListener(listener: () => unknown, fail: (error: unknown) => void): void {
  try {
    const running = listener();
    if (typeof running === 'object' && running !== null) Promise.resolve(running).catch(fail);
  } catch (error) {
    fail(error);
  }
}
