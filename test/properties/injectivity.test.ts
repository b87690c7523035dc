import { createRequire } from 'node:module';
import { parse as parseQuerystring } from 'node:querystring';
import { createSigner } from '@countersign/client';
import {
  countersign,
  parseTarget,
  readHeaders,
  SignatureError,
  sha256Hex,
} from '@countersign/shared';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import vectors from '../vectors/nasty-targets.json' with { type: 'json' };
import {
  atLeast,
  audience,
  clock,
  credentials,
  headerValue,
  patience,
  runs,
  target,
} from './support.ts';

vi.setConfig({ testTimeout: patience });

// Those that Express itself uses.
const fromExpress = createRequire(createRequire(import.meta.url).resolve('express'));
const qs = fromExpress('qs') as { parse(query: string, options: object): unknown };
const parseurl = fromExpress('parseurl') as (request: { url: string }) => {
  pathname: string;
  query: string | null;
};

/**
 * What the application can tell two targets apart by: all that Express, `qs` and `URLSearchParams`
 * make of them.
 */
function viewOf(url: string): string {
  const { pathname, query } = parseurl({ url });
  const search = url.includes('?') ? url.slice(url.indexOf('?')) : '';
  return JSON.stringify([
    pathname,
    url.split('?', 1)[0],
    qs.parse(query ?? '', { allowPrototypes: true }),
    parseQuerystring(query ?? ''),
    [...new URLSearchParams(search)],
  ]);
}

type Canonicalise = (target: string) => string | undefined;

/** Ours: `undefined` where the target is refused. */
const ours: Canonicalise = (it) => {
  try {
    const { path, query } = parseTarget(it);
    return `${path}\n${query}`;
  } catch (error) {
    if (error instanceof SignatureError) return undefined;
    throw error;
  }
};

/**
 * The kindnesses of SigV4 and of what implements it: decode and encode again, merge slashes and
 * dots, sort.
 */
const sigV4Like: Canonicalise = (it) => {
  const [before = '', query = ''] = it.split(/\?(.*)/s, 2);
  const segments: string[] = [];
  for (const segment of decode(before).split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '.' && segment !== '') segments.push(encode(segment));
  }
  const pairs: string[] = [];
  for (const part of query.split('&')) {
    const [name = '', value] = part.split('=');
    if (value !== undefined) pairs.push(`${encode(decode(name))}=${encode(decode(value))}`);
  }
  return `/${segments.join('/')}\n${pairs.sort().join('&')}`;
};

const decode = (text: string): string =>
  Buffer.from(
    text.replace(/(?:%[0-9a-f]{2})+/gi, (run) =>
      Buffer.from(run.replaceAll('%', ''), 'hex').toString(),
    ),
  ).toString();
const encode = (text: string): string =>
  encodeURIComponent(Buffer.from(text).toString()).replace(
    /[!'()*]/g,
    (it) => `%${it.charCodeAt(0).toString(16).toUpperCase()}`,
  );

type Mutation = (target: string, at: number) => string;

/** Changes that an attacker in the middle, or a well-meaning proxy, makes. */
const mutations: readonly Mutation[] = [
  (it) => it,
  (it, at) => replaceAt(it, /\//g, at, '//'),
  (it, at) => replaceAt(it, /\//g, at, '/./'),
  (it, at) => replaceAt(it, /\//g, at, '/x/../'),
  (it, at) => replaceAt(it, /\//g, at, '%2F'),
  (it, at) => replaceAt(it, /%[0-9a-f]{2}/gi, at, (it) => it.toLowerCase()),
  (it, at) =>
    replaceAt(it, /%[0-9a-f]{2}/gi, at, (it) =>
      String.fromCharCode(Number.parseInt(it.slice(1), 16)),
    ),
  (it, at) => replaceAt(it, /%[0-9a-f]{2}/gi, at, '%FF'),
  (it, at) => replaceAt(it, /%[0-9a-f]{2}/gi, at, '%EF%BF%BD'),
  (it, at) => replaceAt(it, /[a-z0-9]/gi, at, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
  (it, at) => replaceAt(it, /\+/g, at, '%20'),
  (it, at) => replaceAt(it, /\+/g, at, '%2B'),
  (it, at) => replaceAt(it, /%20/g, at, '+'),
  (it, at) => replaceAt(it, /&/g, at, '&&'),
  (it, at) => replaceAt(it, /&/g, at, ';'),
  (it, at) => replaceAt(it, /=/g, at, ''),
  (it, at) => replaceAt(it, /=[^&]*/g, at, ''),
  (it, at) => replaceAt(it, /[^&?]+(?=&|$)/g, at, (pair) => `${pair}&${pair}`),
  (it) => mapQuery(it, (pairs) => pairs.toReversed()),
  (it) => mapQuery(it, (pairs) => pairs.toSorted()),
  (it) => mapQuery(it, (pairs) => [...pairs, 'x']),
  (it) => it.replace(/\?.*/s, ''),
  (it) => `${it}?`,
  (it) => `${it}/`,
  (it) => it.normalize('NFC'),
  (it) => it.toUpperCase(),
];

function replaceAt(
  text: string,
  pattern: RegExp,
  at: number,
  replacement: string | ((match: string) => string),
): string {
  const matches = [...text.matchAll(pattern)];
  const match = matches[at % Math.max(1, matches.length)];
  if (match === undefined) return text;
  const written = typeof replacement === 'string' ? replacement : replacement(match[0]);
  return text.slice(0, match.index) + written + text.slice(match.index + match[0].length);
}

function mapQuery(text: string, change: (pairs: string[]) => string[]): string {
  const mark = text.indexOf('?');
  return mark === -1
    ? text
    : `${text.slice(0, mark)}?${change(text.slice(mark + 1).split('&')).join('&')}`;
}

const mutation = fc.tuple(fc.constantFrom(...mutations), fc.nat(7));
const pairOfTargets = fc.oneof(
  fc
    .tuple(target, fc.array(mutation, { minLength: 1, maxLength: 3 }))
    .map(([one, steps]) => [one, steps.reduce((it, [mutate, at]) => mutate(it, at), one)] as const),
  fc.tuple(target, target),
);

/** "Same canonical form ⇒ same view", of a canonicaliser. */
const injective = (canonicalise: Canonicalise, onSame: () => void = () => undefined) =>
  fc.property(pairOfTargets, ([one, two]) => {
    const [first, second] = [canonicalise(one), canonicalise(two)];
    if (first === undefined || first !== second) return;
    onSame();
    expect(viewOf(two)).toBe(viewOf(one));
  });

describe('parseTarget()', () => {
  it.each(vectors.targets)('handles $name as the wire format says', (vector) => {
    const canonical = ours(vector.target);
    if ('refused' in vector) expect(canonical).toBeUndefined();
    else expect(canonical).toBe(`${vector.canonicalUri}\n${vector.canonicalQuery}`);
  });

  it.each(vectors.pairs)('never makes one of %s and %s', (one, two) => {
    const [first, second] = [ours(one as string), ours(two as string)];
    expect(first === undefined || first !== second).toBe(true);
  });

  it('never makes one of two targets that an application could tell apart', () => {
    let same = 0;
    fc.assert(
      injective(ours, () => same++),
      runs(100_000),
    );
    expect(same).toBeGreaterThan(atLeast(1_000));
  });
});

describe('a canonicaliser like that of SigV4', () => {
  it('makes one of 11 of the pairs: this test can fail', () => {
    const collisions = vectors.pairs
      .filter(([one, two]) => sigV4Like(one as string) === sigV4Like(two as string))
      .map(([one]) => one);
    expect(collisions.slice(0, 11)).toEqual([
      '/b',
      '/b',
      '/b',
      '/files/x%2Fy',
      '/a?x=1&x=2',
      '/a?x=%2B',
      '/a?x=%e4',
      '/a?admin',
      '/a?x=b=c',
      '/a?x[]=1&x[0]=2',
      '/files/%E9',
    ]);
    // The twelfth is not of the thirteen: a bare question mark.
    expect(collisions.slice(11)).toEqual(['/a?']);
  });

  it('fails the property that ours holds', () => {
    const { failed, numRuns } = fc.check(injective(sigV4Like), runs(100_000));
    expect(failed).toBe(true);
    expect(numRuns).toBeLessThan(1_000);
  });
});

describe('canonicalRequest()', () => {
  const signer = createSigner({ credentials, audience, clock, nonce: () => 'N'.repeat(22) });
  const scheme = countersign();
  const request = fc.record({
    method: fc.constantFrom('GET', 'POST', 'GET/', 'A'),
    url: fc.oneof(target, fc.constantFrom('/', '/a', '/a?b', '/a?b\nhost:x')),
    headers: fc.uniqueArray(
      fc.tuple(
        fc.constantFrom(
          'content-type',
          'content-encoding',
          'x-countersign-a',
          'x-countersign-b',
          'x-http-method-override',
        ),
        fc.oneof(headerValue, fc.constantFrom('a', 'a\nhost:x', 'a;b', 'é')),
      ),
      { selector: ([name]) => name, maxLength: 4 },
    ),
    body: fc.constantFrom('', 'a', '\u00ff', '\u00fe', 'a\n', '{"a":1}', '{ "a":1}'),
  });
  type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

  /** The canonical request, from what the signer sends; `undefined` where something is refused. */
  function canonical({ method, url, headers, body }: Request): string | undefined {
    const fields = [
      ...headers,
      ['host', 'api.test'],
      ['x-countersign-content-sha256', sha256Hex(Buffer.from(body, 'latin1'))],
    ] as [string, string][];
    try {
      const read = { method, ...parseTarget(url), headers: readHeaders(fields) };
      const intent = {
        accessKeyId: 'a',
        audience,
        signedAt: clock(),
        nonce: 'N'.repeat(22),
        body: { sha256: sha256Hex(Buffer.from(body, 'latin1')) },
      };
      const prepared = scheme.prepare(read, intent);
      return scheme.canonicalRequest(prepared.request, prepared.params);
    } catch (error) {
      if (error instanceof SignatureError) return undefined;
      throw error;
    }
  }

  const viewOfRequest = ({ method, url, headers, body }: Request): string =>
    JSON.stringify([
      method,
      viewOf(url),
      headers.map(([name, value]) => [name, value.replace(/^[ \t]+|[ \t]+$/g, '')]).sort(),
      body,
    ]);

  /** Small changes, of which each can be seen. */
  const changed = fc
    .tuple(request, request, fc.subarray(['method', 'url', 'headers', 'body'] as const))
    .map(
      ([one, other, parts]) =>
        [
          one,
          { ...one, ...Object.fromEntries(parts.map((part) => [part, other[part]])) } as Request,
        ] as const,
    );

  it('is never the same for two requests that an application could tell apart', () => {
    let same = 0;
    fc.assert(
      fc.property(changed, ([one, two]) => {
        const first = canonical(one);
        if (first === undefined || first !== canonical(two)) return;
        same += 1;
        expect(viewOfRequest(two)).toBe(viewOfRequest(one));
      }),
      runs(20_000),
    );
    expect(same).toBeGreaterThan(atLeast(500));
  });

  it('is what a signer signs: the same for the same request, another for another body', async () => {
    const sign = async (body: string) =>
      (await signer.sign({ method: 'POST', url: 'https://api.test/a', body })).headers[
        'authorization'
      ];
    expect(await sign('a')).toBe(await sign('a'));
    expect(await sign('a')).not.toBe(await sign('b'));
  });
});
