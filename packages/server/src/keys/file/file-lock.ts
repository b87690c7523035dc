import { randomBytes } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { quote } from '@countersign/shared';
import { KeyStoreError } from '../key-store-error.ts';
import { create, sweep } from './file-draft.ts';

/** Milliseconds to wait for other processes. */
const LONGEST_WAIT = 30_000;
const PAUSE = 15;
/** Milliseconds after which a lock has expired: twice the time for which its owner may hold it. */
const STALE = 10_000;

interface Owner {
  readonly token: string;
  readonly pid: number;
  /** The machine, or the container, where this process number is valid. */
  readonly host: string;
  /** Milliseconds, by the system's clock. */
  readonly since: number;
}

/**
 * Lets one process of a machine at a time do something. The lock is a file with the owner's process
 * number in it. A lock that a killed process has left is removed.
 *
 * @param path of the lock
 * @param act gets a function that makes sure that the lock is still held; call it before the final
 *   write
 * @throws KeyStoreError `ERR_STORE_BUSY` if other processes hold the lock for half a minute, or it
 *   was lost
 */
export async function withLock<T>(
  path: string,
  act: (check: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const { token, since } = await take(path);
  const isOurs = async (): Promise<boolean> => (await readOwner(path))?.token === token;
  const check = async (): Promise<void> => {
    // A process that was held up for long, as by a sleeping computer, has lost its lock.
    if (Date.now() - since < STALE / 2 && (await isOurs())) return;
    throw new KeyStoreError('ERR_STORE_BUSY', `Lost the lock ${quote(path, 200)}: try again`);
  };
  try {
    await sweep(path, '', STALE);
    return await act(check);
  } finally {
    if (await isOurs()) await rm(path, { force: true });
  }
}

async function take(path: string): Promise<Owner> {
  const end = performance.now() + LONGEST_WAIT;
  const token = randomBytes(16).toString('hex');
  for (;;) {
    const other = await readOwner(path);
    if (other === undefined) {
      const owner = { token, pid: process.pid, host: nameHost(), since: Date.now() };
      if (await create(path, JSON.stringify(owner))) return owner;
    } else if (isStale(other)) await takeAway(path, other);
    if (performance.now() > end)
      throw new KeyStoreError(
        'ERR_STORE_BUSY',
        `Cannot lock ${quote(path, 200)}: process ${other?.pid} of ${quote(other?.host)} does not let go of it`,
      );
    await sleep(PAUSE * (0.5 + Math.random()));
  }
}

/**
 * Removes a stale lock, one process at a time. Otherwise two processes may find the same stale
 * lock, and the slower one would remove the new lock of the quicker one.
 */
async function takeAway(path: string, stale: Owner): Promise<void> {
  const guard = `${path}.stale`;
  try {
    await writeFile(guard, '', { mode: 0o600, flag: 'wx' });
  } catch {
    // A process that was killed at this point has left the guard.
    const made = await stat(guard).catch(() => undefined);
    if (made !== undefined && isLongAgo(made.mtimeMs)) await rm(guard, { force: true });
    return;
  }
  try {
    const present = await readOwner(path);
    // A lock that cannot be read has no token, so it is judged by its age again.
    if (present?.token === stale.token && isStale(present)) await rm(path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}

async function readOwner(path: string): Promise<Owner | undefined> {
  try {
    const owner = JSON.parse(await readFile(path, 'utf8')) as Owner;
    if (typeof owner?.token === 'string') return owner;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (code !== 'EACCES' && !(error instanceof SyntaxError)) throw error;
  }
  // The lock may be damaged by a loss of power, or belong to another user. It expires by its
  // age.
  const made = await stat(path).catch(() => undefined);
  return made && { token: '', pid: process.pid, host: '', since: made.mtimeMs };
}

function isStale({ pid, host, since }: Owner): boolean {
  return (host === nameHost() && !isAlive(pid)) || isLongAgo(since);
}

/** Also if the time is far in the future, since the clock was corrected, or if it is no time. */
function isLongAgo(since: number): boolean {
  return !(Math.abs(Date.now() - since) <= STALE);
}

/**
 * The name of the machine with its process namespace. A container can have the host name of its
 * host, and has process numbers of its own.
 */
function nameHost(): string {
  try {
    return `${hostname()} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    // Only Linux has process namespaces.
    return hostname();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // The process exists, and belongs to another user.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
