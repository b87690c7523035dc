// The tests of one part, in one project: Stryker starts vitest with this file (run.mjs).

import { defineConfig } from 'vitest/config';
import root from '../../vitest.config.ts';

const part: { tests: string[]; redis?: boolean } = JSON.parse(
  process.env['MUTANTS_PART'] ?? '{"tests":[]}',
);

export default defineConfig({
  resolve: root.resolve ?? {},
  test: {
    include: part.tests,
    exclude: ['**/node_modules/**'],
    // All test files in one worker, as `pnpm check:fast` runs them: that is three times as fast.
    isolate: false,
    setupFiles: ['test/support/own-globals.ts'],
    globalSetup: part.redis ? ['test/support/global-setup.ts'] : [],
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
