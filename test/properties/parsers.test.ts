import {
  countersign,
  parseTarget,
  parseTimestamp,
  readHeaders,
  SignatureError,
} from '@countersign/shared';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { atLeast, headerValue, patience, runs, target } from './support.ts';

vi.setConfig({ testTimeout: patience });

const scheme = countersign();

/** Runs a parser, and lets nothing through but a refusal. */
function refuses(parse: () => unknown): boolean {
  try {
    parse();
    return false;
  } catch (error) {
    expect(error).toBeInstanceOf(SignatureError);
    expect((error as SignatureError).message.length).toBeLessThan(400);
    return true;
  }
}

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.string({ unit: 'binary-ascii', maxLength: 60 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
);

/** Pieces of what `Authorization` and presigned URLs are made of, in any order and number. */
const authorizationPiece = fc.constantFrom(
  'COUNTERSIGN1-HMAC-SHA256',
  'countersign1-hmac-sha256',
  ' ',
  '  ',
  'Credential=',
  ', SignedHeaders=',
  ', Signature=',
  ',',
  ';',
  '/',
  'CSAK1',
  '20261121',
  'video-api',
  'countersign1_request',
  'host',
  'host;x-countersign-date',
  '0'.repeat(64),
  'f'.repeat(63),
  '\t',
  '\n',
  '\0',
  'é',
  '__proto__',
);
const authorization = fc.oneof(
  fc
    .array(authorizationPiece, { maxLength: 12 })
    .map((pieces) => `COUNTERSIGN1-HMAC-SHA256 ${pieces.join('')}`),
  fc
    .tuple(
      fc.constantFrom('CSAK1/20261121/video-api/countersign1_request', 'a/b', '', '/'.repeat(40)),
      fc.constantFrom('host', 'host;date', 'date;host', 'host;host', ';', ''),
      fc.constantFrom('0'.repeat(64), 'F'.repeat(64), '', '0'),
    )
    .map(
      ([credential, names, signature]) =>
        `COUNTERSIGN1-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names}, Signature=${signature}`,
    ),
  anyText,
);

const presignedPiece = fc.constantFrom(
  'X-Countersign-Algorithm=COUNTERSIGN1-HMAC-SHA256',
  'X-Countersign-Credential=CSAK1%2F20261121%2Fvideo-api%2Fcountersign1_request',
  'X-Countersign-Date=20261121T222526Z',
  'X-Countersign-Expires=600',
  'X-Countersign-Expires=1e3',
  'X-Countersign-Nonce=NNNNNNNNNNNNNNNNNNNNNN',
  'X-Countersign-SignedHeaders=host',
  `X-Countersign-Signature=${'0'.repeat(64)}`,
  'x-countersign-date=1',
  'X-Countersign-',
  'a=1',
  '',
  '%zz',
  'X-Countersign-Date=%ff',
  '=',
);

const field = fc.tuple(
  fc.oneof(
    fc.constantFrom(
      'host',
      ':authority',
      ':path',
      'x-countersign-date',
      'X-Countersign-Nonce',
      'x-countersign-content-sha256',
      'x-countersign-epoch',
      'authorization',
      '__proto__',
    ),
    anyText,
  ),
  fc.oneof(
    headerValue,
    anyText,
    fc.constantFrom('20261121T222526Z', 'N'.repeat(22), '0'.repeat(64), 'UNSIGNED-PAYLOAD'),
  ),
);

describe('parsers', () => {
  it('readHeaders() refuses with a SignatureError or reads, in every form', () => {
    fc.assert(
      fc.property(fc.array(field, { maxLength: 8 }), (fields) => {
        refuses(() => readHeaders(fields));
        refuses(() => readHeaders(fields.flat()));
        refuses(() => readHeaders(Object.fromEntries(fields)));
        refuses(() => readHeaders(new Map(fields)));
      }),
      runs(25_000),
    );
  });

  it('readHeaders() refuses what is not text with a TypeError', () => {
    const NO_TEXT = /^Cannot read header "x": expected text, got \w+$/;
    for (const value of [5, null, {}, true, Symbol('x'), Buffer.from('x')]) {
      expect(() => readHeaders([['x', value as unknown as string]])).toThrow(NO_TEXT);
      expect(() => readHeaders({ x: value as unknown as string })).toThrow(NO_TEXT);
      expect(() => readHeaders(['x', value as unknown as string])).toThrow(NO_TEXT);
    }
  });

  it('parseTarget() refuses with a SignatureError or splits, losing nothing', () => {
    let read = 0;
    fc.assert(
      fc.property(
        fc.oneof(
          target,
          anyText,
          anyText.map((text) => `/${text}`),
        ),
        (text) => {
          if (refuses(() => parseTarget(text))) return;
          read += 1;
          const { path, query } = parseTarget(text);
          expect(query === '' ? path : `${path}?${query}`).toBe(text === '' ? '/' : text);
        },
      ),
      runs(100_000),
    );
    expect(read).toBeGreaterThan(atLeast(3_000));
  });

  it('countersign().read() refuses with a SignatureError or reads, in header form', () => {
    let read = 0;
    fc.assert(
      fc.property(
        authorization,
        fc.array(field, { maxLength: 4 }),
        fc.boolean(),
        (value, fields, isComplete) => {
          const rest: [string, string][] = isComplete
            ? [
                ['x-countersign-date', '20261121T222526Z'],
                ['x-countersign-nonce', 'N'.repeat(22)],
                ['x-countersign-content-sha256', '0'.repeat(64)],
              ]
            : fields;
          const headers: [string, string][] = [['authorization', value], ...rest];
          const isRefused = refuses(() =>
            scheme.read({ method: 'GET', path: '/', query: '', headers: readHeaders(headers) }),
          );
          if (!isRefused && isComplete) read += 1;
        },
      ),
      runs(50_000),
    );
    expect(read).toBeGreaterThan(atLeast(100));
  });

  it('countersign().read() refuses with a SignatureError or reads, in presigned form', () => {
    const complete = [
      'Algorithm=COUNTERSIGN1-HMAC-SHA256',
      'Credential=CSAK1%2F20261121%2Fvideo-api%2Fcountersign1_request',
      'Date=20261121T222526Z',
      'Expires=600',
      'Nonce=NNNNNNNNNNNNNNNNNNNNNN',
      'SignedHeaders=host',
      `Signature=${'0'.repeat(64)}`,
    ];
    const whole = complete.map((pair) => `X-Countersign-${pair}`).join('&');
    let read = 0;
    fc.assert(
      fc.property(
        fc.array(presignedPiece, { maxLength: 10 }),
        fc.constantFrom('', whole, `${whole}&`),
        (pieces, end) => {
          const query = [...pieces, end].join('&');
          const request = {
            method: 'GET',
            path: '/',
            query,
            headers: readHeaders([['host', 'api.test']]),
          };
          if (!refuses(() => scheme.read(request)) && scheme.read(request) !== undefined) {
            read += 1;
            expect(query.endsWith(whole)).toBe(true);
          }
        },
      ),
      runs(50_000),
    );
    expect(read).toBeGreaterThan(atLeast(100));
  });

  it('parseTimestamp() refuses with a SignatureError or reads what it is the only text for', () => {
    const digits = fc.string({
      unit: fc.constantFrom(...'0123456789'),
      minLength: 8,
      maxLength: 8,
    });
    const near = fc
      .tuple(
        digits,
        fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 6, maxLength: 6 }),
      )
      .map(([date, time]) => `${date}T${time}Z`);
    const real = fc
      .integer({ min: 0, max: 253_402_300_799 })
      .map(
        (seconds) => `${new Date(seconds * 1000).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`,
      );
    fc.assert(
      fc.property(fc.oneof(near, real, anyText), (text) => {
        if (refuses(() => parseTimestamp(text))) return;
        expect(
          `${new Date(parseTimestamp(text) * 1000).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`,
        ).toBe(text);
      }),
      runs(50_000),
    );
    fc.assert(
      fc.property(real, (text) => void expect(refuses(() => parseTimestamp(text))).toBe(false)),
      runs(5_000),
    );
  });
});

const SIZES = [1_000, 2_000, 4_000, 8_000, 16_000];

/**
 * Milliseconds that a call takes: the least of many runs, which no other process can make smaller.
 */
function least(call: () => void): number {
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 9; run++) {
    const start = performance.now();
    for (let repeat = 0; repeat < 20; repeat++) call();
    best = Math.min(best, (performance.now() - start) / 20);
  }
  return best;
}

/**
 * The worst growth where the input doubles: 2 for linear work, 4 for quadratic. A busy machine is
 * no proof: the best attempt counts.
 */
function growthOf(make: (size: number) => () => void, bound: number, attempts = 10): number {
  let worst = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < attempts && worst >= bound; attempt++) {
    const times = SIZES.map((size) => least(make(size)));
    // Below some microseconds it is the timer that is measured.
    const ratios = times
      .slice(1)
      .map((time, index) => Math.max(time, 0.02) / Math.max(times[index] as number, 0.02));
    worst = Math.min(worst, Math.max(...ratios));
  }
  return worst;
}

const quietly =
  (parse: () => unknown): (() => void) =>
  () => {
    try {
      parse();
    } catch (error) {
      if (!(error instanceof SignatureError)) throw error;
    }
  };

const read = (query: string, headers: [string, string][]) =>
  quietly(() => scheme.read({ method: 'GET', path: '/', query, headers: readHeaders(headers) }));

describe('the work of parsers', () => {
  it.each<[string, (size: number) => () => void]>([
    [
      'parseTarget() of escapes',
      (size) => quietly(() => parseTarget(`/${'%41'.repeat(size / 3)}`)),
    ],
    ['parseTarget() of dots', (size) => quietly(() => parseTarget(`/${'.%2e'.repeat(size / 4)}`))],
    [
      'parseTarget() of slashes',
      (size) => quietly(() => parseTarget(`/a${'/.a'.repeat(size / 3)}`)),
    ],
    [
      'parseTarget() of question marks',
      (size) => quietly(() => parseTarget(`/${'?'.repeat(size)}`)),
    ],
    [
      'parseTarget() of pairs',
      (size) => quietly(() => parseTarget(`/?${'a=b&'.repeat(size / 4)}`)),
    ],
    [
      'readHeaders() of blanks',
      (size) =>
        quietly(() => readHeaders([['x', `${' \t'.repeat(size / 2)}x${' \t'.repeat(size / 2)}`]])),
    ],
    [
      'readHeaders() of many fields',
      (size) =>
        quietly(() =>
          readHeaders(
            Array.from({ length: size / 16 }, (_, index) => [`x-${index}`, 'x'] as const),
          ),
        ),
    ],
    [
      'readHeaders() of one field many times',
      (size) =>
        quietly(() => readHeaders(Array.from({ length: size / 16 }, () => ['x', 'x'] as const))),
    ],
    [
      'readHeaders() of a long name',
      (size) => quietly(() => readHeaders([['x'.repeat(size), 'x']])),
    ],
    [
      'read() of commas',
      (size) =>
        read('', [
          ['authorization', `COUNTERSIGN1-HMAC-SHA256 Credential=${', '.repeat(size / 2)}`],
        ]),
    ],
    [
      'read() of slashes',
      (size) =>
        read('', [
          [
            'authorization',
            `COUNTERSIGN1-HMAC-SHA256 Credential=${'/'.repeat(size)}, SignedHeaders=host, Signature=0`,
          ],
        ]),
    ],
    [
      'read() of semicolons',
      (size) =>
        read('', [
          [
            'authorization',
            `COUNTERSIGN1-HMAC-SHA256 Credential=a, SignedHeaders=${';'.repeat(size)}, Signature=0`,
          ],
        ]),
    ],
    [
      'read() of markers',
      (size) =>
        read('', [
          [
            'authorization',
            `COUNTERSIGN1-HMAC-SHA256 Credential=a${', SignedHeaders='.repeat(size / 16)}`,
          ],
        ]),
    ],
    [
      'read() of a presigned start, over and over',
      (size) => read('X-Countersign-Algorithm=&'.repeat(size / 25), []),
    ],
    [
      'read() of ampersands before a presigned end',
      (size) => read(`${'&'.repeat(size)}X-Countersign-Date=`, []),
    ],
    ['read() of near misses', (size) => read('&x-countersign'.repeat(size / 14), [])],
    ['parseTimestamp() of digits', (size) => quietly(() => parseTimestamp('2'.repeat(size)))],
  ])('doubles where the input doubles: %s', (_name, make) => {
    expect(growthOf(make, 2.6)).toBeLessThan(2.6);
  });

  it('is told from work that grows with the square, which this test would refuse', () => {
    const square = (size: number) => () => {
      let found = 0;
      for (let one = 0; one < size / 32; one++)
        for (let two = 0; two < size / 32; two++) found += (one ^ two) & 1;
      if (found === -1) throw new Error('Never');
    };
    expect(growthOf(square, 2.6, 3)).toBeGreaterThan(2.6);
  });
});
