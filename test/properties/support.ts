import {
  type AccessKey,
  createVerifier,
  MemoryKeyStore,
  SignatureError,
  type Verifier,
} from '@countersign/server';
import fc from 'fast-check';

export const audience = 'video-api';

export const credentials = {
  accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
  secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA',
};

/** 2026-11-21 22:25:26 UTC. */
export const clock = (): number => 1_795_299_926;

const scale = Number(process.env['PROPERTY_RUNS'] ?? 1);

/**
 * The parameters of a property. CI runs `ci` of them, the same every time. The nightly build runs
 * ten times as many, and others (`PROPERTY_RUNS=10`). `pnpm dev` runs a tenth.
 */
export function runs(ci: number): fc.Parameters<unknown> {
  return { seed: 20_261_120 + Math.round(scale), numRuns: Math.ceil(ci * scale) };
}

/** How many cases must have come up at least, of which CI sees more than `ci`. */
export function atLeast(ci: number): number {
  return ci * scale;
}

/** Some of the cases of a table: all of them in CI, and in `pnpm dev` one of ten. */
export function sample<T>(cases: readonly T[]): T[] {
  const step = Math.max(1, Math.round(1 / scale));
  return cases.filter((_, index) => index % step === 0);
}

/** Milliseconds that a property may take: none waits for anything. */
export const patience = 60_000 * Math.max(1, scale);

/** A verifier to which every nonce is new: what is tested is what is signed, not replays. */
export function buildVerifier(): Verifier {
  const key: AccessKey = { ...credentials, subject: 'alice', scopes: [], status: 'active' };
  return createVerifier({
    audience,
    keys: new MemoryKeyStore([key], clock),
    // Opens any token: it is the signature that must notice a change of it.
    sessions: { find: async () => ({ ...key, session: {} }) },
    nonces: { claim: async () => ({ outcome: 'claimed', epoch: 'epoch-1' }) },
    clock,
  });
}

/** "accepted", or the code of the refusal; all else that is thrown fails the test. */
export async function judge(
  verifier: Verifier,
  received: Parameters<Verifier['verify']>[0],
): Promise<string> {
  try {
    await verifier.verify(received);
    return 'accepted';
  } catch (error) {
    if (error instanceof SignatureError) return error.code;
    throw error;
  }
}

/** Pieces of which targets are made that parsers read in two ways. */
const piece = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom(
      'a',
      'b',
      'admin',
      'x',
      '1',
      '10',
      'A',
      '~',
      '-',
      '_',
      '.',
      '..',
      '...',
    ),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      '%2F',
      '%2f',
      '%2E',
      '%2e%2e',
      '%41',
      '%61',
      '%20',
      '%2B',
      '%25',
      '%252F',
      '%3D',
      '%26',
      '%3F',
      '%23',
      '%5B',
      '%5D',
      '%C3%A9',
      '%c3%a9',
      'e%CC%81',
      '%EF%BF%BD',
    ),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '+',
      '*',
      "'",
      '(',
      ')',
      '!',
      '$',
      ',',
      ';',
      ':',
      '@',
      '[',
      ']',
      '{',
      '}',
      '|',
      '^',
      '"',
      '`',
      '<',
      '>',
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '%',
      '%0',
      '%zz',
      '%00',
      '%FF',
      '%C0%AF',
      '%ED%A0%80',
      '\\',
      '#',
      ' ',
      '\t',
      '\n',
      '\u00e9',
      '\u1234',
      '\ud800',
      '__proto__',
      'constructor',
    ),
  },
);

const word = fc.array(piece, { maxLength: 3 }).map((pieces) => pieces.join(''));

const pair = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(word, word).map(([name, value]) => `${name}=${value}`) },
  { weight: 1, arbitrary: word },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      'x=1',
      'x=2',
      'x[]=1',
      'x[0]=2',
      'x[a]=1',
      'x',
      'x=',
      '=x',
      '',
      'x=b=c',
      'x=a,b',
      'x;y=1',
      '?',
      'x=+',
      'x=%20',
    ),
  },
);

const path = fc.array(word, { maxLength: 4 }).map((words) => `/${words.join('/')}`);

/** Request targets, most of them legal. */
export const target = fc
  .tuple(path, fc.option(fc.array(pair, { maxLength: 4 }), { nil: undefined }))
  .map(([before, query]) => (query === undefined ? before : `${before}?${query.join('&')}`));

/** Values of headers that may be signed, with what surrounds them on the wire. */
export const headerValue = fc
  .tuple(
    fc.constantFrom('', ' ', '\t', ' \t '),
    fc.string({
      unit: fc.constantFrom('a', 'B', '1', ' ', '\t', ',', ';', '=', ':', '"', '/', '~', '!'),
      maxLength: 20,
    }),
    fc.constantFrom('', ' ', '\t'),
  )
  .map((parts) => parts.join(''));

const headerName = fc.constantFrom(
  'content-type',
  'Content-Encoding',
  'X-HTTP-Method-Override',
  'x-countersign-note',
  'X-Countersign-Note-2',
  'Accept',
  '__proto__',
  'constructor',
  'x-other',
);

export const headers = fc.uniqueArray(fc.tuple(headerName, headerValue), {
  selector: ([name]) => name.toLowerCase(),
  maxLength: 6,
});

export const method = fc.constantFrom(
  'GET',
  'POST',
  'PUT',
  'DELETE',
  'PATCH',
  'HEAD',
  'OPTIONS',
  'M-SEARCH',
  'post',
);

export const body = fc.oneof(
  fc.constant(undefined),
  fc.uint8Array({ maxLength: 64 }),
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.jsonValue({ maxDepth: 2 }).map((value) => ({ value })),
);
