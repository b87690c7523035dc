import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { newFolder, run } from '../support.ts';

const scriptFor = async (shell: string): Promise<string> => {
  const { code, stdout, stderr } = await run(['completion', shell]);
  expect([code, stderr]).toEqual([0, '']);
  return stdout;
};

/** What a real bash offers after each line. */
async function offers(folder: string, ...lines: string[][]): Promise<string[][]> {
  const script = join(folder, 'completion.bash');
  await writeFile(script, await scriptFor('bash'));
  const program = `
    . ./completion.bash
    complete -p countersign >&2
    for line in "$@"; do
      IFS='|' read -r -a COMP_WORDS <<<"$line|."
      COMP_WORDS=("\${COMP_WORDS[@]:0:\${#COMP_WORDS[@]}-1}")
      COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
      _countersign
      echo "\${COMPREPLY[*]}"
    done`;
  const args = ['--norc', '-c', program, 'bash', ...lines.map((words) => words.join('|'))];
  const { stdout, stderr } = spawnSync('bash', args, { cwd: folder, encoding: 'utf8' });
  expect(stderr).toBe('complete -F _countersign countersign\n');
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' '));
}

describe('completion in bash', () => {
  it('offers commands, options, files and choices, each in its place', async () => {
    const folder = await newFolder();
    await writeFile(join(folder, 'master-key'), '');
    const [groups, keys, r, options, file, value, after, shells, states, d] = await offers(
      folder,
      ['countersign', ''],
      ['countersign', 'keys', ''],
      ['countersign', 'keys', 'r'],
      ['countersign', 'keys', 'rotate', 'CSAK', '--o'],
      ['countersign', 'keys', 'list', '--master-key-file', 'ma'],
      ['countersign', 'keys', 'list', '--subject', ''],
      ['countersign', 'keys', 'list', '--subject', 'keys', '--j'],
      ['countersign', 'completion', ''],
      ['countersign', 'callbacks', 'list', '--state', ''],
      ['countersign', 'callbacks', 'list', '--state', 'de'],
    );
    expect(groups).toEqual(
      expect.arrayContaining(['keys', 'sessions', 'callbacks', 'master-key', 'completion']),
    );
    expect(keys).toEqual(expect.arrayContaining(['create', 'list', 'show', 'rotate', 'revoke']));
    expect(r).toEqual(['rotate', 'revoke', 'rewrap']);
    expect(options).toEqual(['--overlap']);
    expect(file).toEqual(['master-key']);
    expect(value).toEqual(['']);
    expect(after).toEqual(['--json']);
    expect(shells).toEqual(expect.arrayContaining(['bash', 'zsh', 'fish']));
    expect(states).toEqual(['waiting', 'dead', 'delivered']);
    expect(d).toEqual(['dead', 'delivered']);
  });

  it('offers a file whose name is a pattern once, unchanged', async () => {
    const folder = await newFolder();
    for (const name of ['a*b', 'a-b']) await writeFile(join(folder, name), '');
    const [files] = await offers(folder, ['countersign', 'keys', 'list', '--master-key-file', 'a']);
    expect(files?.sort()).toEqual(['a*b', 'a-b']);
  });
});

describe('completion in zsh and fish', () => {
  it('knows every command and option that help knows', async () => {
    const [zsh, fish] = [await scriptFor('zsh'), await scriptFor('fish')];
    expect(zsh).toMatch(/^#compdef countersign\n/);
    for (const [place, name] of [
      ['countersign', 'keys'],
      ['countersign keys', 'rotate'],
      ['countersign sessions', 'issue'],
      ['countersign callbacks', 'listen'],
      ['countersign callbacks send', '--allow-private-addresses'],
      ['countersign keys rotate', '--overlap'],
      ['countersign keys list', '--master-key-file'],
    ] as const) {
      expect(zsh).toMatch(new RegExp(`^ +\\('${place}'\\) .*'${name}:`, 'm'));
      const way = name.startsWith('--') ? `-l ${name.slice(2)}` : `-a ${name}`;
      expect(fish).toMatch(new RegExp(`^complete .*"${place}"' ${way}\\b`, 'm'));
    }
    expect(fish).toMatch(/ -l master-key-file -r -F /);
    expect(fish).toMatch(/ -l subject -x /);
    expect(fish).toMatch(/callbacks list"' -l state -x -a 'waiting dead delivered' -d /);
    expect(zsh).toMatch(
      /^ +\('countersign callbacks list --state'\) compadd -- waiting dead delivered; return ;;$/m,
    );
  });
});

it('completion prints a document with --json', async () => {
  const { stdout } = await run(['completion', 'fish', '--json']);
  expect(JSON.parse(stdout)).toEqual({ shell: 'fish', script: await scriptFor('fish') });
});
