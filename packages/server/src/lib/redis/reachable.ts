import { once } from 'node:events';
import type { Cluster, Redis } from 'ioredis';
import { formatRefusals, isRefusal, userOf } from './redis-permissions.ts';

/** Why a connection could not be made last. */
const failures = new WeakMap<Redis | Cluster, Error>();

/**
 * Remembers why a connection cannot be made: ioredis says it once, and a caller may ask later.
 * Without a listener ioredis would print it.
 */
export function rememberFailures(redis: Redis | Cluster): void {
  redis.on('error', (error: Error) => failures.set(redis, error));
  redis.on('ready', () => failures.delete(redis));
  if (!redis.isCluster) return;
  // Before a cluster is ready ioredis asks the same, and does not say why it goes no further.
  redis.on('connect', () => {
    (redis as Cluster).cluster('INFO').catch((error) => {
      if (isRefusal(error)) failures.set(redis, error);
    });
  });
}

/**
 * Waits for a connection that is being made. The process lives until this settles, also if the
 * connection is closed meanwhile: a caller who waits always hears what became of it.
 *
 * @param timeout milliseconds
 * @param what for, as the message says it after "Redis"
 * @throws Error that says why there is none
 */
export async function whenReady(redis: Redis | Cluster, timeout: number, what = ''): Promise<void> {
  const waiting = new AbortController();
  const stopWaiting = (): void => waiting.abort();
  const timer = setTimeout(stopWaiting, timeout);
  redis.once('end', stopWaiting);
  try {
    await once(redis, 'ready', { signal: waiting.signal });
  } catch (error) {
    const { name } = error as Error;
    const cause = name === 'AbortError' ? failures.get(redis) : (error as Error);
    throw unreachable(redis, cause, timeout, what);
  } finally {
    clearTimeout(timer);
    redis.off('end', stopWaiting);
  }
}

/** The error if Redis gave no answer in time: one that cannot be reached was not slow. */
export function noAnswer(redis: Redis | Cluster, timeout: number): Error {
  if (redis.status !== 'ready') return unreachable(redis, failures.get(redis), timeout);
  return new NoAnswerError(`Redis did not answer within ${timeout} ms`);
}

/** What is said if Redis gives no answer. */
class NoAnswerError extends Error {}

/** Whether an error says that Redis gave no answer. In the positive: an answer has the name of one. */
export function isNoAnswer(error: unknown): boolean {
  if (error instanceof NoAnswerError) return true;
  return error instanceof Error && NO_ANSWER.test(error.message) && error.name !== 'ReplyError';
}

/** What ioredis says of a connection that is gone, of a command that was not answered, and of a cluster without nodes. */
const NO_ANSWER =
  /^(?:Connection is closed|Command timed out|Socket timeout|Stream isn't writeable|Reached the max retries|Failed to refresh slots|None of startup nodes|There is no master|connect E|read E|write E|getaddrinfo E)/;

const SILENCE = /time(?:d )?out|did not answer|no answer|not connected|closed|writeable/i;

/** What tells one cause from another: a Redis that hangs is silent in many ways, with many messages. */
export function unreachableCause(reason: string): string {
  return SILENCE.test(reason) ? 'no answer' : reason;
}

/** Why a connection could not be made last, in the words of a warning; `undefined` if that is not known yet. */
export function lastFailure(redis: Redis | Cluster): string | undefined {
  const failure = failures.get(redis);
  return failure && reasonOf(failure);
}

/** What is said as long as that is not known. */
export const NOT_CONNECTED = 'it is not connected';

/**
 * Whether a failure says only that a connection is gone. That is no cause: it is made again, or it
 * is known soon why it cannot be.
 */
export function isLost(reason: string): boolean {
  return /^(?:Connection is closed|Stream isn't|(?:read|write) E)/.test(reason);
}

/** Without its cause: that holds the password, if the password is wrong. */
function unreachable(
  redis: Redis | Cluster,
  cause: Error | undefined,
  timeout: number,
  what = '',
): Error {
  const why = cause === undefined ? `no answer within ${timeout} ms` : reasonOf(cause);
  return new NoAnswerError(`Cannot reach Redis${what}: ${why}${adviceOf(redis, why)}`);
}

/** What lacks in the rule of a user who may not ask where Redis is. Sentinels have users of their own. */
function adviceOf(redis: Redis | Cluster, why: string): string {
  const [, command] = /run the '([\w|-]+)' command/.exec(why) ?? [];
  if (command === undefined) return '';
  const { sentinelUsername } = redis.options as { sentinelUsername?: string };
  const user = command.startsWith('sentinel') ? (sentinelUsername ?? 'default') : userOf(redis);
  return `; ${formatRefusals({ user, rule: [`+${command}`] })}`;
}

/** What Redis adds of a command that it does not know: it may be AUTH under another name. */
const ARGUMENTS = /,? with args beginning with:.*/s;

/** A host with several addresses fails without a message; a cluster says only that all of its nodes failed. */
export function reasonOf(
  error: NodeJS.ErrnoException & { readonly lastNodeError?: unknown },
): string {
  const { message, code = error.name, lastNodeError } = error;
  const node = lastNodeError instanceof Error ? ` (${reasonOf(lastNodeError)})` : '';
  return `${(message || code).replace(ARGUMENTS, '').replace(/\.$/, '')}${node}`;
}

/**
 * Waits for an answer of Redis.
 *
 * @param milliseconds for how long
 * @throws Error that says that there was none
 */
export function within<T>(
  redis: Redis | Cluster,
  answer: Promise<T>,
  milliseconds: number,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timeOut = (): void => reject(noAnswer(redis, milliseconds));
    // If the process itself was held up, the answer may lie there already: it is read first.
    const timer = setTimeout(() => setImmediate(timeOut), milliseconds);
    answer.then(
      (value) => {
        clearTimeout(timer);
        resolve(value);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}
