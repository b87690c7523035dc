// Checks the packages as users get them: packs them, runs publint and attw, installs them together
// in a new project, imports every entry point and runs the command. Needs built packages (`tsc
// -b`).

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const pnpm = ['npx', '-y', 'pnpm@10.34.9'];
const names = ['shared', 'client', 'server', 'cli'];
const folder = mkdtempSync(join(tmpdir(), 'countersign-packages-'));

try {
  const tarballs = Object.fromEntries(names.map((name) => [`@countersign/${name}`, pack(name)]));
  for (const tarball of Object.values(tarballs)) {
    run(['node_modules/.bin/publint', '--strict', tarball]);
    run(['node_modules/.bin/attw', '--profile', 'esm-only', tarball]);
  }
  importAll(tarballs);
  runAlone(tarballs);
  console.log(
    'publint and attw have no complaint; every entry point can be imported, the command run',
  );
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function pack(name) {
  const tarball = join(folder, `${name}.tgz`);
  run([...pnpm, 'pack', '--out', tarball], `packages/${name}`);
  return tarball;
}

/** Installs all tarballs with their peers, for a user of all packages. */
function importAll(tarballs) {
  const { devDependencies: ours } = read('package.json');
  const peers = Object.fromEntries(['express', 'ioredis', 'undici'].map((it) => [it, ours[it]]));
  peers.bullmq = read('packages/cli/package.json').peerDependencies.bullmq;
  const project = install('project', tarballs, peers);
  const lines = names.flatMap((name) =>
    Object.keys(read(`packages/${name}/package.json`).exports)
      .filter((path) => !path.endsWith('.json'))
      .map((path) => `await import('@countersign/${name}${path.slice(1)}');`),
  );
  writeFileSync(join(project, 'import-all.js'), lines.join('\n'));
  run(['node', 'import-all.js'], project);
  run(['node_modules/.bin/countersign', '--version'], project);
}

/** Installs the command alone, without BullMQ, for a user who does not use callbacks. */
function runAlone(tarballs) {
  const project = install('alone', tarballs, {});
  run(['node_modules/.bin/countersign', 'keys', 'init', '--store', 'file:./keys.json'], project);
  const list = ['callbacks', 'list', '--store', 'redis://127.0.0.1:1', '--json'];
  const command = join(project, 'node_modules/.bin/countersign');
  const { status, stdout } = spawnSync(command, list, { cwd: project, encoding: 'utf8' });
  if (status !== 1 || JSON.parse(stdout).error.code !== 'ERR_BULLMQ_MISSING')
    throw new Error(`The command does not say that BullMQ is missing: ${stdout}`);
}

function install(name, tarballs, others) {
  const project = join(folder, name);
  mkdirSync(project);
  const files = Object.fromEntries(
    Object.entries(tarballs).map(([it, tarball]) => [it, `file:${tarball}`]),
  );
  const manifest = {
    private: true,
    type: 'module',
    dependencies: { ...files, ...others },
    // The packages depend on each other's version, which no registry has before the release.
    pnpm: { overrides: files },
  };
  writeFileSync(join(project, 'package.json'), JSON.stringify(manifest));
  run([...pnpm, 'install', '--prefer-offline', '--ignore-workspace', '--ignore-scripts'], project);
  return project;
}

function read(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** Runs a command, and shows its output only if it fails. */
function run([program, ...args], cwd = '.') {
  try {
    return execFileSync(program, args, { cwd, encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const command = [program, ...args].join(' ');
    throw new Error(`${command}\n${error.stdout ?? ''}${error.stderr ?? error.message}`);
  }
}
