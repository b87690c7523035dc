import { type HeadersInput, readHeaders } from '@countersign/shared';
import { describe, expect, it } from 'vitest';

describe('readHeaders()', () => {
  const forms: [string, HeadersInput][] = [
    [
      'pairs',
      [
        ['Host', 'a'],
        ['X-One', ' 1\t'],
      ],
    ],
    ['raw headers', ['Host', 'a', 'X-One', ' 1\t']],
    ['a Headers', new Headers({ Host: 'a', 'X-One': ' 1\t' })],
    ['a record', { Host: 'a', 'X-One': ' 1\t', 'x-none': undefined }],
    [
      'a Map',
      new Map([
        ['Host', 'a'],
        ['X-One', ' 1\t'],
      ]),
    ],
  ];
  it.each(forms)('reads %s alike', (_, input) => {
    const fields = readHeaders(input);
    expect([...fields.names].sort()).toEqual(['host', 'x-one']);
    expect([fields.get('host'), fields.get('x-one'), fields.get('x-none')]).toEqual([
      'a',
      '1',
      undefined,
    ]);
  });

  it('reads no field from an empty input', () => {
    for (const nothing of [[], {}, new Headers()] as HeadersInput[])
      expect(readHeaders(nothing).names).toEqual([]);
  });

  it('refuses to get a field that occurs twice, in every form and case', () => {
    for (const twice of [
      { 'x-a': ['1', '2'] },
      ['x-a', '1', 'X-A', '1'],
      [
        ['x-a', '1'],
        ['x-A', '2'],
      ],
    ] as HeadersInput[]) {
      expect(() => readHeaders(twice).get('x-a')).toThrow(
        expect.objectContaining({ code: 'ERR_SIGNATURE_AMBIGUOUS' }),
      );
    }
  });

  it('removes only spaces and tabs from the ends of a value', () => {
    expect(readHeaders({ a: '\u00a0 b \t' }).get('a')).toBe('\u00a0 b');
    expect(readHeaders({ a: '\t \t' }).get('a')).toBe('');
  });

  it('takes the host of HTTP/2 from :authority, and no other pseudo-field', () => {
    const fields = readHeaders([':method', 'GET', ':path', '/', ':authority', 'a', 'x-b', '1']);
    expect(fields.names).toEqual(['host', 'x-b']);
    expect(() => readHeaders([':authority', 'a', 'host', 'a']).get('host')).toThrow(
      expect.objectContaining({ code: 'ERR_SIGNATURE_AMBIGUOUS' }),
    );
  });

  it('refuses more than 1,000 fields, and a name or value that is no text', () => {
    expect(
      readHeaders(Array.from({ length: 1_000 }, (_, index) => [`x-${index}`, ''] as const)).names,
    ).toHaveLength(1_000);
    expect(() =>
      readHeaders(Array.from({ length: 1_001 }, (_, index) => [`x-${index}`, ''] as const)),
    ).toThrow(expect.objectContaining({ code: 'ERR_SIGNATURE_MALFORMED' }));
    for (const bad of [{ a: 1 }, [['a']], [['a', null]], ['a'], [[1, 'a']]] as never[])
      expect(() => readHeaders(bad)).toThrow(/^Cannot read header ".*": expected text, got \w+$/);
  });
});
