import { randomBytes } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { quote } from '@countersign/shared';
import { KeyStoreError } from '../key-store-error.ts';
import { create, sweep } from './file-draft.ts';

/** Milliseconds for which others are waited for. */
const LONGEST_WAIT = 30_000;
const PAUSE = 15;
/** Milliseconds after which a lock is nobody's: twice what its owner may hold it for. */
const STALE = 10_000;

interface Owner {
  readonly token: string;
  readonly pid: number;
  /** Where the process has this number. */
  readonly host: string;
  /** Milliseconds, by the system's clock. */
  readonly since: number;
}

/**
 * Lets one process of a machine at a time do something: the one whose file it is. What a process that was killed has left
 * behind is taken away.
 *
 * @param path of the lock
 * @param act is given a way to make sure, before anything is written for good, that the lock is still held
 * @throws KeyStoreError `ERR_STORE_BUSY` where others hold it for half a minute, or it was lost
 */
export async function withLock<T>(
  path: string,
  act: (check: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const { token, since } = await take(path);
  const isOurs = async (): Promise<boolean> => (await readOwner(path))?.token === token;
  const check = async (): Promise<void> => {
    // Held up for long, as when a computer sleeps, this process is no longer waited for.
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

/** One at a time: of two that find the same lock stale, the slower one would take away the quicker one's. */
async function takeAway(path: string, stale: Owner): Promise<void> {
  const guard = `${path}.stale`;
  try {
    await writeFile(guard, '', { mode: 0o600, flag: 'wx' });
  } catch {
    // Killed at this very point, a process leaves the guard.
    const made = await stat(guard).catch(() => undefined);
    if (made !== undefined && isLongAgo(made.mtimeMs)) await rm(guard, { force: true });
    return;
  }
  try {
    const present = await readOwner(path);
    // Of one that cannot be read the token does not tell whether it is still the same.
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
  // What a loss of power has left of one, or one of another user: nobody's, after a while.
  const made = await stat(path).catch(() => undefined);
  return made && { token: '', pid: process.pid, host: '', since: made.mtimeMs };
}

function isStale({ pid, host, since }: Owner): boolean {
  return (host === nameHost() && !isAlive(pid)) || isLongAgo(since);
}

/** Also what lies far ahead: the clock was put right since. And what is no time. */
function isLongAgo(since: number): boolean {
  return !(Math.abs(Date.now() - since) <= STALE);
}

/** A container may be called what its host is called, and yet has numbers of processes of its own. */
function nameHost(): string {
  try {
    return `${hostname()} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    // Only Linux has these.
    return hostname();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // It lives, and is somebody else's.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
