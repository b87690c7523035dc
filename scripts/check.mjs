// Checks what must hold before a commit, on a laptop and in CI alike. Its parts are the `check:*`
// scripts of package.json. Prints one line for each part, and the whole output of a failed part.
// `pnpm check [--all] [--only <part>]... [--without <part>]...`

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

/** Together they take less than 90 seconds. CI runs all parts: `--all`. */
const QUICK = ['lint', 'types', 'commits', 'fast'];
/** The part `tests` runs the same tests. */
const NOT_WITH_ALL = ['fast'];
/** While a part runs longer than this, a line says so from time to time. */
const PATIENCE_SECONDS = 30;

const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
const parts = Object.keys(scripts)
  .filter((name) => name.startsWith('check:'))
  .map((name) => name.slice('check:'.length));

const list = { type: 'string', multiple: true, default: [] };
const { all, only, without } = parseArgs({
  options: { all: { type: 'boolean', default: false }, only: list, without: list },
}).values;
for (const name of [...only, ...without]) {
  if (parts.includes(name)) continue;
  throw new TypeError(`Cannot find part "${name}": expected one of ${parts.join(', ')}`);
}

for (const name of chosen().filter((it) => !without.includes(it))) {
  const start = performance.now();
  const seconds = (digits) => ((performance.now() - start) / 1000).toFixed(digits);
  const stillRuns = setInterval(
    () => console.log(`...    ${name} (${seconds(0)} s)`),
    PATIENCE_SECONDS * 1000,
  );
  const { status, output } = await run(scripts[`check:${name}`]);
  clearInterval(stillRuns);
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'} ${name} (${seconds(1)} s)${remark(output)}`);
  if (status === 0) continue;
  console.log(output);
  process.exitCode = 1;
}

function chosen() {
  if (only.length > 0) return only;
  return parts.filter((name) => (all ? !NOT_WITH_ALL.includes(name) : QUICK.includes(name)));
}

/** The line in which a part says why it did nothing. */
function remark(output) {
  const [, why] = /^skipped: (.*)$/m.exec(output) ?? [];
  return why === undefined ? '' : `: skipped, ${why}`;
}

async function run(command) {
  // Both streams, in the order in which they were written.
  const child = spawn(`(${command}) 2>&1`, {
    shell: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PATH: `node_modules/.bin:${process.env.PATH}` },
  });
  const chunks = [];
  child.stdout.on('data', (chunk) => void chunks.push(chunk));
  const status = await new Promise((resolve) => {
    child.once('error', () => resolve(null));
    child.once('close', resolve);
  });
  return { status, output: Buffer.concat(chunks).toString() };
}
