import { createSigner } from '@countersign/client';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import {
  atLeast,
  audience,
  buildVerifier,
  clock,
  credentials,
  judge,
  patience,
  runs,
} from './support.ts';

vi.setConfig({ testTimeout: patience });

const verifier = buildVerifier();
const signer = createSigner({
  credentials: { ...credentials, sessionToken: 'session-token' },
  audience,
  clock,
  signedHeaders: ['x-trace'],
});
const presigner = createSigner({ credentials, audience, clock });

/** A request as bytes: one character each. */
interface Wire {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
}

const verdictOf = ({ method, target, headers, body }: Wire): Promise<string> =>
  judge(verifier, { method, url: target, headers, body: Buffer.from(body, 'latin1') });

const base = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT'),
  path: fc.constantFrom<string[]>(
    '/',
    '/VideoParser/',
    '/a%20b/%C3%A9',
    '/a?',
    '/a?b=1&b=2&c',
    "/~a+b;v=1,2/[x]?q=a/b:c@d!$'()*",
  ),
  headers: fc.constantFrom(
    {},
    { 'x-trace': 'a b' },
    { 'content-encoding': 'gzip', 'x-http-method-override': 'PUT' },
  ),
  body: fc.constantFrom('', '{"videoUrl":"https://videos.test/1"}', '\0\u00ff\u00fe'),
});
type Base = typeof base extends fc.Arbitrary<infer T> ? T : never;

async function signHeaders({ method, path, headers, body }: Base): Promise<Wire> {
  const given = { 'content-type': 'application/json', ...headers };
  const signed = await signer.sign({
    method,
    url: `https://api.test${path}`,
    headers: given,
    body: Buffer.from(body, 'latin1'),
    epoch: 'epoch-1',
  });
  return {
    method,
    target: signed.url.slice('https://api.test'.length),
    headers: [...Object.entries(signed.headers), ['host', 'api.test']],
    body,
  };
}

async function signUrl({ method, path, headers }: Base): Promise<Wire> {
  const url = await presigner.presign({
    method,
    url: `https://api.test${path}`,
    headers: headers as Record<string, string>,
    expiresIn: 600,
  });
  // Of the headers only those that are always signed: others are not covered.
  const fields = Object.entries(headers).filter(([name]) => name !== 'x-trace');
  return {
    method,
    target: url.slice('https://api.test'.length),
    headers: [...fields, ['host', 'api.test']],
    body: '',
  };
}

/** Every request that differs from this one in one bit, and where. */
function* flips(wire: Wire): Generator<{ where: string; flipped: Wire }> {
  for (const [index, method] of textFlips(wire.method))
    yield { where: `method[${index}]`, flipped: { ...wire, method } };
  for (const [index, target] of textFlips(wire.target))
    yield { where: `target[${index}]`, flipped: { ...wire, target } };
  for (const [index, body] of textFlips(wire.body))
    yield { where: `body[${index}]`, flipped: { ...wire, body } };
  for (const [at, [name, value]] of wire.headers.entries()) {
    const replaced = (field: readonly [string, string]) => ({
      ...wire,
      headers: wire.headers.with(at, field),
    });
    for (const [index, other] of textFlips(name)) {
      // The case of a header's name carries nothing: the first accepted exception.
      if (other.toLowerCase() !== name.toLowerCase())
        yield { where: `name of ${name}[${index}]`, flipped: replaced([other, value]) };
    }
    for (const [index, other] of textFlips(value))
      yield { where: `value of ${name}[${index}]`, flipped: replaced([name, other]) };
  }
}

function* textFlips(text: string): Generator<[index: number, text: string]> {
  for (let index = 0; index < text.length; index++) {
    for (let bit = 1; bit < 256; bit <<= 1) {
      yield [
        index,
        text.slice(0, index) +
          String.fromCharCode(text.charCodeAt(index) ^ bit) +
          text.slice(index + 1),
      ];
    }
  }
}

describe.each([
  ['header form', signHeaders],
  ['presigned form', signUrl],
] as const)('verify() of the %s', (_form, sign) => {
  it('refuses every request in which one bit of what is covered is flipped', async () => {
    let flipped = 0;
    await fc.assert(
      fc.asyncProperty(base, async (request) => {
        const wire = await sign(request);
        expect(await verdictOf(wire)).toBe('accepted');
        const accepted: string[] = [];
        for (const flip of flips(wire)) {
          flipped += 1;
          if ((await verdictOf(flip.flipped)) === 'accepted') accepted.push(flip.where);
        }
        expect(accepted).toEqual([]);
      }),
      runs(10),
    );
    expect(flipped).toBeGreaterThan(atLeast(25_000));
  });

  it('accepts another case of a header name, and spaces and tabs around a value', async () => {
    const wire = await sign({
      method: 'POST',
      path: '/a?b',
      headers: { 'content-encoding': 'gzip', 'x-http-method-override': 'PUT' },
      body: '',
    });
    for (const [at, [name, value]] of wire.headers.entries()) {
      for (const field of [
        [name.toUpperCase(), value],
        [name, ` \t${value}\t `],
      ] as const) {
        expect(await verdictOf({ ...wire, headers: wire.headers.with(at, field) })).toBe(
          'accepted',
        );
      }
    }
  });

  it('refuses a request without one of the headers that it signs, or with one of them twice', async () => {
    const wire = await sign({
      method: 'POST',
      path: '/a?b',
      headers: { 'content-encoding': 'gzip', 'x-http-method-override': 'PUT' },
      body: '',
    });
    for (const [at, field] of wire.headers.entries()) {
      expect(
        await verdictOf({ ...wire, headers: wire.headers.toSpliced(at, 1) }),
        field[0],
      ).toMatch(/^ERR_(?:COMPONENT_NOT_COVERED|SIGNATURE_MALFORMED|SIGNATURE_MISSING)$/);
      expect(await verdictOf({ ...wire, headers: [...wire.headers, field] }), field[0]).toBe(
        'ERR_SIGNATURE_AMBIGUOUS',
      );
    }
  });
});
