// Tests the desktop program of examples/python in a real window: starts the API and a virtual
// display, and runs examples/python/test_gui.py on it. Needs built packages (`tsc -b`).

import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const output = `${root}test/output`;
const started = [];
const stopAll = () => started.forEach((it) => void it.kill());

process.on('exit', stopAll);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
// All steps take seconds only, so a step that hangs is ended soon.
setTimeout(() => fail(new Error('no end after three minutes')), 180_000).unref();

try {
  installWhatIsMissing();
  mkdirSync(output, { recursive: true });
  const [key, display] = await Promise.all([startApi(), startDisplay()]);
  const test = start(pythonWithTk(), ['examples/python/test_gui.py', output], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: {
      DISPLAY: `:${display}`,
      PYTHONDONTWRITEBYTECODE: '1',
      COUNTERSIGN_API: key.url,
      COUNTERSIGN_ACCESS_KEY_ID: key.accessKeyId,
      COUNTERSIGN_SECRET_ACCESS_KEY: key.secretAccessKey,
    },
  });
  process.exitCode = await new Promise((resolve) => test.on('exit', (code) => resolve(code ?? 1)));
  stopAll();
} catch (error) {
  fail(error);
}

/** Says why there is no result, and ends all programs. */
function fail(error) {
  console.error(`test-gui: ${error.message}`);
  process.exit(1);
}

function installWhatIsMissing() {
  const missing = [];
  if (pythonWithTk() === undefined) missing.push('python3-tk');
  if (!isThere('Xvfb')) missing.push('xvfb');
  if (!isThere('import')) missing.push('imagemagick');
  if (missing.length === 0) return;

  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  const mayInstall = process.getuid?.() === 0 && isThere('apt-get');
  if (!mayInstall) throw new Error(`run "${command}" as root first`);
  console.error(`test-gui: ${command}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const step of ['apt-get update', command]) {
    const [program, ...args] = step.split(' ');
    const { status, stdout, stderr } = spawnSync(program, args, { env, encoding: 'utf8' });
    if (status !== 0) throw new Error(`${step} failed:\n${stdout}${stderr}`);
  }
}

/** The first interpreter that can open a window: the one on PATH may be built without Tk. */
function pythonWithTk() {
  const canOpenWindows = (it) => spawnSync(it, ['-c', 'import tkinter']).status === 0;
  return ['python3', '/usr/bin/python3'].find(canOpenWindows);
}

function isThere(program) {
  return spawnSync(program, ['-help']).error === undefined;
}

/** Starts the API on a free port. It prints its address, and a key made for this run. */
async function startApi() {
  const api = start(process.execPath, ['examples/video-parser/server.mjs'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PORT: '0', COUNTERSIGN_PRINT_KEY: '1' },
  });
  return JSON.parse(await firstLine(api, api.stdout));
}

/** Starts an X server on a free display. It writes the display's number to descriptor 3. */
async function startDisplay() {
  const args = ['-displayfd', '3', '-screen', '0', '900x620x24', '-nolisten', 'tcp'];
  const server = start('Xvfb', args, { stdio: ['ignore', 'ignore', 'inherit', 'pipe'] });
  return firstLine(server, server.stdio[3]);
}

/** Starts a program that ends with this one. */
function start(program, args, { stdio, env }) {
  const child = spawn(program, args, { cwd: root, stdio, env: { ...process.env, ...env } });
  started.push(child);
  return child;
}

function firstLine(child, stream) {
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', () => reject(new Error(`${child.spawnfile} ended before it was ready`)));
    createInterface(stream).on('line', resolve);
  });
}
