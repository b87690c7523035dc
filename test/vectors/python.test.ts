import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ensureProgram } from '../support/programs.ts';

it('the Python client, written from docs/wire-format.md alone, agrees with every vector', () => {
  const python = ensureProgram(['python3'], ['python3']);
  const { stdout, stderr, status } = spawnSync(python, ['examples/python/vectors.py', 'test/vectors/countersign.json'], { encoding: 'utf8' });
  const { positive, mustRefuse } = JSON.parse(readFileSync('test/vectors/countersign.json', 'utf8'));
  const signers = mustRefuse.filter((vector: { signer?: true }) => vector.signer).length;
  expect(stderr).toBe('');
  expect(stdout.trim()).toMatch(new RegExp(`${positive.length + signers} passed, 0 failed$`));
  expect(status).toBe(0);
});

it('the Python client has under 80 lines and imports the standard library alone', () => {
  const source = readFileSync('examples/python/countersign.py', 'utf8');
  const modules = [...source.matchAll(/^(?:import|from) +(\w+)/gm)].map(([, name]) => name);
  const standard = JSON.parse(
    spawnSync(ensureProgram(['python3'], ['python3']), ['-c', 'import json, sys; print(json.dumps(sorted(sys.stdlib_module_names)))'], { encoding: 'utf8' }).stdout,
  );
  expect(source.trimEnd().split('\n').length).toBeLessThan(80);
  expect(modules.length).toBeGreaterThan(0);
  expect(modules.filter((name) => !standard.includes(name))).toEqual([]);
});

it('the Python client signs with private keys as the vectors do, if the package cryptography is there', () => {
  const python = ensureProgram(['python3'], ['python3']);
  const run = (args: string[]) => spawnSync(python, args, { encoding: 'utf8' });
  const { stdout, stderr, status } = run(['examples/python/public_key_vectors.py', 'test/vectors/public-keys.json']);
  if (run(['-c', 'import cryptography']).status === 0) {
    const { positive } = JSON.parse(readFileSync('test/vectors/public-keys.json', 'utf8'));
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
    expect(stdout.trim()).toBe(`${positive.length} passed, 0 failed`);
    return;
  }
  expect(status).toBe(1);
  expect(stderr).toBe("Cannot check public keys: No module named 'cryptography'; install the package cryptography\n");
});
