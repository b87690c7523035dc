import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { freePort, startGuarded } from './guarded-server.ts';
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

/**
 * Finds the folder of PostgreSQL's programs, and installs them where they are missing, as
 * `ensureProgram` does.
 *
 * @throws `Error` that tells what to install, where it cannot be installed.
 */
export function ensurePostgres(): string {
  const found = findPostgres();
  if (found !== undefined) return found;
  try {
    return dirname(ensureProgram(['initdb'], ['postgresql']));
  } catch (error) {
    // Debian keeps the programs of each version off the PATH: it is missed there when it has been
    // installed, too.
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
 * Starts a private, empty PostgreSQL on a loopback port. It is killed when the test process ends,
 * whichever way that ends.
 *
 * @param programs the folder that `ensurePostgres` found
 */
export async function startPostgres(programs: string): Promise<PostgresServer> {
  const port = await freePort();
  const connection = ['-h', '127.0.0.1', '-p', `${port}`, '-U', SUPERUSER];
  const run = async (program: string, args: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)(join(programs, program), [...connection, ...args]);
    return stdout.trim();
  };
  const sql = (text: string): Promise<string> =>
    run('psql', ['-X', '-q', '-At', '-v', 'ON_ERROR_STOP=1', '-d', 'postgres', '-c', text]);
  const user = process.getuid?.() === 0 ? SUPERUSER : '';
  const command = ['sh', '-c', SCRIPT, 'sh', programs, `${port}`, user];
  const { pid, stop } = await startGuarded('PostgreSQL', command, () => sql('SELECT 1'));

  return {
    url: `postgres://${SUPERUSER}@127.0.0.1:${port}/postgres`,
    sql,
    dump: () => run('pg_dump', ['postgres']),
    // Immediate shutdown: it ends all of its processes. Killed by the guard, it would leave them to
    // find out.
    stop: () => stop(() => process.kill(pid, 'SIGQUIT')),
  };
}

/**
 * In the guard's folder, and in place of the shell, so that the guard's child is the server itself.
 * It refuses to run as root: then the folder and the server are those of the user that comes with
 * it.
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
