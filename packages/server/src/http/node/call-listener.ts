import type { IncomingMessage, ServerResponse } from 'node:http';
import { answerFailure } from './answer.ts';

/**
 * Calls a listener of the application. If it throws or rejects, the process must not end, and the
 * error must not get lost.
 */
export function callListener(
  req: IncomingMessage,
  res: ServerResponse,
  listener: () => unknown,
): void {
  const fail = (error: unknown): void =>
    answerFailure(req, res, error, 'COUNTERSIGN_LISTENER_FAILED');
  try {
    const running = listener();
    if (typeof running === 'object' && running !== null) Promise.resolve(running).catch(fail);
  } catch (error) {
    fail(error);
  }
}
