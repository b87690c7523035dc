// Runs a program, in a new temporary folder, for as long as the process that forked this one lives:
// when that goes, however it goes, the program is killed and the folder removed. It removes no
// folder but the one it made itself. `node guard.mjs <program> [...args]`

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const folder = mkdtempSync(join(tmpdir(), 'countersign-guard-'));
const [program, ...args] = process.argv.slice(2);
const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'] });

child.on('spawn', () => process.send({ pid: child.pid }));
child.on('error', (error) => end(error.message));
child.on('exit', () => end());
process.on('disconnect', () => child.kill('SIGKILL'));

function end(message) {
  if (message !== undefined) console.error(message);
  rmSync(folder, { recursive: true, force: true });
  process.exit();
}
