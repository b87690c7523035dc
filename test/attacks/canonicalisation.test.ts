import { randomBytes } from 'node:crypto';
import { createVerifier, generateAccessKey, MemoryNonceStore } from '@countersign/server';
import { describe, expect, it } from 'vitest';
import {
  ACCEPTED,
  addHeader,
  createApi,
  expectRefused,
  header,
  NOW,
  outcome,
  type Received,
  signerFor,
  withHeader,
  withoutHeader,
} from '../support/api.ts';

/** What is signed under one target is refused under the other, and the other way round. */
async function expectDistinct(pairs: [string, string][]): Promise<void> {
  const { sign, verifier } = createApi();
  for (const [one, other] of pairs) {
    for (const [signed, sent] of [
      [one, other],
      [other, one],
    ] as const) {
      const request = await sign({ target: signed, body: undefined, method: 'GET' });
      expect(
        await outcome(verifier, { ...request, url: sent }),
        `${signed} sent as ${sent}`,
      ).toMatch(/^ERR_(?:SIGNATURE_MISMATCH|TARGET_AMBIGUOUS)$/);
      expect(await outcome(verifier, { ...request, url: signed })).toBe(ACCEPTED);
    }
  }
}

describe('canonicalisation', () => {
  it('C1: a captured POST does not become a GET of its path and body hash', async () => {
    const hash = (request: Received) => header(request, 'x-countersign-content-sha256');
    // Each change alone, and both together.
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => ({ ...request, method: 'GET' }));
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => ({
      ...request,
      url: request.url + hash(request),
    }));
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => ({
      ...request,
      method: 'GET',
      url: request.url + hash(request),
    }));
    // The same characters in the same order, cut into other parts.
    for (const url of ['/VideoParser/lang=en', '/VideoParser/l?ang=en', '/VideoParser?/lang=en'])
      await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => ({ ...request, url }));
  });

  it('C2: many spellings of a path do not share a signature', async () => {
    const { sign, verifier } = createApi();
    const request = await sign({ target: '/a' });
    for (const spelling of [
      '//a',
      '/./a',
      '/b/../a',
      '/%2e%2e/a',
      '/a/',
      '/a/.',
      '/%61',
      '/A',
      '/a;x',
      '/a%2F',
    ]) {
      expect(await outcome(verifier, { ...request, url: spelling }), spelling).toBe(
        /^\/\/|\/(?:\.|%2e)/.test(spelling) ? 'ERR_TARGET_AMBIGUOUS' : 'ERR_SIGNATURE_MISMATCH',
      );
    }
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
  });

  it('C3: order, repetition and emptiness in a query are all signed', async () => {
    await expectDistinct([
      ['/?id=1&id=2', '/?id=2&id=1'],
      ['/?b', '/?b='],
      ['/?=x', '/?x'],
      ['/?a&a', '/?a'],
      ['/?a&b', '/?b&a'],
      ['/?a=1', '/?a=1&'],
    ]);
  });

  it('C4: escapes are signed as they stand, or refused', async () => {
    await expectDistinct([
      ['/x%2Fy', '/x/y'],
      ['/a+b', '/a%20b'],
      ['/a?x=%2B', '/a?x=+'],
      ['/a?x=+', '/a?x=%20'],
      ['/%c3%a9', '/%C3%A9'],
      ['/a%2520b', '/a%20b'],
      ['/a?x;y', '/a?x&y'],
    ]);
    const { sign, verifier } = createApi();
    const request = await sign({ target: '/a' });
    for (const target of [
      '/%zz',
      '/%',
      '/%2',
      '/%ff',
      '/%c0%af',
      '/%ED%A0%80',
      '/%f5%80%80%80',
      '/%00',
      '/\u0000',
      '/\ud800',
      '/\u00e9',
      '/a#b',
      '/a\tb',
      '/a\r\nb',
      '/\u007f',
    ]) {
      expect(await outcome(verifier, { ...request, url: target }), JSON.stringify(target)).toBe(
        'ERR_TARGET_AMBIGUOUS',
      );
    }
  });

  it('C5: the query is covered, and targets and hosts that can be read in two ways are refused', async () => {
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => ({
      ...request,
      url: '/VideoParser/',
    }));
    for (const target of [
      'https://api.example.com/VideoParser/?lang=en',
      '*',
      'api.example.com:443',
      '?lang=en',
      'VideoParser/',
    ]) {
      await expectRefused('ERR_TARGET_AMBIGUOUS', (request) => ({ ...request, url: target }));
    }
    for (const host of [
      'api.example.com.',
      'api.example.com:080',
      'a/b?c@d',
      'user@api.example.com',
      '',
      'a b',
      'a..b',
    ]) {
      await expectRefused('ERR_TARGET_AMBIGUOUS', (request) => withHeader(request, 'host', host));
    }
    for (const host of ['API.example.com', 'api.example.com:443', 'evil.example']) {
      await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => withHeader(request, 'host', host));
    }
    await expectRefused('ERR_SIGNATURE_AMBIGUOUS', (request) =>
      addHeader(request, 'host', 'api.example.com'),
    );
    await expectRefused('ERR_SIGNATURE_AMBIGUOUS', (request) =>
      addHeader(request, ':authority', 'evil.example'),
    );
    await expectRefused('ERR_COMPONENT_NOT_COVERED', (request) => withoutHeader(request, 'host'));
  });

  it('C5: an empty path stands for /', async () => {
    const { sign, verifier } = createApi();
    expect(await outcome(verifier, { ...(await sign({ target: '/' })), url: '' })).toBe(ACCEPTED);
  });

  it('C6: a security header that occurs twice is refused, however it is joined', async () => {
    for (const name of [
      'authorization',
      'x-countersign-date',
      'x-countersign-nonce',
      'x-countersign-content-sha256',
      'content-type',
    ]) {
      await expectRefused('ERR_SIGNATURE_AMBIGUOUS', (request) =>
        addHeader(request, name, header(request, name)),
      );
    }
    await expectRefused('ERR_SIGNATURE_AMBIGUOUS', (request) =>
      addHeader(request, 'AUTHORIZATION', 'Bearer x'),
    );
    await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
      withHeader(request, 'authorization', `${header(request, 'authorization')}, Bearer x`),
    );
  });

  it('C7: a signed header that is absent is not read as empty', async () => {
    const { sign, verifier } = createApi();
    const request = await sign({ headers: { 'x-tenant': '' } }, { signedHeaders: ['x-tenant'] });
    expect(await outcome(verifier, withoutHeader(request, 'x-tenant'))).toBe(
      'ERR_COMPONENT_NOT_COVERED',
    );
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
  });

  it('C8: a value cannot forge a line of the canonical request', async () => {
    for (const forged of [
      'a\nhost:evil',
      'a\r\nhost:evil',
      'a\u0000',
      'a\n b',
      'caf\u00e9',
      '\u007f',
    ]) {
      await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
        withHeader(request, 'content-type', forged),
      );
    }
  });

  it('C9: __proto__, constructor and toString are ordinary names', async () => {
    const { sign, verifier } = createApi();
    for (const name of ['__proto__', 'constructor', 'tostring', 'hasownproperty']) {
      const request = await sign(
        { target: `/${name}?${name}=1`, headers: [[name, 'x']] },
        { signedHeaders: [name] },
      );
      expect(await outcome(verifier, withHeader(request, name, 'y')), name).toBe(
        'ERR_SIGNATURE_MISMATCH',
      );
      expect(await outcome(verifier, request), name).toBe(ACCEPTED);
      const stranger = signerFor({
        accessKeyId: name,
        secretAccessKey: randomBytes(32).toString('base64url'),
      });
      expect(await outcome(verifier, await stranger.sign()), name).toBe('ERR_KEY_UNKNOWN');
    }
    const table: Record<string, never> = {};
    const naive = createVerifier({
      audience: 'video-api',
      keys: { find: async (id) => table[id] },
      nonces: new MemoryNonceStore({ clock: () => NOW }),
      clock: () => NOW,
    });
    expect(
      await outcome(
        naive,
        await signerFor({ ...generateAccessKey(), accessKeyId: '__proto__' }).sign(),
      ),
    ).toBe('ERR_KEY_UNKNOWN');
  });

  it('C10: Unicode twins and case variants are distinct', async () => {
    await expectDistinct([
      ['/%C3%A9', '/e%CC%81'],
      ['/%E2%84%AA', '/K'],
      ['/%C4%B0', '/i'],
    ]);
    const { key, verifier } = createApi();
    const lower = signerFor({ ...key, accessKeyId: key.accessKeyId.toLowerCase() });
    expect(await outcome(verifier, await lower.sign())).toBe('ERR_KEY_UNKNOWN');
  });
});
