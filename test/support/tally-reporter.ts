import type { Reporter, TestModule, TestSpecification, Vitest } from 'vitest/node';

/** Why a test may be skipped: there is no PostgreSQL, and none can be installed. */
const EXCUSED = /^Cannot (?:find|install) initdb/;

/** What the files of each project take, as measured on 2026-12-01 with two cores for themselves. */
const MEASURED_SECONDS: Record<string, number> = { fast: 80, redis: 200, docs: 60, faults: 300 };

const PROGRESS_MILLISECONDS = 10_000;

/**
 * Says at the start of a run about how long it takes, and then how many files are done.
 *
 * Ends the report with `N passed, N failed, N skipped` alone on its line, which any CI can read,
 * and fails a run that skipped something without excuse: a test that does not run must not look
 * like one that passes.
 */
export default class TallyReporter implements Reporter {
  #line = '0 passed, 0 failed, 0 skipped';
  #vitest: Vitest | undefined;
  #progress: NodeJS.Timeout | undefined;
  #done = 0;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
    // Last of all, after the coverage table.
    process.once('exit', () => console.log(this.#line));
  }

  async onTestRunStart(chosen: ReadonlyArray<TestSpecification>): Promise<void> {
    const start = performance.now();
    const all = await this.#vitest?.globTestSpecifications();
    if (chosen.length === all?.length && this.#vitest?.config.watch === false)
      this.#log(`${chosen.length} test files, about ${durationOf(chosen)} on two idle cores`);
    this.#done = 0;
    clearInterval(this.#progress);
    this.#progress = setInterval(() => {
      const seconds = Math.round((performance.now() - start) / 1000);
      this.#log(`${this.#done} of ${chosen.length} test files done after ${seconds} s`);
    }, PROGRESS_MILLISECONDS).unref();
  }

  onTestModuleEnd(): void {
    this.#done += 1;
  }

  onTestRunEnd(modules: ReadonlyArray<TestModule>, unhandled: ReadonlyArray<unknown>): void {
    clearInterval(this.#progress);
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
    const isFiltered = this.#vitest?.config.testNamePattern !== undefined;
    if (skipped > excused && !isFiltered) process.exitCode = 1;
  }

  #log(message: string): void {
    this.#vitest?.logger.log(` … ${message}`);
  }
}

/** The sum of what the projects took when they were measured, as a person would say it. */
function durationOf(specifications: ReadonlyArray<TestSpecification>): string {
  const projects = new Set(specifications.map(({ project }) => project.name));
  const seconds = [...projects].reduce((sum, name) => sum + (MEASURED_SECONDS[name] ?? 0), 0);
  return seconds < 100 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`;
}
