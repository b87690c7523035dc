import { readdirSync, readFileSync } from 'node:fs';
import { SignatureError } from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { CHANGES_KEYS, ruleOf } from '../support/redis-rules.ts';

const read = (file: string): string => readFileSync(file, 'utf8');

describe('docs/errors.md', () => {
  const source = read('packages/shared/src/errors.ts');
  const rows = [...source.matchAll(/^ {2}(ERR_\w+): \{ reason: '([\w-]+)', status: (\d+)/gm)];

  it('has a heading for every code, one for process warnings, and no other', () => {
    const codes = rows.map(([, code]) => code).sort();
    const headings = [...read('docs/errors.md').matchAll(/^## (.*)$/gm)]
      .map(([, heading]) => heading)
      .sort();
    expect(codes.length).toBeGreaterThan(15);
    expect(headings).toEqual([...codes, 'Process warnings']);
  });

  it.each(rows.map(([, code, reason, status]) => ({ code, reason, status })))(
    'says the reason and status of $code, and error.help leads there',
    ({ code, reason, status }) => {
      const section = read('docs/errors.md').split(`## ${code}\n\n`)[1] ?? '';
      expect(section.startsWith(`\`${reason}\`, ${status},`)).toBe(true);
      const error = new SignatureError(code as SignatureError['code'], 'x');
      expect(error.help).toBe(`docs/errors.md#${code?.toLowerCase()}`);
    },
  );
});

describe('docs/keys.md', () => {
  it('has a heading for every code of a KeyStoreError, and for nothing else', () => {
    const source = read('packages/server/src/keys/key-store-error.ts');
    const codes = [...source.matchAll(/^ {2}\| '(ERR_\w+)'/gm)].map(([, code]) => code).sort();
    const headings = [...read('docs/keys.md').matchAll(/^### (ERR_.*)$/gm)]
      .map(([, heading]) => heading)
      .sort();
    expect(codes.length).toBeGreaterThan(5);
    expect(headings).toEqual(codes);
  });
});

describe('docs/wire-format.md', () => {
  it('has the reason and status of every refusal that can go over the wire', () => {
    const source = read('packages/shared/src/errors.ts');
    const expected = new Set(
      [...source.matchAll(/reason: '([\w-]+)', status: (\d+)/g)].map(
        ([, reason, status]) => `${reason} ${status}`,
      ),
    );
    const table = new Set(
      [...read('docs/wire-format.md').matchAll(/^\| `([\w-]+)` \| (\d+) \|/gm)].map(
        ([, reason, status]) => `${reason} ${status}`,
      ),
    );
    expect([...table].sort()).toEqual([...expected].sort());
  });

  it('shows the worked example of the vectors, with every intermediate', () => {
    const page = read('docs/wire-format.md').replace(/^ {4}/gm, '');
    const { positive } = JSON.parse(read('test/vectors/countersign.json'));
    const example = positive.find(({ name }: { name: string }) => name === 'the worked example');
    for (const part of [
      'canonicalRequest',
      'stringToSign',
      'dateKey',
      'audienceKey',
      'signingKey',
      'signature',
      'secretAccessKey',
    ])
      expect(page).toContain(example[part]);
    const presigned = positive.find(({ name }: { name: string }) => name === 'a presigned URL');
    expect(page).toContain(presigned.signedUrl.replace('https://api.example.com', ''));
  });
});

describe('docs/run-it.md', () => {
  it.each([
    ['nonces', ruleOf('replay', 'RedisNonceStore')],
    ['keys', ruleOf('keys', CHANGES_KEYS)],
  ])('has the rule of the Redis user for %s that is documented and tried', (what, rule) => {
    const [, shown] =
      new RegExp(`^user countersign on >\\$SERVERS (~countersign:${what}:.*)$`, 'm').exec(
        read('docs/run-it.md'),
      ) ?? [];
    expect(shown?.split(' ')).toEqual([...rule, '+wait']);
  });

  it('has ten alerts, and names only codes that the other pages explain', () => {
    const page = read('docs/run-it.md');
    const alerts = page.split('## Alerts\n')[1]?.split('\n## ')[0] ?? '';
    expect([...alerts.matchAll(/^\| (?:warning|refusals|`used_memory`)/gm)]).toHaveLength(10);
    const explained = read('docs/errors.md') + read('docs/keys.md');
    const codes = [...page.matchAll(/\bERR_\w+|`(COUNTERSIGN_\w+)`/g)].map((it) => it[1] ?? it[0]);
    expect(codes.length).toBeGreaterThan(15);
    expect(codes.filter((code) => !explained.includes(code) && !isVariable(code))).toEqual([]);
  });
});

/** Those that the command reads, which its own page explains. */
function isVariable(name: string): boolean {
  return read('packages/cli/README.md').includes(`\`${name}\``);
}

describe('docs/servers.md', () => {
  it('names each class that must be closed when a server shuts down', async () => {
    const doors = ['index', 'redis', 'file', 'callbacks', 'bullmq'];
    const modules: Record<string, unknown>[] = await Promise.all(
      doors.map((door) => import(`../../packages/server/src/${door}.ts`)),
    );
    const closable = modules.flatMap((module) =>
      Object.entries(module).filter(
        ([, value]) =>
          typeof value === 'function' &&
          typeof (value.prototype as { close?: unknown } | undefined)?.close === 'function',
      ),
    );
    const section = read('docs/servers.md').split('## Shutting down\n')[1] ?? '';
    expect(closable.length).toBeGreaterThan(5);
    for (const [name] of closable) expect(section).toContain(`\`${name}\``);
  });
});

describe('docs/attacks.md', () => {
  const HEADING = /^## (.*)$/gm;
  const FILE = /`((?:packages|test)\/[^`]+)`/g;
  const page = read('docs/attacks.md');
  const sections = page.split(/^## /m).slice(1).map(sectionOf);

  it('has a file of tests for each heading, and test/attacks has no other', () => {
    expect([...page.matchAll(HEADING)].length).toBeGreaterThan(5);
    expect(readdirSync('test/attacks').sort()).toEqual(sections.map(({ file }) => file).sort());
  });

  it.each(sections)('has a row for each test of test/attacks/$file', ({ file, rows }) => {
    expect(rows.length).toBeGreaterThan(1);
    const listed = new Set(rows.map(({ id }) => id));
    const tested = attacksIn(`test/attacks/${file}`);
    expect(tested.length).toBeGreaterThan(0);
    expect(tested.filter((id) => !listed.has(id))).toEqual([]);
  });

  it.each(sections)('$file has a test for each row that names no file with one', (section) => {
    const here = attacksIn(`test/attacks/${section.file}`);
    const untested = section.rows.filter(
      ({ id, files }) => !here.includes(id) && !files.some((file) => attacksIn(file).includes(id)),
    );
    expect(untested.map(({ id }) => id)).toEqual([]);
  });

  it('has a row for each attack that is tested in a file that it names', () => {
    const rows = sections.flatMap((section) => section.rows);
    expect(rows.length).toBeGreaterThan(50);
    const listed = new Set(rows.map(({ id }) => id));
    const tested = rows.flatMap(({ files }) => files.flatMap(attacksIn));
    expect(tested.filter((id) => !listed.has(id))).toEqual([]);
  });

  it('names files that exist and hold tests', () => {
    for (const [, file] of page.matchAll(FILE))
      expect(read(file as string)).toMatch(/\bit\(|\bit\.each|"positive"/);
  });

  /** A heading with its rows, and the file in test/attacks that is named after the heading. */
  function sectionOf(text: string) {
    const [heading = ''] = text.split('\n');
    const rows = [...text.matchAll(/^\| ([CVTKDX]\d+) \|.*$/gm)].map(([row, id = '']) => ({
      id,
      files: [...row.matchAll(FILE)].map(([, file = '']) => file),
    }));
    return { file: `${heading.toLowerCase().replaceAll(' ', '-')}.test.ts`, rows };
  }

  /**
   * The numbers of the attacks that a file tests. The name of such a test begins with the number.
   */
  function attacksIn(file: string): string[] {
    return [...read(file).matchAll(/^ {2}[\w.\])]+\('([CVTKDX]\d+):/gm)].map(([, id = '']) => id);
  }
});

describe('packages', () => {
  it.each(['shared', 'client', 'server', 'cli'])('%s ships the license', (name) => {
    expect(read(`packages/${name}/LICENSE`)).toBe(read('LICENSE'));
  });
});
