// The examples of the documents and of the doc comments are programs: each is run, and
// type-checked, as it stands. A fence marked `no-run` is left alone. Each is written at the line
// where it stands in its source, so that stack traces and compiler errors point there.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, inject, it } from 'vitest';

interface Example {
  /** `packages/client/src/sign/signer.ts:12` */
  readonly name: string;
  readonly path: string;
}

const repository = join(import.meta.dirname, '../..');
const folder = join(repository, 'test/.examples');
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder);

const documents = ['README.md', ...list('docs', '.md')].flatMap(extract);
const sources = ['shared', 'client', 'server'].flatMap((name) =>
  list(`packages/${name}/src`, '.ts'),
);
const comments = sources.flatMap(extract);

process.env['REDIS_URL'] = inject('redisUrl');
// Node's own prints and goes on.
console.assert = (holds?: boolean) => {
  if (!holds) throw new Error('An assertion of the example does not hold');
};

describe('examples', () => {
  it('are in the doc comments', () => expect(comments.length).toBeGreaterThan(0));

  it.each(sources.filter((file) => read(file).includes('@example')))(
    'follow every @example of %s',
    (file) => {
      const bare = /@example(?:(?!\n\s*\*\s*@|\*\/|```).)*(?:\n\s*\*\s*@|\*\/)/s.exec(read(file));
      expect(bare?.[0]).toBeUndefined();
    },
  );

  it.each([...documents, ...comments])('$name runs', ({ path }) => import(path));

  it('have the right types', () => {
    const config = {
      extends: '../tsconfig.json',
      compilerOptions: { noUnusedLocals: false, noUnusedParameters: false },
      include: ['./*.ts'],
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
    const tsc = join(repository, 'node_modules/.bin/tsc');
    const { stdout, status } = spawnSync(tsc, ['-p', folder], { cwd: folder, encoding: 'utf8' });
    expect(stdout).toBe('');
    expect(status).toBe(0);
  });
});

/** The files in a folder of the repository, and below. */
function list(under: string, extension: string): string[] {
  if (!existsSync(join(repository, under))) return [];
  const files = readdirSync(join(repository, under), { encoding: 'utf8', recursive: true });
  return files.filter((file) => file.endsWith(extension)).map((file) => `${under}/${file}`);
}

function read(file: string): string {
  return existsSync(join(repository, file)) ? readFileSync(join(repository, file), 'utf8') : '';
}

/** Writes each ```ts and ```js block of a file, or of the doc comments of a source, as a module. */
function extract(file: string): Example[] {
  const prefix = file.endsWith('.ts') ? '[ \\t]*\\*[ \\t]?[ \\t]*' : '[ \\t]*';
  const fence = new RegExp(
    `^(${prefix})\`\`\`(ts|js)\\b(.*)\\n((?:.*\\n)*?)${prefix}\`\`\`[ \\t]*$`,
    'gm',
  );
  const text = read(file);
  const found: Example[] = [];
  for (const match of text.matchAll(fence)) {
    const [, indent = '', language, info = '', body = ''] = match;
    // What a page lets its readers save as a file, the test of that page runs.
    if (/\bno-run\b|\bfile=/.test(info)) continue;
    const line = text.slice(0, match.index).split('\n').length;
    const code = body.split('\n').map((it) => it.slice(indent.length));
    const path = join(folder, `${file.replace(/\W+/g, '-')}-${line}.${language}`);
    writeFileSync(path, `${'\n'.repeat(line)}${code.join('\n')}\nexport {};\n`);
    found.push({ name: `${file}:${line}`, path });
  }
  return found;
}
