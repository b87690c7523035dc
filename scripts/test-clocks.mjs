// Runs the tests of the project `fast` at other times than the present: a test must not compare a
// fixed date with a running clock. Each test process starts at the given time
// (test/support/moved-clock.mjs). Midnight comes one or two seconds later. A file takes about that
// long to load, so midnight comes while its tests run.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const DAY = 86_400_000;
const today = new Date();
const year = today.getUTCFullYear();
const folder = mkdtempSync(join(tmpdir(), 'countersign-clocks-'));

try {
  run('in three years', new Date(today).setUTCFullYear(year + 3));
  run('at the end of the year', Date.UTC(year, 11, 31, 23, 59, 58), 'across midnight');
  run('before a leap day', Date.UTC(nextLeapYear(), 1, 28, 23, 59, 59), 'across midnight');
} finally {
  rmSync(folder, { recursive: true });
}

/** The year of the next 29 February. */
function nextLeapYear() {
  let leap = year;
  while (Date.UTC(leap, 1, 29) <= today || new Date(Date.UTC(leap, 1, 29)).getUTCDate() !== 29)
    leap++;
  return leap;
}

function run(when, start, across) {
  const clock = new Date(start).toISOString();
  const report = join(folder, 'report.json');
  const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--project', 'fast'];
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...vitest, ...reporters], {
    encoding: 'utf8',
    // A tenth of the property runs are enough, because they have clocks of their own.
    env: { PROPERTY_RUNS: '0.1', ...process.env, TEST_CLOCK: clock },
    maxBuffer: 64 * 1024 * 1024,
  });
  const { numTotalTests = 0, numPassedTests = 0, testResults = [] } = read(report);
  const crossing = testResults.filter(({ startTime, endTime }) =>
    isAcross(start, startTime, endTime),
  );
  const isRight = status === 0 && numPassedTests === numTotalTests && numTotalTests > 0;
  const isDone = isRight && (across === undefined || crossing.length > 0);
  const files = across === undefined ? '' : `, ${crossing.length} files ${across}`;
  console.log(`${isDone ? 'ok    ' : 'FAILED'} ${when}, ${clock}: ${numPassedTests} tests${files}`);
  if (isDone) return;
  console.log(stdout + stderr);
  process.exitCode = 1;
}

/** Whether the day changed between the first test of a file and the end of its last one. */
function isAcross(start, startTime, endTime) {
  const midnight = Math.ceil(start / DAY) * DAY;
  return startTime < midnight && midnight <= endTime;
}

function read(report) {
  try {
    return JSON.parse(readFileSync(report, 'utf8'));
  } catch {
    // The run did not begin. Its output says why.
    return {};
  }
}
