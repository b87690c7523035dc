import type { Reporter, TestModule, Vitest } from 'vitest/node';

/** Why a test may be skipped: there is no PostgreSQL, and none can be installed. */
const EXCUSED = /^Cannot (?:find|install) initdb/;

/**
 * Ends the report with `N passed, N failed, N skipped` alone on its line, which any CI can read, and fails
 * a run that skipped something without excuse: a test that does not run must not look like one that passes.
 */
export default class TallyReporter implements Reporter {
  #line = '0 passed, 0 failed, 0 skipped';
  #filtered = false;

  onInit(vitest: Vitest): void {
    this.#filtered = vitest.config.testNamePattern !== undefined;
    // Last of all, after the coverage table.
    process.once('exit', () => console.log(this.#line));
  }

  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandled: ReadonlyArray<unknown>): void {
    let excused = 0;
    const tally = { passed: 0, failed: unhandled.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      // A file or a hook that throws fails, though none of its tests did.
      tally.failed += module.errors().length;
      for (const suite of module.children.allSuites()) tally.failed += suite.errors().length;
      for (const test of module.children.allTests()) {
        const result = test.result();
        tally[result.state] += 1;
        if (result.state === 'skipped' && EXCUSED.test(result.note ?? '')) excused += 1;
      }
    }
    const skipped = tally.skipped + tally.pending;
    this.#line = `${tally.passed} passed, ${tally.failed} failed, ${skipped} skipped`;
    // `vitest -t name` skips the others because it was asked to.
    if (skipped > excused && !this.#filtered) process.exitCode = 1;
  }
}
