import { quote } from '@countersign/shared';
import type { OperatorWarnings } from '../../../lib/operator-warning.ts';
import { isNoAnswer, reasonOf } from '../../../lib/redis/reachable.ts';

/** The queue has no bound for all owners together. The memory of Redis is the bound. */
export function warnOfFill(warnings: OperatorWarnings, memoryUse: number): void {
  const message = () =>
    `The Redis of the callback queue is nearly full: it uses ${Math.round(100 * memoryUse)} % of its maxmemory. When it is full, send() rejects: raise maxmemory, or see why callbacks are not delivered`;
  warnings.fill('COUNTERSIGN_CALLBACK_QUEUE_NEARLY_FULL', memoryUse, message);
}

/** @param explain tells which permission the Redis user lacks, if that is the cause of an error */
export function warnOfFailure(
  warnings: OperatorWarnings,
  error: Error,
  explain: (error: Error) => Promise<unknown>,
): void {
  // This error also occurs if a job finished just before its lock was renewed, which is harmless.
  // If the lock was really lost, the job is handed out again.
  const isLock = error.message.startsWith('could not renew lock');
  // If Redis does not answer, all connections notice. Only the checked connection reports it.
  if (isLock || isNoAnswer(error)) return;
  const message = `Cannot work with the callback queue in Redis: ${quote(reasonOf(error), 256)}. What failed is tried again`;
  // A missing permission has a warning of its own, from the check of the connection.
  void explain(error).then((why) => {
    if (why === error) warnings.event('COUNTERSIGN_CALLBACK_QUEUE_FAILED', { message });
  });
}
