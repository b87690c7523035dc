// A gate that cannot fail proves nothing: each rule of the house is shown a file that breaks it.
// The fixtures stand where real sources stand, so the real configuration decides about them.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const repository = join(import.meta.dirname, '../..');
const house = realpathSync(mkdtempSync(join(tmpdir(), 'countersign-house-')));

beforeAll(() => {
  const copy = (path: string) => cpSync(join(repository, path), join(house, path));
  for (const file of [
    'biome.jsonc',
    '.oxlintrc.json',
    '.gitignore',
    'ARCHITECTURE.md',
    'tsconfig.base.json',
  ]) {
    copy(file);
  }
  cpSync(join(import.meta.dirname, 'fixtures'), house, { recursive: true });
  mkdirSync(join(house, 'node_modules/@countersign'), { recursive: true });
  for (const name of ['@types', 'oxlint-tsgolint']) {
    symlinkSync(join(repository, 'node_modules', name), join(house, 'node_modules', name));
  }
  for (const name of ['shared', 'client', 'server']) {
    copy(`packages/${name}/package.json`);
    copy(`packages/${name}/tsconfig.json`);
    symlinkSync(join(house, 'packages', name), join(house, 'node_modules/@countersign', name));
  }
});

afterAll(() => rmSync(house, { recursive: true }));

describe('biome', () => {
  it('reports what breaks its rules, and nothing else', () => {
    const report = run('@biomejs/biome/bin/biome', 'lint', '--reporter=github', '.');
    const found = report.matchAll(/^::error title=(lint\/\S+?),file=([^,]+)/gm);
    expect([...found].map(([, rule, file]) => `${file} ${rule}`).sort()).toEqual([
      'packages/server/test/focused.test.ts lint/suspicious/noFocusedTests',
      'packages/server/test/skipped.test.ts lint/suspicious/noSkippedTests',
      'packages/shared/src/cycle-one.ts lint/suspicious/noImportCycles',
      'packages/shared/src/cycle-two.ts lint/suspicious/noImportCycles',
      'packages/shared/src/export-star.ts lint/performance/noReExportAll',
      'packages/shared/src/unused-import.ts lint/correctness/noUnusedImports',
    ]);
  });
});

describe('oxlint', () => {
  it('reports a floating promise of an interface from another package', () => {
    const report = run('oxlint/bin/oxlint', '--type-aware', '--format=unix', 'packages');
    const found = report.matchAll(/^(packages\/[^:]+):(\d+):.*no-floating-promises/gm);
    expect([...found].map(([, file, line]) => `${file}:${line}`)).toEqual([
      'packages/server/src/verify/floating-promise.ts:11',
    ]);
  });
});

describe('imports.mjs', () => {
  it('reports imports that the table does not allow, circles and doors with logic, and nothing else', () => {
    const report = run(join(repository, 'scripts/imports.mjs'), house);
    expect(report.trim().split('\n').sort()).toEqual([
      expect.stringMatching(/^ARCHITECTURE\.md says \d+ floors, the server has 3$/),
      'client/sign/imports-adapter.ts: must not import client/undici/signing.ts',
      'client/sign/imports-server.ts: must not import @countersign/server',
      'server/elsewhere/unlisted.ts: ARCHITECTURE.md does not list its folder',
      'server/express.ts: a door only re-exports names',
      'server/keys/imports-nonces.ts: must not import server/nonces/memory/imports-sibling.ts',
      'server/lib/imports-unlisted.ts: must not import left-pad',
      'server/nonces/memory/imports-sibling.ts: must not import server/nonces/redis/redis-nonce-store.ts',
      'server/verify/imports-adapter.ts: must not import server/http/express/require-signature.ts',
      'server/verify/imports-ioredis.ts: must not import ioredis',
      'shared/cycle-one.ts: imports itself through shared/cycle-two.ts',
      'shared/imports-node.ts: must not import node:crypto',
      'shared/imports-server.ts: must not import @countersign/server',
      'shared/schemes/countersign/scheme.ts: must not import shared/schemes/other/scheme.ts',
      'shared/schemes/other/scheme.ts: ARCHITECTURE.md does not list its folder',
    ]);
  });
});

/** Runs a linter, which must refuse, in the house of bad fixtures; gives what it printed. */
function run(program: string, ...args: string[]): string {
  const path = join(repository, 'node_modules', program);
  const script = program.startsWith('/') ? program : path;
  // By its file: how a package manager writes the command in `.bin` depends on how it was
  // installed.
  const tsgolint = join(repository, 'node_modules/oxlint-tsgolint/bin/tsgolint.js');
  const env = { ...process.env, OXLINT_TSGOLINT_PATH: tsgolint };
  const options = { cwd: house, env, encoding: 'utf8' } as const;
  const result = spawnSync(process.execPath, [script, ...args], options);
  expect(result.status, result.stderr).toBe(1);
  return (result.stdout + result.stderr).replaceAll(`${house}/`, '');
}
