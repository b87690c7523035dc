import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/**
 * Finds the first of `names` on the PATH; where there is none, and this is Debian or Ubuntu and we
 * are root (a CI container), installs `debianPackages` and says so on stderr.
 *
 * @returns The path of the program.
 * @throws `Error` that tells what to install, where it cannot be installed.
 */
export function ensureProgram(names: string[], debianPackages: string[]): string {
  const found = findProgram(names);
  if (found !== undefined) return found;

  const wanted = names.join(' or ');
  const advice = `install ${wanted} (Debian: apt-get install ${debianPackages.join(' ')})`;
  if (!existsSync('/etc/debian_version') || process.getuid?.() !== 0) {
    throw new Error(`Cannot find ${wanted} on the PATH: ${advice}`);
  }
  console.error(`Installing ${debianPackages.join(' ')}: ${wanted} is not on the PATH`);
  const output = install(debianPackages);
  const installed = findProgram(names);
  if (installed === undefined) throw new Error(`Cannot install ${wanted}: ${advice}\n${output}`);
  return installed;
}

function findProgram(names: string[]): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** One apt-get at a time, also among test workers; the package lists are fetched once a machine. */
function install(packages: string[]): string {
  const script = `
    lists=/var/lib/apt/lists
    [ -n "$(find $lists -name '*_Packages*' -mmin -1440 -print -quit)" ] || apt-get update
    apt-get install -y --no-install-recommends "$@" ||
      { apt-get update && apt-get install -y --no-install-recommends "$@"; }`;
  const lock = join(tmpdir(), 'countersign-apt.lock');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const args = [lock, 'sh', '-c', script, 'sh', ...packages];
  const { stdout, stderr, error } = spawnSync('flock', args, { encoding: 'utf8', env });
  return error === undefined ? `${stdout}${stderr}` : error.message;
}
