import { type ChildProcess, execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ensureProgram } from './programs.ts';

/** A PostgreSQL of one's own: break it as you like. */
export interface PostgresServer {
  /** Of its database `postgres`. */
  readonly url: string;
  /** Runs SQL as its superuser; rows come back as lines, with `|` between columns. */
  sql(text: string): Promise<string>;
  /** All that is in the database, as `pg_dump` writes it. */
  dump(): Promise<string>;
  /** Ends it at once, whatever it is doing, and removes its folder. */
  stop(): Promise<void>;
}

const DEBIAN = '/usr/lib/postgresql';
const SUPERUSER = 'postgres';
const READY_WITHIN = 30_000;

/**
 * Finds the folder of PostgreSQL's programs, and installs them where they are missing, as `ensureProgram` does.
 *
 * @throws `Error` that tells what to install, where it cannot be installed.
 */
export function ensurePostgres(): string {
  const found = findPostgres();
  if (found !== undefined) return found;
  try {
    return dirname(ensureProgram(['initdb'], ['postgresql']));
  } catch (error) {
    // Debian keeps the programs of each version off the PATH: it is missed there when it has been installed, too.
    const installed = findPostgres();
    if (installed === undefined) throw error;
    return installed;
  }
}

/** The newest of Debian's versions, or what is on the PATH. */
function findPostgres(): string | undefined {
  const versions = existsSync(DEBIAN) ? readdirSync(DEBIAN) : [];
  const folders = [
    ...versions
      .sort((one, other) => Number(other) - Number(one))
      .map((it) => join(DEBIAN, it, 'bin')),
    ...(process.env['PATH'] ?? '').split(delimiter),
  ];
  const programs = ['initdb', 'postgres', 'psql', 'pg_dump'];
  return folders.find((folder) => programs.every((name) => existsSync(join(folder, name))));
}

/**
 * Starts a private, empty PostgreSQL on a loopback port. It is killed when the test process ends, whichever way that ends.
 *
 * @param programs the folder that `ensurePostgres` found
 */
export async function startPostgres(programs: string): Promise<PostgresServer> {
  const port = await freePort();
  const guard = fork(
    new URL('guard.mjs', import.meta.url),
    ['sh', '-c', SCRIPT, 'sh', programs, `${port}`, process.getuid?.() === 0 ? SUPERUSER : ''],
    // A process group of its own: Ctrl+C is for the tests; the guard goes when they are gone.
    { detached: true, execArgv: [], stdio: ['ignore', 'pipe', 'pipe', 'ipc'] },
  );
  const log = collect(guard);
  const pid = await started(guard, log);
  const connection = ['-h', '127.0.0.1', '-p', `${port}`, '-U', SUPERUSER];
  const run = async (program: string, args: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)(join(programs, program), [...connection, ...args]);
    return stdout.trim();
  };
  const sql = (text: string): Promise<string> =>
    run('psql', ['-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1', '-d', 'postgres', '-c', text]);
  await untilReady(guard, () => sql('SELECT 1'), log);
  letGo(guard);

  return {
    url: `postgres://${SUPERUSER}@127.0.0.1:${port}/postgres`,
    sql,
    dump: () => run('pg_dump', ['postgres']),
    async stop() {
      if (!guard.connected) return;
      guard.ref();
      const exit = once(guard, 'exit');
      // Immediate shutdown: it ends all of its processes. Killed by the guard, it would leave them to find out.
      process.kill(pid, 'SIGQUIT');
      await exit;
    },
  };
}

/**
 * In the guard's folder, and in place of the shell, so that the guard's child is the server itself. It refuses to run as root:
 * then the folder and the server are those of the user that comes with it.
 */
const SCRIPT = `
  programs=$1 port=$2 user=$3
  as() { exec "$@"; }
  if [ -n "$user" ]; then
    chown "$user" . || exit
    as() { exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"; }
  fi
  (as "$programs/initdb" -D data -U ${SUPERUSER} -A trust -E UTF8 --locale C --no-sync) || exit
  as "$programs/postgres" -D data -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c fsync=off -c dynamic_shared_memory_type=mmap`;

/** A loopback port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('Cannot find a free port');
  return address.port;
}

/** The last of what a process printed, to say why it did not start. */
function collect(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(-2_000);
    });
  }
  return () => text;
}

async function started(guard: ChildProcess, log: () => string): Promise<number> {
  const message = once(guard, 'message').then(([{ pid }]) => pid as number);
  const exit = once(guard, 'exit').then(() => undefined);
  const pid = await Promise.race([message, exit]);
  if (pid === undefined) throw new Error(`Cannot start PostgreSQL: ${log()}`);
  return pid;
}

async function untilReady(
  guard: ChildProcess,
  ask: () => Promise<unknown>,
  log: () => string,
): Promise<void> {
  const deadline = Date.now() + READY_WITHIN;
  for (;;) {
    const failure = await ask().then(
      () => undefined,
      (error: unknown) => error,
    );
    if (failure === undefined) return;
    if (guard.exitCode !== null || Date.now() > deadline) {
      if (guard.connected) guard.disconnect();
      throw new Error(`Cannot start PostgreSQL: ${log()}`, { cause: failure });
    }
    await sleep(50);
  }
}

/** A forgotten stop() must not keep the test process alive; its end stops the server. */
function letGo(guard: ChildProcess): void {
  guard.unref();
  guard.channel?.unref();
  for (const stream of [guard.stdout, guard.stderr]) stream?.destroy();
}
