// Each test file is run once, and `pnpm dev` needs neither Redis nor another process.
// vitest.config.ts says which project a file belongs to.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { parseSync } from 'oxc-parser';
import { beforeAll, describe, expect, it } from 'vitest';

const repository = join(import.meta.dirname, '../..');
const NOT_OURS = /^(?:node_modules|dist|coverage|fixtures|\..*)$/;
const TEST = /\.(?:test|spec)\.[cm]?[jt]sx?$/;
const ANOTHER_PROCESS = /^(?:node:)?(?:child_process|cluster)$|^(?:esbuild|ioredis)$/;

/** The projects that each test file belongs to, as vitest finds them. */
let projects: Map<string, string[]>;

beforeAll(() => {
  const vitest = join(repository, 'node_modules/vitest/vitest.mjs');
  const { stdout } = spawnSync(process.execPath, [vitest, 'list', '--filesOnly', '--json'], {
    cwd: repository,
    encoding: 'utf8',
  });
  const found: { file: string; projectName: string }[] = JSON.parse(stdout);
  projects = new Map();
  for (const { file, projectName } of found) {
    const name = relative(repository, file);
    projects.set(name, [...(projects.get(name) ?? []), projectName]);
  }
});

describe('the projects of vitest.config.ts', () => {
  it('are fast, redis, docs and faults', () => {
    const names = new Set([...projects.values()].flat());
    expect([...names].sort()).toEqual(['docs', 'fast', 'faults', 'redis']);
  });

  it('have each test file once', () => {
    const tests = filesIn('.').filter((file) => TEST.test(file));
    expect(tests.length).toBeGreaterThan(50);
    const wrong = tests.filter((file) => projects.get(file)?.length !== 1);
    expect(wrong.map((file) => `${file}: ${projects.get(file)?.join(' and ') ?? 'none'}`)).toEqual(
      [],
    );
    expect([...projects.keys()].filter((file) => !tests.includes(file))).toEqual([]);
  });

  it('start no other process in fast: list the file under REDIS in vitest.config.ts', () => {
    const fast = [...projects].filter(([, names]) => names.includes('fast')).map(([file]) => file);
    expect(fast.length).toBeGreaterThan(30);
    expect(fast.flatMap(needsOf)).toEqual([]);
  });

  it.each([
    ['itself', 'packages/server/test/callbacks/once/once.test.ts', 'node:child_process'],
    ['what it imports', 'packages/server/test/lib/redis/redis-wait.test.ts', 'node:child_process'],
    ['what that imports', 'test/vectors/python.test.ts', 'node:child_process'],
    ['an import() of its own', 'packages/server/test/failures/failure-limit.test.ts', 'ioredis'],
    ['the Redis of its project', 'test/docs/examples.test.ts', 'redisUrl'],
  ])('are told from each other also if only %s needs more', (_, file, need) => {
    expect(needsOf(file).some((it) => it.endsWith(need))).toBe(true);
  });
});

/** The files of the repository below a folder, but for those that are made or bad on purpose. */
function filesIn(folder: string): string[] {
  const entries = readdirSync(join(repository, folder), { withFileTypes: true });
  return entries.flatMap((entry) => {
    const path = join(folder, entry.name);
    if (!entry.isDirectory()) return [path];
    return NOT_OURS.test(entry.name) ? [] : filesIn(path);
  });
}

/**
 * What a test needs beyond its process, and which file asks for it: `a.test.ts: b.ts imports
 * ioredis`.
 */
function needsOf(test: string): string[] {
  const seen = new Set<string>();
  const needs: string[] = [];
  const visit = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    const text = readFileSync(join(repository, file), 'utf8');
    if (/\binject\(\s*'redisUrl'/.test(text)) needs.push(`${test}: ${file} uses redisUrl`);
    for (const specifier of importsOf(file, text)) {
      if (ANOTHER_PROCESS.test(specifier)) needs.push(`${test}: ${file} imports ${specifier}`);
      const imported = relative(repository, resolve(repository, dirname(file), specifier));
      // Sources are no support of tests: they start nothing by being imported.
      if (/^\..*\.[cm]?[jt]s$/.test(specifier) && !imported.includes('/src/')) visit(imported);
    }
  };
  visit(test);
  return needs;
}

/** What a file imports when it runs: types alone start nothing. */
function importsOf(file: string, text: string): string[] {
  const { module, errors } = parseSync(file, text);
  if (errors.length > 0) throw new Error(`Cannot parse ${file}: ${errors[0]?.message}`);
  const imports = module.staticImports
    .filter(({ entries }) => entries.length === 0 || entries.some(({ isType }) => !isType))
    .map(({ moduleRequest }) => moduleRequest.value);
  const exports = module.staticExports.flatMap(({ entries }) =>
    entries.flatMap(({ moduleRequest, isType }) => (isType ? [] : (moduleRequest?.value ?? []))),
  );
  const dynamic = module.dynamicImports.map(({ moduleRequest: { start, end } }) =>
    text.slice(start + 1, end - 1),
  );
  return [...imports, ...exports, ...dynamic];
}
