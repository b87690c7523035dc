// Checks that the subject of a commit has 72 characters at most, because lists of commits cut
// longer ones. Checks the commits of HEAD since the rule holds. A shallow clone has fewer of them,
// and a tarball has none.

import { spawnSync } from 'node:child_process';
import { realpathSync } from 'node:fs';

/** Subjects of older commits are longer. */
const SINCE = '2026-12-01T02:45:00Z';
const LONGEST = 72;

const top = git('rev-parse', '--show-toplevel');
// A tarball can be unpacked inside another repository, whose commits are not ours.
if (top === undefined || realpathSync(top.trim()) !== realpathSync('.')) {
  console.log('skipped: this folder is no git repository');
} else {
  // Without merge commits: GitHub writes their subjects, with the names of branches.
  const log = git('log', '--no-merges', '--format=%ct %h %s');
  if (log === undefined) throw new Error('Cannot read the commits: git log failed');
  const commits = log
    .split('\n')
    .map((line) => /^(?<time>\d+) (?<id>\w+) (?<subject>.*)$/.exec(line)?.groups)
    .filter((it) => it !== undefined && Number(it.time) * 1000 >= Date.parse(SINCE));
  for (const { id, subject } of commits) {
    const { length } = [...subject];
    if (length <= LONGEST) continue;
    console.error(`${id} ${subject}\n  has ${length} characters, ${LONGEST} are allowed`);
    process.exitCode = 1;
  }
  console.log(`${commits.length} commits since ${SINCE}`);
}

/** Runs git. Returns what it prints, or `undefined` if git is missing or fails. */
function git(...args) {
  const { status, stdout } = spawnSync('git', args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  return status === 0 ? stdout : undefined;
}
