import { once } from 'node:events';
import type { Cluster, Redis } from 'ioredis';

/** Why a connection could not be made last. */
const failures = new WeakMap<Redis | Cluster, Error>();

/**
 * Remembers why a connection cannot be made: ioredis says it once, and a caller may ask later.
 * Without a listener ioredis would print it.
 */
export function rememberFailures(redis: Redis | Cluster): void {
  redis.on('error', (error: Error) => failures.set(redis, error));
  redis.on('ready', () => failures.delete(redis));
}

/**
 * Waits for a connection that is being made.
 *
 * @param timeout milliseconds
 * @param what for, as the message says it after "Redis"
 * @throws Error that says why there is none
 */
export async function whenReady(redis: Redis | Cluster, timeout: number, what = ''): Promise<void> {
  await once(redis, 'ready', { signal: AbortSignal.timeout(timeout) }).catch((error: Error) => {
    const cause = error.name === 'AbortError' ? failures.get(redis) : error;
    throw unreachable(cause, timeout, what);
  });
}

/** The error if Redis gave no answer in time: one that cannot be reached was not slow. */
export function noAnswer(redis: Redis | Cluster, timeout: number): Error {
  if (redis.status !== 'ready') return unreachable(failures.get(redis), timeout);
  return new Error(`Redis did not answer within ${timeout} ms`);
}

/** Without its cause: that holds the password, if the password is wrong. */
function unreachable(cause: Error | undefined, timeout: number, what = ''): Error {
  const why = cause === undefined ? `no answer within ${timeout} ms` : reasonOf(cause);
  return new Error(`Cannot reach Redis${what}: ${why}`);
}

/** A host with several addresses fails without a message; a cluster says only that all of its nodes failed. */
function reasonOf(error: NodeJS.ErrnoException & { readonly lastNodeError?: unknown }): string {
  const { message, code = error.name, lastNodeError } = error;
  const node = lastNodeError instanceof Error ? ` (${reasonOf(lastNodeError)})` : '';
  return `${message || code}${node}`;
}
