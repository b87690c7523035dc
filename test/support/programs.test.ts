import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ensureProgram } from './programs.ts';

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

describe('ensureProgram()', () => {
  it('finds a program on the PATH', () => {
    expect(ensureProgram(['no-such-program', 'sh'], [])).toMatch(/\/sh$/);
  });

  it('prefers the names in the order given', () => {
    const folder = mkdtempSync(join(tmpdir(), 'countersign-programs-'));
    for (const name of ['first', 'second', 'not-executable']) {
      writeFileSync(join(folder, name), '');
      chmodSync(join(folder, name), name === 'not-executable' ? 0o644 : 0o755);
    }
    vi.stubEnv('PATH', folder);
    expect(ensureProgram(['not-executable', 'second', 'first'], [])).toBe(join(folder, 'second'));
    rmSync(folder, { recursive: true });
  });

  it('tells what to install where it may not install it', () => {
    vi.spyOn(process, 'getuid').mockReturnValue(1000);
    expect(() => ensureProgram(['no-such-program'], ['no-such-package'])).toThrow(
      'Cannot find no-such-program on the PATH: install no-such-program (Debian: apt-get install no-such-package)',
    );
  });
});
