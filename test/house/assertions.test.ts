// A test that takes any error for the one that it expects passes for the wrong reason.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Node, parseSync, Visitor } from 'oxc-parser';
import { describe, expect, it } from 'vitest';

const repository = join(import.meta.dirname, '../..');
const TEST = /^(?:packages\/\w+\/test|test)\/(?!.*(?:node_modules|fixtures)).*\.ts$/;
/** They pass for almost every value. */
const VAGUE = /^(?:toBeTruthy|toBeFalsy|toBeDefined)$/;
const THROWS = /^toThrow(?:Error)?$/;

/** Files whose tests do not say yet why something is refused. */
const NOT_YET = ['memory/memory-nonce-store', 'redis/redis-nonce-store'].map(
  (name) => `packages/server/test/nonces/${name}.test.ts`,
);

describe('assertions', () => {
  const tests = readdirSync(repository, { recursive: true, encoding: 'utf8' }).filter((file) =>
    TEST.test(file),
  );

  it('say what they expect: toThrow() a message or an object, toBe() a value', () => {
    expect(tests.length).toBeGreaterThan(100);
    const vague = tests
      .filter((file) => !NOT_YET.includes(file))
      .flatMap((file) =>
        vagueIn(readFileSync(join(repository, file), 'utf8')).map((what) => `${file}: ${what}`),
      );
    expect(vague).toEqual([]);
  });

  it('are looked at in every file but those that are still vague', () => {
    for (const file of NOT_YET)
      expect(vagueIn(readFileSync(join(repository, file), 'utf8')), file).not.toEqual([]);
  });

  it.each([
    ['expect(f).toThrow()', ['toThrow()']],
    ['expect(f).toThrowError()', ['toThrowError()']],
    ['expect(f).not.toThrow()', ['toThrow()']],
    ['await expect(p).rejects.toThrow()', ['toThrow()']],
    ['expect(f).toThrow(TypeError)', ['toThrow(TypeError)']],
    ['expect(x).toBeTruthy(); expect(y).not.toBeFalsy()', ['toBeTruthy()', 'toBeFalsy()']],
    ['if (a) { expect(x).toBeDefined(); }', ['toBeDefined()']],
    ["expect(f).toThrow('Cannot sign')", []],
    ['expect(f).toThrow(/Cannot/)', []],
    ['expect(f).toThrow(message)', []],
    ["expect(f).toThrow(new TypeError('no'))", []],
    ['expect(f).toThrow(expect.objectContaining({ code }))', []],
    ['expect(x).toBeUndefined()', []],
  ])('are told from each other: %s', (text, vague) => {
    expect(vagueIn(text)).toEqual(vague);
  });
});

/** The assertions in a text that say too little, as they are written. */
function vagueIn(text: string): string[] {
  const { program, errors } = parseSync('a.ts', text);
  if (errors.length > 0) throw new Error(`Cannot parse: ${errors[0]?.message}`);
  const found: string[] = [];
  new Visitor({
    CallExpression({ callee, arguments: [given] }) {
      if (callee.type !== 'MemberExpression' || callee.property.type !== 'Identifier') return;
      const { name } = callee.property;
      if (VAGUE.test(name) || (THROWS.test(name) && isAnyError(given)))
        found.push(`${name}(${given === undefined ? '' : text.slice(given.start, given.end)})`);
    },
  }).visit(program);
  return found;
}

/** Whether nothing is expected of an error but to be there, or to be of a class. */
function isAnyError(given: Node | undefined): boolean {
  return given === undefined || (given.type === 'Identifier' && /^[A-Z].*Error$/.test(given.name));
}
