/**
 * The programs that the bench starts. Each runs on one processor, and is ended by its id whenever
 * the bench ends.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

/** Two processors: one for the measured server, one for everything else. */
export const [SERVER_CPU, OTHER_CPU] = (process.env.BENCH_CPUS ?? '0,1').split(',');

/** A value below 0 needs root. Other processes then wait, and disturb less. */
const NICE = process.env.BENCH_NICE ?? '0';

const running = new Set();

/**
 * `nice` and `taskset` replace themselves with the program, so it keeps the child's id and channel.
 */
export function startPinned(cpu, command, options) {
  const child = spawn('nice', ['-n', NICE, 'taskset', '-c', cpu, ...command], options);
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

/** Ends a program: a program with a channel ends when that closes, others are ended by their id. */
export async function end(child) {
  if (!running.has(child)) return;
  const ended = once(child, 'exit');
  if (child.connected) child.disconnect();
  else child.kill();
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
  await ended;
  clearTimeout(timer);
}

export const endAll = () => Promise.all([...running].map(end));

/** Moves a process that the bench did not start to a processor. */
export function pin(cpu, pid) {
  spawnSync('taskset', ['-a', '-c', '-p', cpu, String(pid)]);
}

/** Ends the bench, and says how to install a missing program. */
export function requirePrograms() {
  const packages = { taskset: 'util-linux', wrk: 'wrk' };
  const missing = Object.keys(packages).filter((it) => spawnSync(it, ['--version']).error);
  if (missing.length === 0) return;
  const names = missing.map((it) => packages[it]).join(' ');
  console.error(`Cannot find ${missing.join(', ')} (Debian: apt-get install ${names})`);
  process.exit(1);
}
