// Comments are read more often than written: they stay as narrow as the code, and name the actor.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseSync } from 'oxc-parser';
import { describe, expect, it } from 'vitest';

const repository = join(import.meta.dirname, '../..');
const NOT_OURS =
  /(?:^|\/)(?:node_modules|dist|coverage|fixtures|\.[^/]*)(?:\/|$)|^test\/house\/prose\.test\.ts$/;
const SOURCE = /\.(?:[cm]?[jt]sx?)$/;
const SCRIPT = /\.(?:py|sh|lua|ya?ml)$/;
const PAGE = /\.(?:md|html|json)$/;
/** Columns, as many as a line of code has (biome.jsonc). */
const WIDEST = 100;
/** They say that there is an actor, and not who. "again" says what "anew" does. */
const VAGUE = /\b(?:whoever|somebody|nobody|anew)\b/gi;
/** Folders whose comments are still wider. */
const WIDE: string[] = ['packages/server', 'bench'];
/** Folders and files that still name no actor. */
const UNNAMED: string[] = ['packages'];
/**
 * "where" is for a place. For a condition there is "if", for a time "when". There are fewer than 40
 * places: this number falls to 40 with the comments that are rewritten.
 */
const PLACES = 300;

const commented = ['bench', 'examples', 'packages', 'scripts', 'test']
  .flatMap(filesIn)
  .filter((file) => SOURCE.test(file) || SCRIPT.test(file));
const worded = ['packages', 'docs']
  .flatMap(filesIn)
  .filter((file) => SOURCE.test(file) || SCRIPT.test(file) || PAGE.test(file))
  .concat('README.md');

describe('comments', () => {
  it('are as narrow as the code', () => {
    expect(commented.length).toBeGreaterThan(300);
    const done = commented.filter((file) => !isIn(WIDE, file));
    expect(done.flatMap((file) => wideComments(file, read(file)))).toEqual([]);
  });

  it('of packages write "where" for places only', () => {
    const places = commented
      .filter((file) => file.startsWith('packages/'))
      .flatMap((file) =>
        commentsOf(file, read(file)).filter(({ text }) => /\bwhere\b/i.test(text)),
      );
    expect(places.length).toBeLessThan(PLACES);
  });

  it.each([
    ['a.ts', `const a = 1; // ${'x'.repeat(83)}`, []],
    ['a.ts', `const a = 1; // ${'x'.repeat(85)}`, ['a.ts:1 has 101 columns']],
    ['a.ts', `/**\n * ${'x'.repeat(98)}\n */`, ['a.ts:2 has 101 columns']],
    ['a.ts', `\n// ${'é'.repeat(97)}\n// ${'é'.repeat(98)}`, ['a.ts:3 has 101 columns']],
    ['a.ts', `const a = '// ${'x'.repeat(98)}';`, []],
    ['a.py', `a = 1\n    # ${'x'.repeat(98)}`, ['a.py:2 has 104 columns']],
    ['a.py', `a = '# ${'x'.repeat(98)}'`, []],
  ])('are found in %s: %j', (file, text, wide) => {
    expect(wideComments(file, text)).toEqual(wide);
  });
});

describe('words', () => {
  it('of packages, documents and the README name the actor', () => {
    expect(worded.length).toBeGreaterThan(250);
    const done = worded.filter((file) => !isIn(UNNAMED, file));
    expect(done.flatMap((file) => vagueWords(file, read(file)))).toEqual([]);
  });

  it.each([
    ['Whoever has it, and somebody else', ['a.md:1 Whoever', 'a.md:1 somebody']],
    ['\nnobody signs anew', ['a.md:2 nobody', 'a.md:2 anew']],
    ['a newer body', []],
  ])('that do not are found in %j', (text, found) => {
    expect(vagueWords('a.md', text)).toEqual(found);
  });
});

it('nothing is listed as unfinished that is finished', () => {
  const finished = [
    ...WIDE.filter((name) => !commented.some((file) => isIn([name], file) && isWide(file))),
    ...UNNAMED.filter((name) => !worded.some((file) => isIn([name], file) && isVague(file))),
  ];
  expect(finished).toEqual([]);
});

function isWide(file: string): boolean {
  return wideComments(file, read(file)).length > 0;
}

function isVague(file: string): boolean {
  return vagueWords(file, read(file)).length > 0;
}

function isIn(names: readonly string[], file: string): boolean {
  return names.some((name) => file === name || file.startsWith(`${name}/`));
}

function filesIn(folder: string): string[] {
  return readdirSync(join(repository, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(repository.length + 1))
    .filter((file) => !NOT_OURS.test(file));
}

function read(file: string): string {
  return readFileSync(join(repository, file), 'utf8');
}

interface Comment {
  /** The lines that it stands on, the first of which is 0. */
  readonly first: number;
  readonly last: number;
  readonly text: string;
}

function commentsOf(file: string, text: string): Comment[] {
  const lineAt = (offset: number): number => text.slice(0, offset).split('\n').length - 1;
  if (SOURCE.test(file)) {
    const { comments } = parseSync(file, text);
    return comments.map(({ value, start, end }) => ({
      first: lineAt(start),
      last: lineAt(end),
      text: value,
    }));
  }
  const mark = file.endsWith('.lua') ? /^\s*--/ : /^\s*#/;
  return text
    .split('\n')
    .flatMap((line, at) => (mark.test(line) ? [{ first: at, last: at, text: line }] : []));
}

function wideComments(file: string, text: string): string[] {
  const lines = text.split('\n').map((line) => [...line].length);
  const commentedLines = new Set<number>();
  for (const { first, last } of commentsOf(file, text))
    for (let line = first; line <= last; line++) commentedLines.add(line);
  return [...commentedLines]
    .filter((line) => (lines[line] ?? 0) > WIDEST)
    .map((line) => `${file}:${line + 1} has ${lines[line]} columns`);
}

function vagueWords(file: string, text: string): string[] {
  return text
    .split('\n')
    .flatMap((line, at) => [...line.matchAll(VAGUE)].map(([word]) => `${file}:${at + 1} ${word}`));
}
