/**
 * Programs that the bench starts: each on one processor, and each ended by its id, however the
 * bench ends.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

/** Of two processors: one for the server that is measured, one for all that it is not. */
export const [SERVER_CPU, OTHER_CPU] = (process.env.BENCH_CPUS ?? '0,1').split(',');

/** Below 0, for root: others who use the machine wait, and disturb less. */
const NICE = process.env.BENCH_NICE ?? '0';

const running = new Set();

/** Both `nice` and `taskset` become the program: its id and its channel are those of the child. */
export function startPinned(cpu, command, options) {
  const child = spawn('nice', ['-n', NICE, 'taskset', '-c', cpu, ...command], options);
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

/** Ends what is told to end by the end of its channel; what does not hear, by its id. */
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

/** Moves a process that somebody else started. */
export function pin(cpu, pid) {
  spawnSync('taskset', ['-a', '-c', '-p', cpu, String(pid)]);
}

/** Ends the bench, and tells how to install what is not there. */
export function requirePrograms() {
  const packages = { taskset: 'util-linux', wrk: 'wrk' };
  const missing = Object.keys(packages).filter((it) => spawnSync(it, ['--version']).error);
  if (missing.length === 0) return;
  const names = missing.map((it) => packages[it]).join(' ');
  console.error(`Cannot find ${missing.join(', ')} (Debian: apt-get install ${names})`);
  process.exit(1);
}
