// `pnpm check` must fail when a part of it fails, and say which.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';

const scripts = join(import.meta.dirname, '../../scripts');
const folder = realpathSync(mkdtempSync(join(tmpdir(), 'countersign-check-')));
const project = join(folder, 'project');

beforeEach(() => {
  rmSync(project, { recursive: true, force: true });
  mkdirSync(project);
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('check.mjs', () => {
  it.each([
    [[], ['ok lint', 'ok types', 'ok commits', 'ok fast']],
    [['--all'], ['ok lint', 'ok types', 'ok commits', 'ok tests', 'ok size']],
    [
      ['--all', '--without', 'tests', '--without', 'lint'],
      ['ok types', 'ok commits', 'ok size'],
    ],
    [
      ['--only', 'size', '--only', 'fast'],
      ['ok size', 'ok fast'],
    ],
    [
      ['--without', 'types'],
      ['ok lint', 'ok commits', 'ok fast'],
    ],
  ])('with %j runs these parts', (args, expected) => {
    const { lines, status } = check({}, ...args);
    expect(lines).toEqual(expected);
    expect(status).toBe(0);
  });

  it.each([
    ['exits with an error', 'echo wrong && exit 3'],
    ['is killed', 'echo wrong && kill -KILL $$'],
    ['is no program', 'echo wrong && no-such-program-of-ours'],
  ])('fails if a part %s, prints what it said, and goes on', (_, types) => {
    const { lines, output, status } = check({ types });
    expect(lines).toEqual(['ok lint', 'FAILED types', 'ok commits', 'ok fast']);
    expect(output).toContain('\nwrong\n');
    expect(status).toBe(1);
  });

  it('prints nothing of a part that is right, but why it was skipped', () => {
    const { output } = check({ lint: 'echo all is well', commits: 'echo "skipped: no git"' });
    expect(output).not.toContain('all is well');
    expect(output).toMatch(/^ok {5}commits \(.*\): skipped, no git$/m);
  });

  it.each(['--only', '--without'])('refuses %s with a part that there is not', (option) => {
    const { output, status } = check({}, option, 'lnit');
    expect(output).toContain('Cannot find part "lnit": expected one of lint, types, ');
    expect(status).toBe(1);
  });

  function check(changes: Record<string, string>, ...args: string[]) {
    const parts = ['lint', 'types', 'commits', 'fast', 'tests', 'size'];
    const all = { ...Object.fromEntries(parts.map((name) => [name, 'true'])), ...changes };
    const checks = Object.entries(all).map(([name, command]) => [`check:${name}`, command]);
    writeFileSync(
      join(project, 'package.json'),
      JSON.stringify({ scripts: { test: 'false', ...Object.fromEntries(checks) } }),
    );
    const { stdout, stderr, status } = node('check.mjs', project, ...args);
    const lines = [...stdout.matchAll(/^(ok|FAILED) +(\w+) \(/gm)].map(
      ([, is, it]) => `${is} ${it}`,
    );
    return { lines, output: stdout + stderr, status };
  }
});

describe('commits.mjs', () => {
  const LONG = `fix: ${'x'.repeat(68)}`;
  const RIGHT = `fix: ${'é'.repeat(67)}`;

  it('refuses a subject of more than 72 characters, and names the commit', () => {
    git('init', '-q');
    commit(RIGHT);
    expect(node('commits.mjs', project)).toMatchObject({ status: 0, stderr: '' });
    commit(LONG);
    const { stderr, status } = node('commits.mjs', project);
    expect(stderr).toMatch(/^\w+ fix: x+\n {2}has 73 characters, 72 are allowed\n$/);
    expect(status).toBe(1);
    commit(RIGHT);
    expect(node('commits.mjs', project).status).toBe(1);
  });

  it('leaves old commits and merges alone', () => {
    git('init', '-q');
    commit(LONG, '2026-11-30T00:00:00Z');
    git('checkout', '-q', '-b', 'branch');
    commit(RIGHT);
    git('checkout', '-q', '-');
    git('merge', '-q', '--no-ff', '-m', LONG, 'branch');
    expect(node('commits.mjs', project)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^1 commits since /),
    });
  });

  it('looks at what a shallow clone has', () => {
    git('init', '-q');
    commit(RIGHT);
    commit(LONG);
    const clone = join(project, 'clone');
    git('clone', '-q', '--depth', '1', `file://${project}`, clone);
    expect(node('commits.mjs', clone).status).toBe(1);
  });

  it.each(['beside no repository', 'inside another repository'])(
    'skips a folder of a tarball: %s',
    (where) => {
      if (where === 'inside another repository') {
        git('init', '-q');
        commit(LONG);
      }
      const tarball = join(project, 'tarball');
      mkdirSync(tarball);
      expect(node('commits.mjs', tarball)).toMatchObject({
        status: 0,
        stdout: 'skipped: this folder is no git repository\n',
      });
    },
  );

  function commit(subject: string, date = '2030-01-01T00:00:00Z'): void {
    const dates = { GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date };
    run('git', ['commit', '-q', '--allow-empty', '-m', subject], project, dates);
  }

  function git(...args: string[]): void {
    run('git', args, project);
  }
});

function node(script: string, cwd: string, ...args: string[]) {
  return run(process.execPath, [join(scripts, script), ...args], cwd);
}

/** With no settings of git but these. */
function run(program: string, args: string[], cwd: string, more: Record<string, string> = {}) {
  const names = ['AUTHOR', 'COMMITTER'].flatMap((who) => [
    [`GIT_${who}_NAME`, 'a test'],
    [`GIT_${who}_EMAIL`, 'test@example.com'],
  ]);
  const env = {
    PATH: process.env['PATH'],
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CEILING_DIRECTORIES: folder,
    ...Object.fromEntries(names),
    ...more,
  };
  return spawnSync(program, args, { cwd, env, encoding: 'utf8' });
}
