import { defineConfig } from 'vitest/config';

const source = (name: string) => new URL(`packages/${name}.ts`, import.meta.url).pathname;
const FAULTS = [
  ...['single', 'replicas', 'cluster', 'copies'].map((name) => `test/faults/${name}.test.ts`),
  ...['contention', 'life'].map((name) => `test/keys/${name}.test.ts`),
];
const thresholds = { lines: 95, branches: 95 };

export default defineConfig({
  resolve: {
    // Tests run on sources: no build to forget, and coverage counts what was written.
    alias: [
      { find: /^@countersign\/(shared|client|server)$/, replacement: source('$1/src/index') },
      { find: /^@countersign\/(client|server)\/(\w+)$/, replacement: source('$1/src/$2') },
      { find: /^#digest$/, replacement: source('shared/src/digest.node') },
    ],
  },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'tests',
          include: ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'],
          exclude: ['**/node_modules/**', 'test/house/fixtures/**', ...FAULTS],
        },
      },
      // Each of them wants the whole machine: servers, Redis and an attacker. After all others, one at a time.
      {
        extends: true,
        test: { name: 'faults', include: FAULTS, maxWorkers: 1, sequence: { groupOrder: 1 } },
      },
    ],
    // Two workers for the two cores of CI; each file has a process of its own, so faults stay in it.
    pool: 'forks',
    maxWorkers: 2,
    globalSetup: ['test/support/global-setup.ts'],
    reporters: ['default', './test/support/tally-reporter.ts'],
    // Nothing here waits on purpose; servers and compilers are slow where CI is busy.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    allowOnly: false,
    coverage: {
      // CI runs the tests once, with coverage.
      enabled: Boolean(process.env['COVERAGE']),
      provider: 'v8',
      include: ['packages/*/src/**/*.ts'],
      reporter: ['text', 'json-summary'],
      // Each package on its own: a well-tested one must not hide another.
      thresholds: {
        'packages/shared/src/**': thresholds,
        'packages/client/src/**': thresholds,
        'packages/server/src/**': thresholds,
        'packages/cli/src/**': thresholds,
      },
    },
  },
});
