// Everything that must hold before a commit, the same on a laptop and in CI: the `check:*` scripts of
// package.json, one line for each, and all that a failing one printed.
// `pnpm check [--only <part>]... [--without <part>]...`

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const { scripts } = JSON.parse(readFileSync('package.json', 'utf8'));
const parts = Object.keys(scripts)
  .filter((name) => name.startsWith('check:'))
  .map((name) => name.slice('check:'.length));

const list = { type: 'string', multiple: true, default: [] };
const { only, without } = parseArgs({ options: { only: list, without: list } }).values;
for (const name of [...only, ...without]) {
  if (parts.includes(name)) continue;
  throw new TypeError(`Cannot find part "${name}": expected one of ${parts.join(', ')}`);
}

for (const name of only.length > 0 ? only : parts) {
  if (without.includes(name)) continue;
  const start = performance.now();
  const { status, output } = run(scripts[`check:${name}`]);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)`);
  if (status === 0) continue;
  console.log(output);
  process.exitCode = 1;
}

function run(command) {
  // Both streams, in the order they were written.
  const { status, stdout } = spawnSync(`(${command}) 2>&1`, {
    shell: true,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, PATH: `node_modules/.bin:${process.env.PATH}` },
  });
  return { status, output: stdout };
}
