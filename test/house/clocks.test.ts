// A date that is fixed passes its test until the clock of the machine passes the date. `pnpm
// check:clocks` must show that today: it runs the tests at a later time.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

const repository = join(import.meta.dirname, '../..');
const house = realpathSync(mkdtempSync(join(tmpdir(), 'countersign-clocks-')));
const DAY = 86_400_000;
const later = (days: number): string => new Date(Date.now() + days * DAY).toISOString();

beforeAll(() => {
  mkdirSync(join(house, 'test'));
  symlinkSync(join(repository, 'node_modules'), join(house, 'node_modules'));
  writeFileSync(
    join(house, 'test/fixed.test.ts'),
    `import { expect, it } from 'vitest';
     it('meets the system clock', () => expect(Date.now()).toBeLessThan(Date.parse('${later(30)}')));`,
  );
});

afterAll(() => rmSync(house, { recursive: true }));

it.each([
  ['passes today', undefined, '1 passed', 0],
  ['fails in three years', later(3 * 365), '1 failed', 1],
])('a fixed date that meets the clock of the machine %s', (_, clock, told, code) => {
  const { TEST_CLOCK: __, ...inherited } = process.env;
  const { stdout, status } = spawnSync(
    process.execPath,
    [
      join(repository, 'node_modules/vitest/vitest.mjs'),
      ...['run', '--project', 'fast', '--reporter', 'default', '--coverage.enabled=false'],
      ...['--root', house, '--config', join(repository, 'vitest.config.ts')],
    ],
    {
      encoding: 'utf8',
      env: { ...inherited, NO_COLOR: '1', ...(clock === undefined ? {} : { TEST_CLOCK: clock }) },
    },
  );
  expect(stdout).toMatch(new RegExp(`Tests +${told}`));
  expect(status).toBe(code);
});
