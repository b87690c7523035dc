// Mutation testing: Stryker breaks the code in one place at a time, and a test has to fail.
// `pnpm nightly:mutants [part]... [--mutate <files>] [--concurrency <processes>]`: all parts of
// parts.mjs if none is named.
// Stryker has a lockfile of its own here, so that `npm start` does not install it.

import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { PARTS } from './parts.mjs';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { mutate: { type: 'string' }, concurrency: { type: 'string' } },
});
const names = positionals.length > 0 ? positionals : Object.keys(PARTS);
for (const name of names) {
  if (Object.hasOwn(PARTS, name)) continue;
  throw new TypeError(
    `Cannot find part "${name}": expected one of ${Object.keys(PARTS).join(', ')}`,
  );
}
if (values.mutate !== undefined && positionals.length !== 1)
  throw new TypeError('Cannot use --mutate: name the one part whose tests have to notice');

for (const name of names) {
  const part = PARTS[name];
  const options = {
    mutate: values.mutate ?? part.mutate.join(','),
    incrementalFile: `.build/mutants/${name}.json`,
    ...(values.concurrency === undefined ? {} : { concurrency: values.concurrency }),
  };
  const flags = Object.entries(options).flatMap(([option, value]) => [`--${option}`, value]);
  console.log(`Mutants of ${name}`);
  const { status } = spawnSync(
    process.execPath,
    [
      'test/mutants/node_modules/@stryker-mutator/core/bin/stryker.js',
      'run',
      'test/mutants/stryker.config.json',
      ...flags,
    ],
    { stdio: 'inherit', env: { ...process.env, MUTANTS_PART: JSON.stringify(part) } },
  );
  if (status !== 0) process.exitCode = 1;
}
