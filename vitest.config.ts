import { defineConfig } from 'vitest/config';

const source = (name: string) => new URL(`packages/${name}.ts`, import.meta.url).pathname;
const server = (name: string) => `packages/server/test/**/${name}.test.ts`;
const cli = (name: string) => `packages/cli/test/**/${name}.test.ts`;
const ALL = ['packages/*/test/**/*.test.ts', 'test/**/*.test.ts'];

/**
 * `redis` has each file that needs more than this process and loopback sockets: Redis, PostgreSQL, a child process
 * (a compiler is one), or the times that the kernel gives to files. `fast` has all others: it is what is left, so no
 * file gets lost. test/house/projects.test.ts checks that a file which needs more is listed here.
 */
const REDIS = [
  ...['binary', 'callbacks', 'completion', 'keys', 'store', 'topologies'].map(cli),
  'packages/client/test/browser.test.ts',
  ...['callbacks-verifier', 'failure-limit', 'file-*', 'once', 'once-store'].map(server),
  ...['redis-*', 'checked-redis', 'sender-owners', 'sender-queue', 'stream'].map(server),
  ...['callbacks', 'end-to-end', 'support'].map((name) => `test/${name}/**/*.test.ts`),
  ...['check', 'clocks', 'lint', 'projects'].map((name) => `test/house/${name}.test.ts`),
  ...['faults/model', 'vectors/python'].map((name) => `test/${name}.test.ts`),
];
const FAULTS = [
  ...['single', 'replicas', 'cluster', 'copies'].map((name) => `test/faults/${name}.test.ts`),
  ...['contention', 'life'].map((name) => `test/keys/${name}.test.ts`),
];
const DOCS = ['test/docs/**/*.test.ts'];
const NONE = ['**/node_modules/**', 'test/house/fixtures/**'];
const globalSetup = ['test/support/global-setup.ts'];

/** `pnpm check:clocks` starts the tests at another time than the present. */
const MOVED_CLOCK =
  process.env['TEST_CLOCK'] === undefined
    ? []
    : ['--import', new URL('test/support/moved-clock.mjs', import.meta.url).href];
const thresholds = { lines: 95, branches: 95 };

export default defineConfig({
  resolve: {
    // Tests run on sources: no build to forget, and coverage counts what was written.
    alias: [
      { find: /^@countersign\/(shared|client|server)$/, replacement: source('$1/src/index') },
      { find: /^@countersign\/(client|server)\/(\w+)$/, replacement: source('$1/src/$2') },
      { find: /^#(digest|private-key)$/, replacement: source('shared/src/$1.node') },
    ],
  },
  test: {
    projects: [
      {
        extends: true,
        test: {
          name: 'fast',
          include: ALL,
          exclude: [...NONE, ...REDIS, ...FAULTS, ...DOCS],
          execArgv: MOVED_CLOCK,
          // Absolute, since test/house/clocks.test.ts runs the tests of another folder.
          setupFiles: [new URL('test/support/own-globals.ts', import.meta.url).pathname],
        },
      },
      { extends: true, test: { name: 'redis', include: REDIS, exclude: NONE, globalSetup } },
      { extends: true, test: { name: 'docs', include: DOCS, globalSetup } },
      // Each of them wants the whole machine: servers, Redis and an attacker. After all others, one at a time.
      {
        extends: true,
        test: {
          name: 'faults',
          include: FAULTS,
          globalSetup,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
    // Two workers for the two cores of CI; each file has a process of its own, so faults stay in it.
    pool: 'forks',
    maxWorkers: 2,
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
