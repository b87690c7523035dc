import { request as httpRequest } from 'node:http';
import { createSigner, SignatureError } from '@countersign/client';
import { sha256Hex } from '@countersign/shared';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  audience,
  buildVerifier,
  clock,
  credentials,
  failure,
  judge,
  type Loopback,
  listen,
  NOW,
} from '../support.ts';

const signer = createSigner({ credentials, audience, clock });
let now = NOW;
let server: Loopback;

beforeAll(async () => {
  server = await listen(buildVerifier({ clock: () => now }));
});
afterAll(() => server.close());

/** Verifies a URL with a verifier whose clock shows `at`. */
function verdictOf(
  url: string,
  { at = NOW, method = 'GET', headers = {}, body = '' } = {},
): Promise<string> {
  const { pathname, search, host } = new URL(url);
  return judge(buildVerifier({ clock: () => at }), {
    method,
    url: pathname + search,
    headers: { host, ...headers },
    body,
  });
}

describe('presign()', () => {
  it('gives a URL that fetch, undici.request and node:http can use as it is, again and again', async () => {
    const url = await signer.presign({
      url: `${server.origin}/videos/42?format=mp4&q=a%20b+c`,
      expiresIn: 600,
    });
    expect(await (await fetch(url)).text()).toBe('accepted');
    expect(await (await request(url)).body.text()).toBe('accepted');
    await new Promise<void>((resolve) =>
      httpRequest(url, (res) => res.resume().on('end', resolve)).end(),
    );
    expect(server.received.slice(-3).map(({ verdict }) => verdict)).toEqual([
      'accepted',
      'accepted',
      'accepted',
    ]);
  });

  it('gives the example of the wire format', async () => {
    const fixed = createSigner({
      credentials,
      audience,
      clock,
      nonce: () => 'q83vASNFZ4mrze8BI0VniQ',
    });
    const url = await fixed.presign({
      url: 'https://api.example.com/videos/42?format=mp4',
      expiresIn: 600,
    });
    expect(url).toMatch(
      /^https:\/\/api\.example\.com\/videos\/42\?format=mp4&X-Countersign-Algorithm=COUNTERSIGN1-HMAC-SHA256&X-Countersign-Credential=CSAK/,
    );
    expect(url).toMatch(
      /&X-Countersign-Signature=055b36b9a1d218a30c67a761587f8637850a7b9e5c0b89f6485f782d9e89ecd3$/,
    );
  });

  it.each([
    [0, 'accepted'],
    [600, 'accepted'],
    [601, 'ERR_SIGNATURE_EXPIRED'],
    [-5, 'accepted'],
    [-6, 'ERR_SIGNATURE_NOT_YET_VALID'],
  ])('gives a URL of 600 s that after %d s is: %s', async (seconds, verdict) => {
    const url = await signer.presign({ url: 'https://api.test/', expiresIn: 600 });
    expect(await verdictOf(url, { at: NOW + seconds })).toBe(verdict);
  });

  it('gives a URL that expires while a server is up', async () => {
    const url = await signer.presign({ url: server.origin, expiresIn: 1 });
    now = NOW + 1;
    expect(await (await fetch(url)).text()).toBe('accepted');
    now = NOW + 2;
    expect(await (await fetch(url)).text()).toBe('ERR_SIGNATURE_EXPIRED');
    now = NOW;
  });

  it('gives a URL for one method only', async () => {
    const get = await signer.presign({ url: 'https://api.test/a', expiresIn: 60 });
    const put = await signer.presign({ method: 'put', url: 'https://api.test/a', expiresIn: 60 });
    expect(await verdictOf(get)).toBe('accepted');
    expect(await verdictOf(put, { method: 'PUT' })).toBe('accepted');
    for (const method of ['HEAD', 'POST', 'PUT', 'DELETE', 'get'])
      expect(await verdictOf(get, { method })).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await verdictOf(put)).toBe('ERR_SIGNATURE_MISMATCH');
  });

  it('gives a URL for no body, or for the one whose hash the caller declares', async () => {
    const bare = await signer.presign({ method: 'PUT', url: 'https://api.test/a', expiresIn: 60 });
    expect(await verdictOf(bare, { method: 'PUT', body: 'x' })).toBe('ERR_BODY_MISMATCH');
    const headers = {
      'x-countersign-content-sha256': sha256Hex('x'),
      'content-type': 'text/plain',
    };
    const url = await signer.presign({
      method: 'PUT',
      url: 'https://api.test/a',
      headers,
      expiresIn: 60,
    });
    expect(await verdictOf(url, { method: 'PUT', headers, body: 'x' })).toBe('accepted');
    expect(await verdictOf(url, { method: 'PUT', headers, body: 'y' })).toBe('ERR_BODY_MISMATCH');
    expect(
      await verdictOf(url, {
        method: 'PUT',
        headers: { ...headers, 'content-type': 'text/html' },
        body: 'x',
      }),
    ).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await verdictOf(url, { method: 'PUT', body: 'x' })).toBe('ERR_COMPONENT_NOT_COVERED');
  });

  it.each([
    ['Expires=60', 'Expires=61', 'ERR_SIGNATURE_MISMATCH'],
    ['Expires=60', 'Expires=060', 'ERR_SIGNATURE_MALFORMED'],
    ['Expires=60', 'Expires=60&X-Countersign-Expires=999', 'ERR_SIGNATURE_MALFORMED'],
    ['?a=1&', '?a=2&', 'ERR_SIGNATURE_MISMATCH'],
    ['?a=1&', '?', 'ERR_SIGNATURE_MISMATCH'],
    ['?a=1&', '?x-countersign-expires=999&a=1&', 'ERR_SIGNATURE_AMBIGUOUS'],
    ['/path?', '/path/?', 'ERR_SIGNATURE_MISMATCH'],
    ['SignedHeaders=host', 'SignedHeaders=', 'ERR_SIGNATURE_MALFORMED'],
  ])('gives a URL in which %s cannot become %s', async (from, to, code) => {
    const url = await signer.presign({ url: 'https://api.test/path?a=1', expiresIn: 60 });
    expect(url).toContain(from);
    expect(await verdictOf(url)).toBe('accepted');
    expect(await verdictOf(url.replace(from, to))).toBe(code);
    expect(await verdictOf(`${url}&b=1`)).toBe('ERR_SIGNATURE_AMBIGUOUS');
  });

  it('gives a URL that a server may accept once only', async () => {
    const verifier = buildVerifier({ presignedUrls: 'once' });
    const { pathname, search } = new URL(
      await signer.presign({ url: 'https://api.test/', expiresIn: 60 }),
    );
    const received = { method: 'GET', url: pathname + search, headers: { host: 'api.test' } };
    expect(await judge(verifier, received)).toBe('accepted');
    expect(await judge(verifier, received)).toBe('ERR_NONCE_REUSED');
  });

  it.each([
    ['https://api.test', 'https://api.test/?X-'],
    ['https://api.test/a?', 'https://api.test/a?X-'],
    ['https://api.test/a?#f', 'https://api.test/a?X-'],
    ['https://api.test/a??', 'https://api.test/a??&X-'],
    ['https://api.test/a?b', 'https://api.test/a?b&X-'],
    ['https://api.test/a?b=1&', 'https://api.test/a?b=1&&X-'],
    ['https://api.test/a?q=[1]&q=ü', 'https://api.test/a?q=[1]&q=%C3%BC&X-'],
    ['https://api.test/a?y-x-countersign-date=1', 'https://api.test/a?y-x-countersign-date=1&X-'],
    ['https://api.test:8443/a', 'https://api.test:8443/a?X-'],
  ])('appends to %s', async (url, start) => {
    const presigned = await signer.presign({ url: new URL(url), expiresIn: 3_600 });
    expect(presigned.slice(0, start.length)).toBe(start);
    expect(await verdictOf(presigned)).toBe('accepted');
  });

  it.each(['X-Countersign-Signature=0', 'a=1&x-countersign-anything', 'X-Countersign-Date='])(
    'refuses a URL that has %s already',
    async (query) => {
      const error = await failure(
        signer.presign({ url: `https://api.test/?${query}`, expiresIn: 60 }),
      );
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe(
        'Cannot presign a URL that has X-Countersign-* parameters already',
      );
    },
  );

  it('refuses a URL that it has presigned', async () => {
    const url = await signer.presign({ url: 'https://api.test/', expiresIn: 60 });
    expect(await failure(signer.presign({ url, expiresIn: 60 }))).toEqual(
      new TypeError('Cannot presign a URL that has X-Countersign-* parameters already'),
    );
  });

  it.each([
    [0, '0'],
    [-1, '-1'],
    [Number.NaN, 'NaN'],
    [1.5, '1.5'],
    ['60', '"60"'],
    [604_801, '604801'],
    [Number.POSITIVE_INFINITY, 'Infinity'],
    [1e300, '1e+300'],
    [undefined, 'undefined'],
    [null, 'null'],
  ])('refuses to presign for %j s', async (expiresIn, value) => {
    const error = await failure(
      signer.presign({ url: 'https://api.test/', expiresIn: expiresIn as number }),
    );
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toBe(
      `Cannot presign: "expiresIn" is ${value}: expected a whole number from 1 to 604800`,
    );
  });

  it('takes 1 to 604,800 seconds, of which a server bounds the most', async () => {
    for (const expiresIn of [1, 3_600])
      expect(await verdictOf(await signer.presign({ url: 'https://api.test/', expiresIn }))).toBe(
        'accepted',
      );
    expect(
      await verdictOf(await signer.presign({ url: 'https://api.test/', expiresIn: 604_800 })),
    ).toBe('ERR_SIGNATURE_MALFORMED');
  });

  it('refuses session credentials, since a URL cannot carry their token', async () => {
    for (const given of [
      { ...credentials, sessionToken: 'token-of-a-session' },
      () => ({ ...credentials, sessionToken: 'token-of-a-session' }),
    ]) {
      const error = await failure(
        createSigner({ credentials: given, audience, clock }).presign({
          url: 'https://api.test/',
          expiresIn: 60,
        }),
      );
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe(
        'Cannot presign with session credentials: a URL cannot carry the session token',
      );
    }
  });

  it.each([
    [{ url: '/relative' }, 'Cannot sign URL "/relative": expected an absolute http or https URL'],
    [
      { url: 'https://u:p@api.test/' },
      'Cannot sign a URL with credentials in it, for "api.test": an Authorization header cannot hold both',
    ],
    [
      { url: 'https://api.test/', method: 'G T' },
      'Cannot sign method "G T": expected one such as "POST"',
    ],
    [
      { url: 'https://api.test/', headers: { 'x-countersign-content-sha256': 'x' } },
      'Cannot sign body hash "x": expected 64 characters of lower-case hex, or UNSIGNED-PAYLOAD',
    ],
  ])('refuses %j', async (request, message) => {
    const error = await failure(signer.presign({ ...request, expiresIn: 60 }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(message);
  });

  it('refuses a URL that becomes too long', async () => {
    const error = await failure(
      signer.presign({ url: `https://api.test/${'a'.repeat(16_100)}`, expiresIn: 60 }),
    );
    expect(error).toBeInstanceOf(SignatureError);
    expect(error.code).toBe('ERR_TARGET_AMBIGUOUS');
  });
});
