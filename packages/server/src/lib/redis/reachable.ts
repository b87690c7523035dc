import { once } from 'node:events';
import type { Cluster, Redis } from 'ioredis';
import { formatRefusals, isRefusal, userOf } from './redis-permissions.ts';

/** Why each connection could not be made, by its last error. */
const failures = new WeakMap<Redis | Cluster, Error>();

/**
 * Remembers why a connection cannot be made: ioredis says it once, and a caller may ask later.
 * Without a listener ioredis would print it.
 */
export function rememberFailures(redis: Redis | Cluster): void {
  redis.on('error', (error: Error) => failures.set(redis, error));
  redis.on('ready', () => failures.delete(redis));
  if (!redis.isCluster) return;
  // ioredis sends the same command before a cluster is ready, and hides a refusal.
  redis.on('connect', () => {
    (redis as Cluster).cluster('INFO').catch((error) => {
      if (isRefusal(error)) failures.set(redis, error);
    });
  });
}

/**
 * Waits for a connection. It always settles, even if the connection is closed meanwhile, and keeps
 * the process alive until then.
 *
 * @param timeout milliseconds
 * @param what for, as the message says it after "Redis"
 * @throws Error that says why there is no connection
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

/** The error if Redis gave no answer in time. It tells an unreachable Redis from a slow one. */
export function noAnswer(redis: Redis | Cluster, timeout: number): Error {
  if (redis.status !== 'ready') return unreachable(redis, failures.get(redis), timeout);
  return new NoAnswerError(`Redis did not answer within ${timeout} ms`);
}

/** Redis gave no answer. */
class NoAnswerError extends Error {}

/** Whether an error says that Redis gave no answer. A `ReplyError` is an answer. */
export function isNoAnswer(error: unknown): boolean {
  if (error instanceof NoAnswerError) return true;
  return error instanceof Error && NO_ANSWER.test(error.message) && error.name !== 'ReplyError';
}

/**
 * How the messages of ioredis begin for a lost connection, an unanswered command, and a cluster
 * without nodes.
 */
const NO_ANSWER =
  /^(?:Connection is closed|Command timed out|Socket timeout|Stream isn't writeable|Reached the max retries|Failed to refresh slots|None of startup nodes|There is no master|connect E|read E|write E|getaddrinfo E)/;

const SILENCE = /time(?:d )?out|did not answer|no answer|not connected|closed|writeable/i;

/**
 * The cause of a warning. A Redis that hangs causes many different messages, which are one cause.
 */
export function unreachableCause(reason: string): string {
  return SILENCE.test(reason) ? 'no answer' : reason;
}

/** Why the last connection could not be made, for a warning; `undefined` if that is unknown. */
export function lastFailure(redis: Redis | Cluster): string | undefined {
  const failure = failures.get(redis);
  return failure && reasonOf(failure);
}

/** The reason if the cause is unknown. */
export const NOT_CONNECTED = 'it is not connected';

/**
 * Whether a reason only says that the connection is gone. The cause is not known then, or the
 * connection is back soon.
 */
export function isLost(reason: string): boolean {
  return /^(?:Connection is closed|Stream isn't|(?:read|write) E)/.test(reason);
}

/** The error has no `cause`: if the password is wrong, that holds the password. */
function unreachable(
  redis: Redis | Cluster,
  cause: Error | undefined,
  timeout: number,
  what = '',
): Error {
  const why = cause === undefined ? `no answer within ${timeout} ms` : reasonOf(cause);
  return new NoAnswerError(`Cannot reach Redis${what}: ${why}${adviceOf(redis, why)}`);
}

/** How to allow a command that the user needs to find Redis. Sentinels have users of their own. */
function adviceOf(redis: Redis | Cluster, why: string): string {
  const [, command] = /run the '([\w|-]+)' command/.exec(why) ?? [];
  if (command === undefined) return '';
  const { sentinelUsername } = redis.options as { sentinelUsername?: string };
  const user = command.startsWith('sentinel') ? (sentinelUsername ?? 'default') : userOf(redis);
  return `; ${formatRefusals({ user, rule: [`+${command}`] })}`;
}

/**
 * What Redis adds to the message of an unknown command. The command may be AUTH under another name.
 */
const ARGUMENTS = /,? with args beginning with:.*/s;

/**
 * The reason in an error. If a host has several addresses, or a cluster several nodes, the reason
 * is in the errors of each.
 */
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
 * @param milliseconds to wait
 * @throws Error if there was no answer
 */
export function within<T>(
  redis: Redis | Cluster,
  answer: Promise<T>,
  milliseconds: number,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const timeOut = (): void => reject(noAnswer(redis, milliseconds));
    // If this process was held up, the answer may have arrived already: read it first.
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
