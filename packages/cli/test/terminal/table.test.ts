import { describe, expect, it } from 'vitest';
import { formatFields, formatTable } from '../../src/terminal/table.ts';

describe('formatTable()', () => {
  it('makes each column as wide as its widest cell, in characters', () => {
    const rows = [
      ['ID', 'LABEL', 'X'],
      ['a', 'Notebook 💻', 'y'],
      ['long', '', ''],
    ];
    expect(formatTable(rows)).toBe('ID    LABEL       X\na     Notebook 💻  y\nlong\n');
    expect(formatTable([])).toBe('');
    expect(formatTable([['a', 'b'], ['c']])).toBe('a  b\nc\n');
  });

  it('escapes what would move the cursor', () =>
    expect(formatTable([['\u001b[2Ja\r\n', '\u202eb']])).toBe(
      '\\u001b[2Ja\\u000d\\u000a  \\u202eb\n',
    ));
});

describe('formatFields()', () => {
  it('leaves out what has no value', () =>
    expect(formatFields({ Subject: 'alice', Label: undefined, Status: 'active' })).toBe(
      'Subject  alice\nStatus   active\n',
    ));
});
