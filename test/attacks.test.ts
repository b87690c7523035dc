import { createHash, createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { createFetch, createSigner } from '@countersign/client';
import {
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
  type NonceStore,
  type SignatureError,
} from '@countersign/server';
import {
  createCallbackVerifier,
  createOnce,
  githubWebhooks,
  MemoryOnceStore,
  standardWebhooks,
} from '@countersign/server/callbacks';
import { keepRawBody, requireSignature } from '@countersign/server/express';
import { createFailureLimit } from '@countersign/server/failures';
import express from 'express';
import { describe, expect, it } from 'vitest';
import {
  addHeader,
  createApi,
  header,
  NOW,
  ORIGIN,
  outcome,
  type Received,
  retarget,
  signerFor,
  withHeader,
  withoutHeader,
} from './support/api.ts';

const sha256 = (data: string | Uint8Array): string =>
  createHash('sha256').update(data).digest('hex');
const ACCEPTED = 'accepted';

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

async function expectRefused(code: string, change: (request: Received) => Received): Promise<void> {
  const { sign, verifier } = createApi();
  const request = await sign();
  expect(await outcome(verifier, change(request))).toBe(code);
  expect(await outcome(verifier, request), 'the request itself is good').toBe(ACCEPTED);
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

describe('coverage', () => {
  it('V1: a signature cannot be moved to another method, path or authority', async () => {
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => ({ ...request, method: 'DELETE' }));
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => ({ ...request, url: '/admin' }));
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) =>
      withHeader(request, 'host', 'other.example.com'),
    );
  });

  it('V2: a header that the server acts on cannot be added', async () => {
    for (const name of [
      'x-countersign-epoch',
      'x-countersign-session-token',
      'x-countersign-anything',
      'X-Countersign-Copy-Source',
      'x-http-method-override',
      'content-encoding',
    ]) {
      await expectRefused('ERR_COMPONENT_NOT_COVERED', (request) => addHeader(request, name, 'x'));
    }
    const { sign, verifier } = createApi({ signedHeaders: ['x-tenant'] });
    const request = await sign();
    expect(await outcome(verifier, addHeader(request, 'X-Tenant', 'acme'))).toBe(
      'ERR_COMPONENT_NOT_COVERED',
    );
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
  });

  it('V3: the body hash is compared with the body, and is signed', async () => {
    const evil = Buffer.from('{"videoUrl":"https://evil.example/"}');
    await expectRefused('ERR_BODY_MISMATCH', (request) => ({ ...request, body: evil }));
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) =>
      withHeader({ ...request, body: evil }, 'x-countersign-content-sha256', sha256(evil)),
    );
    await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
      withoutHeader(request, 'x-countersign-content-sha256'),
    );
  });

  it('V4: what must be covered cannot be appended to the list after signing', async () => {
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => {
      const authorization = header(request, 'authorization').replace(
        '-nonce,',
        '-nonce;x-http-method-override,',
      );
      return addHeader(
        withHeader(request, 'authorization', authorization),
        'x-http-method-override',
        'DELETE',
      );
    });
  });

  it('V5: every body is bound, whatever its content type', async () => {
    for (const contentType of [
      'text/plain',
      'application/octet-stream',
      'multipart/form-data; boundary=x',
      '',
    ]) {
      const { sign, verifier } = createApi();
      const request = await sign({ headers: { 'content-type': contentType }, body: 'a=1' });
      expect(await outcome(verifier, { ...request, body: Buffer.from('a=2') }), contentType).toBe(
        'ERR_BODY_MISMATCH',
      );
      expect(await outcome(verifier, { ...request, body: undefined }), contentType).toBe(
        'ERR_BODY_MISMATCH',
      );
      expect(await outcome(verifier, request), contentType).toBe(ACCEPTED);
    }
  });

  it('V6: bodies are bytes: 0xff and 0xfe differ, and JSON is not written anew', async () => {
    const { sign, verifier } = createApi();
    const bytes = await sign({ body: new Uint8Array([0xff]) });
    expect(await outcome(verifier, { ...bytes, body: new Uint8Array([0xfe]) })).toBe(
      'ERR_BODY_MISMATCH',
    );
    expect(await outcome(verifier, bytes)).toBe(ACCEPTED);
    const json = await sign({ body: '{"a":1}' });
    expect(await outcome(verifier, { ...json, body: Buffer.from('{ "a": 1 }') })).toBe(
      'ERR_BODY_MISMATCH',
    );
  });

  it('V7: what describes the body cannot be changed around the signature', async () => {
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) =>
      withHeader(request, 'content-type', 'text/plain'),
    );
    await expectRefused('ERR_COMPONENT_NOT_COVERED', (request) =>
      withoutHeader(request, 'content-type'),
    );
    await expectRefused('ERR_COMPONENT_NOT_COVERED', (request) =>
      addHeader(request, 'content-encoding', 'gzip'),
    );
    // Lengths and framing are not signed: the hash of the bytes that came is.
    await expectRefused('ERR_BODY_MISMATCH', (request) =>
      addHeader({ ...request, body: request.body?.slice(0, 5) }, 'content-length', '5'),
    );
  });

  it('V8: UNSIGNED-PAYLOAD is refused unless the server allows it by name', async () => {
    const unsigned = { headers: { 'x-countersign-content-sha256': 'UNSIGNED-PAYLOAD' } };
    const [strict, lax] = [createApi(), createApi({ unsignedPayload: 'accept-unsigned-bodies' })];
    expect(await outcome(strict.verifier, await strict.sign(unsigned))).toBe(
      'ERR_COMPONENT_NOT_COVERED',
    );
    expect(await outcome(lax.verifier, await lax.sign(unsigned))).toBe(ACCEPTED);
    const swapped = withHeader(
      await lax.sign(),
      'x-countersign-content-sha256',
      'UNSIGNED-PAYLOAD',
    );
    expect(await outcome(lax.verifier, swapped)).toBe('ERR_SIGNATURE_MISMATCH');
  });

  it('V10: two kinds of signature in one request are refused', async () => {
    const { sign, presign, verifier } = createApi();
    const signed = await sign({ method: 'GET', body: undefined });
    const presigned = await presign(60);
    for (const name of ['authorization', 'x-countersign-date', 'x-countersign-nonce']) {
      expect(await outcome(verifier, addHeader(presigned, name, header(signed, name))), name).toBe(
        'ERR_SIGNATURE_AMBIGUOUS',
      );
    }
    expect(await outcome(verifier, addHeader(presigned, 'authorization', 'Bearer x'))).toBe(
      'ERR_SIGNATURE_AMBIGUOUS',
    );
    for (const parameter of [
      'X-Countersign-Signature=0',
      'x-countersign-credential=x',
      'X-COUNTERSIGN-',
    ]) {
      expect(
        await outcome(
          verifier,
          retarget(signed, (target) => `${target}&${parameter}`),
        ),
        parameter,
      ).toBe('ERR_SIGNATURE_AMBIGUOUS');
    }
    expect(
      await outcome(
        verifier,
        retarget(presigned, (target) =>
          target.replace('?', '?X-Countersign-Date=20990101T000000Z&'),
        ),
      ),
    ).toBe('ERR_SIGNATURE_AMBIGUOUS');
    expect(await outcome(verifier, presigned)).toBe(ACCEPTED);
  });
});

describe('time and replay', () => {
  it('T1: freshness is read from the signed date alone', async () => {
    const { sign, verifier } = createApi();
    const old = await sign({}, { clock: () => 1_400_000_000 });
    expect(await outcome(verifier, old)).toBe('ERR_SIGNATURE_EXPIRED');
    expect(
      await outcome(verifier, addHeader(old, 'date', new Date(NOW * 1000).toUTCString())),
    ).toBe('ERR_SIGNATURE_EXPIRED');
    expect(
      await outcome(verifier, withHeader(old, 'x-countersign-date', '20261121T222526Z')),
    ).toMatch(/^ERR_SIGNATURE_M/);
    const undated = withHeader(
      withoutHeader(old, 'x-countersign-date'),
      'date',
      new Date(NOW * 1000).toUTCString(),
    );
    expect(await outcome(verifier, undated)).toBe('ERR_SIGNATURE_MALFORMED');
  });

  it('T2: a time that is not exactly a time is refused', async () => {
    for (const time of [
      '',
      'NaN',
      '-1',
      '1e9',
      '0x10',
      '1795299926',
      ' 20261121T222526',
      '20261121T222526',
      '20261121T222526z',
      '20261121T222526.0Z',
      '20260230T120000Z',
      '20261121T240000Z',
      '20261121T235960Z',
      '20261321T000000Z',
      '20260021T000000Z',
      '100000101T000000Z',
      '2026-11-21T22:25:26Z',
      '+0261121T222526Z',
      '19691231T235959Z',
      '٢٠٢٦١١٢١T٢٢٢٥٢٦Z',
    ]) {
      await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
        withHeader(request, 'x-countersign-date', time),
      );
    }
    for (const wrong of [
      Number.NaN,
      undefined as unknown as number,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]) {
      let now = NOW;
      const { sign, verifier } = createApi({
        clock: () => now,
        nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
      });
      now = wrong;
      await expect(async () => verifier.verify(await sign())).rejects.toThrow(
        `Cannot tell the time: what the clock returned is ${wrong}, expected Unix seconds`,
      );
    }
  });

  it('T3: the window is two-sided and exact', async () => {
    const at = async (age: number): Promise<string> => {
      const { sign, verifier } = createApi({ clock: () => NOW + age });
      return outcome(verifier, await sign());
    };
    expect(await at(120)).toBe(ACCEPTED);
    expect(await at(120.5)).toBe('ERR_SIGNATURE_EXPIRED');
    expect(await at(121)).toBe('ERR_SIGNATURE_EXPIRED');
    expect(await at(-5)).toBe(ACCEPTED);
    expect(await at(-5.5)).toBe('ERR_SIGNATURE_NOT_YET_VALID');
    expect(await at(-6)).toBe('ERR_SIGNATURE_NOT_YET_VALID');
    expect(await at(-31_536_000)).toBe('ERR_SIGNATURE_NOT_YET_VALID');
    await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
      withHeader(
        request,
        'authorization',
        header(request, 'authorization').replace('/20261121/', '/20261122/'),
      ),
    );
  });

  it('T4: a nonce is remembered for as long as its request could be accepted', async () => {
    for (const ahead of [0, 5]) {
      let now = NOW;
      const { sign, verifier } = createApi({ clock: () => now });
      const request = await sign({}, { clock: () => NOW + ahead });
      expect(await outcome(verifier, request)).toBe(ACCEPTED);
      for (now = NOW; now <= NOW + ahead + 120; now += 0.5)
        expect(await outcome(verifier, request), String(now - NOW)).toBe('ERR_NONCE_REUSED');
      expect(await outcome(verifier, request)).toBe('ERR_SIGNATURE_EXPIRED');
    }
  });

  it('T5: strangers burn no nonces', async () => {
    const claimed: string[] = [];
    const store = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const nonces: NonceStore = {
      claim(claim) {
        claimed.push(claim.nonce);
        return store.claim(claim);
      },
    };
    const { sign, verifier } = createApi({ nonces });
    const request = await sign();
    const wrong = withHeader(
      request,
      'authorization',
      header(request, 'authorization').replace(/.$/, (digit) => (digit === '0' ? '1' : '0')),
    );
    expect(await outcome(verifier, wrong)).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await outcome(verifier, { ...request, body: Buffer.from('x') })).toBe(
      'ERR_BODY_MISMATCH',
    );
    expect(claimed).toEqual([]);
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
    expect(claimed).toEqual([header(request, 'x-countersign-nonce')]);
  });

  it('T6: nonces belong to a key and an audience, and have one shape', async () => {
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const nonce = (): string => 'q83vASNFZ4mrze8BI0VniQ';
    const [one, other] = [createApi({ nonces }), createApi({ nonces })];
    expect(await outcome(one.verifier, await one.sign({}, { nonce }))).toBe(ACCEPTED);
    expect(await outcome(other.verifier, await other.sign({}, { nonce })), 'another key').toBe(
      ACCEPTED,
    );
    expect(await outcome(one.verifier, await one.sign({ target: '/other' }, { nonce }))).toBe(
      'ERR_NONCE_REUSED',
    );
    const elsewhere = createVerifier({
      audience: 'billing',
      keys: one.keys,
      nonces,
      clock: () => NOW,
    });
    expect(
      await outcome(elsewhere, await one.sign({}, { nonce, audience: 'billing' })),
      'another audience',
    ).toBe(ACCEPTED);
    for (const bad of [
      '',
      'x',
      'x'.repeat(21),
      'x'.repeat(23),
      'x'.repeat(1_000_000),
      'é'.repeat(22),
      'a:b c/d+e=f.g,h;i"j<k',
      ' '.repeat(22),
    ]) {
      await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
        withHeader(request, 'x-countersign-nonce', bad),
      );
    }
  });

  it('T7: of 200 copies at once exactly one is accepted', async () => {
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const { sign, keys, verifier } = createApi({ nonces });
    const second = createVerifier({ audience: 'video-api', keys, nonces, clock: () => NOW });
    const request = await sign();
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, (_, index) => outcome(index % 2 ? second : verifier, request)),
    );
    expect(outcomes.filter((code) => code === ACCEPTED)).toHaveLength(1);
    expect(outcomes.filter((code) => code === 'ERR_NONCE_REUSED')).toHaveLength(199);
  });

  it('T8: a nonce store that fails or answers nonsense accepts nothing', async () => {
    const answers: NonceStore['claim'][] = [
      () => Promise.reject(new Error('down')),
      () => {
        throw new Error('down');
      },
      ...[
        undefined,
        null,
        true,
        'claimed',
        {},
        { outcome: 'ok', epoch: 'e' },
        { outcome: ['claimed'], epoch: 'e' },
        { outcome: 'claimed' },
        { outcome: 'claimed', epoch: 'a\r\nb: c' },
        'OK',
        1,
      ].map((answer) => () => Promise.resolve(answer as never)),
    ];
    for (const claim of answers) {
      const { sign, verifier } = createApi({ nonces: { claim } });
      const error = await verifier.verify(await sign()).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'ERR_NONCE_STORE_FAILED', status: 503, retryAfter: 1 });
    }
    const { sign, verifier } = createApi({
      keys: { find: () => Promise.reject(new Error('down')) },
    });
    expect(await verifier.verify(await sign()).catch((thrown: unknown) => thrown)).toMatchObject({
      code: 'ERR_KEY_STORE_FAILED',
      status: 503,
    });
  });

  it('T9: a store that lost its memory accepts nothing that was captured before', async () => {
    const { sign, keys, verifier } = createApi();
    const captured = await Promise.all(
      [0, 1, 5].map((ahead) => sign({}, { clock: () => NOW + ahead })),
    );
    for (const request of captured) expect(await outcome(verifier, request)).toBe(ACCEPTED);
    let now = NOW;
    const clock = (): number => now;
    const restarted = createVerifier({
      audience: 'video-api',
      keys,
      nonces: new MemoryNonceStore({ clock }),
      clock,
    });
    for (now = NOW; now <= NOW + 125; now++) {
      for (const [index, request] of captured.entries())
        expect(await outcome(restarted, request)).toBe(
          now > NOW + ([0, 1, 5][index] as number) + 120
            ? 'ERR_SIGNATURE_EXPIRED'
            : 'ERR_NONCE_UNCERTAIN',
        );
    }
    expect(await outcome(restarted, await sign({}, { clock }))).toBe(ACCEPTED);
  });

  it('T11: every attempt has a signature of its own', async () => {
    const { sign, verifier } = createApi();
    const [first, second] = [await sign(), await sign()];
    expect(header(first, 'x-countersign-nonce')).not.toBe(header(second, 'x-countersign-nonce'));
    expect([
      await outcome(verifier, first),
      await outcome(verifier, second),
      await outcome(verifier, first),
    ]).toEqual([ACCEPTED, ACCEPTED, 'ERR_NONCE_REUSED']);
  });

  it('T12: a presigned URL cannot be made to last, or be used for another method, or for years', async () => {
    const { presign, verifier } = createApi();
    const request = await presign(60);
    expect(
      await outcome(
        verifier,
        retarget(request, (target) => target.replace('Expires=60', 'Expires=600')),
      ),
    ).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await outcome(verifier, { ...request, method: 'DELETE' })).toBe(
      'ERR_SIGNATURE_MISMATCH',
    );
    expect(await outcome(verifier, await presign(604_800))).toBe('ERR_SIGNATURE_MALFORMED');
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
    expect(await outcome(verifier, request), 'until it expires').toBe(ACCEPTED);
    const late = createApi({ clock: () => NOW + 61 });
    expect(await outcome(late.verifier, await late.presign(60))).toBe('ERR_SIGNATURE_EXPIRED');
  });

  it('T12: a presigned URL works once where the server says so, and not at all where it says that', async () => {
    const once = createApi({ presignedUrls: 'once' });
    const request = await once.presign(600);
    expect([await outcome(once.verifier, request), await outcome(once.verifier, request)]).toEqual([
      ACCEPTED,
      'ERR_NONCE_REUSED',
    ]);
    const never = createApi({ presignedUrls: 'refuse' });
    expect(await outcome(never.verifier, await never.presign(60))).toBe('ERR_SIGNATURE_MISSING');
  });

  it('T13: a callback is accepted once, whatever is left out of it or changed around it', async () => {
    const [old, next] = ['the secret that was', 'the secret that will be'].map(
      (text) => `whsec_${Buffer.from(text.padEnd(24)).toString('base64')}`,
    ) as [string, string];
    const scheme = standardWebhooks();
    const verifier = createCallbackVerifier({
      secrets: [next, old],
      clock: () => NOW,
      nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
    });
    const sign = (signedAt: number): Record<string, string> => {
      const params = { id: 'msg_1', signedAt };
      const content = scheme.content(params, Buffer.from('{}'));
      const signatures = [old, next].map((it) => scheme.parseKey(it).sign?.(content) ?? '');
      return scheme.write?.(params, signatures) ?? {};
    };
    const first = sign(NOW - 1);
    const [one = '', other = ''] = first['webhook-signature']?.split(' ') ?? [];
    const verify = (changes: Record<string, string>, headers = first) =>
      verifier.verify({ headers: { ...headers, ...changes }, body: '{}' }).then(
        () => ACCEPTED,
        ({ code }) => code,
      );
    expect(await verify({})).toBe(ACCEPTED);
    for (const signature of [one, other, `${other} ${one}`, `v1,AAAA ${one}`, `${one} v9,${other}`])
      expect(await verify({ 'webhook-signature': signature })).toBe('ERR_NONCE_REUSED');
    expect(await verify({ 'webhook-id': 'msg_2' })).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await verify({ 'webhook-timestamp': `${NOW}` })).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await verify({ 'webhook-timestamp': `0${NOW - 1}` })).toBe('ERR_SIGNATURE_MALFORMED');
    expect(await verify({}, sign(NOW)), 'an honest retry').toBe(ACCEPTED);
  });

  it('T14: an id that is not signed does not make a handler run again', async () => {
    const secret = 'a secret of a repository';
    const verifier = createCallbackVerifier({ scheme: githubWebhooks(), secrets: [secret] });
    const handleOnce = createOnce({ store: new MemoryOnceStore() });
    const signature = `sha256=${createHmac('sha256', secret).update('{}').digest('hex')}`;
    const outcomes: string[] = [];
    for (const delivery of ['one', 'two', 'three']) {
      const headers = { 'x-hub-signature-256': signature, 'x-github-delivery': delivery };
      const callback = await verifier.verify({ headers, body: '{}' });
      outcomes.push((await handleOnce(callback, () => undefined)).outcome);
    }
    expect(outcomes).toEqual(['completed', 'done', 'done']);
  });
});

describe('keys and comparison', () => {
  it('K1: the algorithm is not the request’s to choose', async () => {
    for (const [algorithm, code] of [
      ['none', 'ERR_SIGNATURE_MISSING'],
      // Whatever begins as ours is ours.
      ['COUNTERSIGN1-NONE', 'ERR_SIGNATURE_MALFORMED'],
      ['countersign1-hmac-sha256', 'ERR_SIGNATURE_MALFORMED'],
      ['COUNTERSIGN1-HMAC-SHA1', 'ERR_SIGNATURE_MALFORMED'],
      ['COUNTERSIGN1-', 'ERR_SIGNATURE_MALFORMED'],
      // The length of its signatures is another.
      ['COUNTERSIGN1-ED25519', 'ERR_SIGNATURE_MALFORMED'],
    ] as const) {
      await expectRefused(code, (request) =>
        withHeader(
          request,
          'authorization',
          header(request, 'authorization').replace('COUNTERSIGN1-HMAC-SHA256', algorithm),
        ),
      );
    }
    const { presign, verifier } = createApi();
    const unsigned = retarget(await presign(60), (target) =>
      target.replace('COUNTERSIGN1-HMAC-SHA256', 'none'),
    );
    expect(await outcome(verifier, unsigned)).toBe('ERR_SIGNATURE_MALFORMED');
    // A record without a secret, such as one that holds a public key, is no HMAC key.
    const { accessKeyId } = generateAccessKey();
    const keys = {
      find: async () =>
        ({
          accessKeyId,
          publicKey: 'x'.repeat(44),
          subject: 'x',
          scopes: [],
          status: 'active',
        }) as never,
    };
    const api = createApi({ keys });
    expect(
      await outcome(
        api.verifier,
        await signerFor({ accessKeyId, secretAccessKey: 'qwertyuiopasdfgh12' }).sign(),
      ),
    ).toBe('ERR_KEY_INACTIVE');
  });

  it('K2: a signature is 64 digits of lower-case hex, all of which count', async () => {
    const bad: ((hex: string) => string)[] = [
      () => '',
      (hex) => hex.slice(0, 1),
      (hex) => hex.slice(0, 63),
      (hex) => `${hex}0`,
      (hex) => hex.toUpperCase(),
      (hex) => `${hex.slice(0, 63)}g`,
      (hex) => `0x${hex.slice(2)}`,
      (hex) => ` ${hex.slice(1)}`,
      (hex) => Buffer.from(hex, 'hex').toString('base64'),
      (hex) => hex.repeat(100),
      () => 'é'.repeat(64),
    ];
    for (const change of bad) {
      await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
        withHeader(
          request,
          'authorization',
          header(request, 'authorization').replace(/(?<=Signature=).*$/, change),
        ),
      );
    }
    for (let digit = 0; digit < 64; digit++) {
      await expectRefused('ERR_SIGNATURE_MISMATCH', (request) =>
        withHeader(
          request,
          'authorization',
          header(request, 'authorization').replace(
            /(?<=Signature=).*$/,
            (hex) => hex.slice(0, digit) + (hex[digit] === '0' ? '1' : '0') + hex.slice(digit + 1),
          ),
        ),
      );
    }
  });

  it('K2: the signature of a presigned URL is written in one way', async () => {
    const { presign, verifier } = createApi();
    const request = await presign(60);
    const escaped = retarget(request, (target) =>
      target.replace(/.$/, (digit) => `%${digit.charCodeAt(0).toString(16)}`),
    );
    expect(await outcome(verifier, escaped)).toBe('ERR_SIGNATURE_MALFORMED');
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
  });

  it('K3: an unknown key takes the path of a known one, and has the same answer', async () => {
    const seen: string[] = [];
    const { key, sign, keys } = createApi();
    const find = (id: string) => {
      seen.push(id);
      return keys.find(id);
    };
    const verifier = createVerifier({
      audience: 'video-api',
      keys: { find },
      nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
      clock: () => NOW,
    });
    const wrong = signerFor({ ...key, secretAccessKey: generateAccessKey().secretAccessKey });
    const unknown = signerFor(generateAccessKey());
    const errors = await Promise.all(
      [wrong, unknown].map(async (signer) =>
        verifier.verify(await signer.sign()).catch((error: SignatureError) => error),
      ),
    );
    for (const error of errors)
      expect(error).toMatchObject({ reason: 'signature-invalid', status: 401, retry: 'no' });
    expect(seen).toHaveLength(2);
    // The body of neither is looked at: its hash is judged only after the signature.
    const body = {
      bytes: () => {
        throw new Error('read');
      },
    };
    for (const signer of [wrong, unknown]) {
      const error = await verifier
        .verify({ ...(await signer.sign()), body })
        .catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ reason: 'signature-invalid' });
    }
    expect(await outcome(verifier, await sign())).toBe(ACCEPTED);
  });

  it('K4: a secret that is none is refused when it is stored and when it is used', async () => {
    for (const secretAccessKey of [
      '',
      'short',
      undefined,
      null,
      'x'.repeat(32),
      'changeme-changeme-changeme',
      'your-secret-key-goes-here',
      `${generateAccessKey().secretAccessKey}\n`,
      `"${generateAccessKey().secretAccessKey}"`,
      `\ufeff${generateAccessKey().secretAccessKey}`,
      1234567890123456,
      Buffer.alloc(32),
    ] as never[]) {
      const key = { ...generateAccessKey(), secretAccessKey };
      expect(() => new MemoryKeyStore([key]), String(secretAccessKey)).toThrow(
        'Cannot build access key: option "secretAccessKey" is ',
      );
      expect(
        () => createSigner({ credentials: key, audience: 'video-api' }),
        String(secretAccessKey),
      ).toThrow(/^Cannot sign with access key "\w+": its "secretAccessKey" is unusable: /);
      // A store of somebody's own does not check; an attacker who knows that can sign.
      const api = createApi({ keys: { find: async () => key } });
      const forged = await signAnyway(key.accessKeyId, String(secretAccessKey ?? ''));
      expect(await outcome(api.verifier, forged), String(secretAccessKey)).toBe('ERR_KEY_INACTIVE');
    }
  });

  it('K5: a request without a signature is refused', async () => {
    await expectRefused('ERR_SIGNATURE_MISSING', (request) =>
      withoutHeader(request, 'authorization'),
    );
    await expectRefused('ERR_SIGNATURE_MISSING', (request) => ({
      ...request,
      headers: [['host', 'api.example.com']],
    }));
    await expectRefused('ERR_SIGNATURE_MISSING', (request) =>
      withHeader(request, 'authorization', ''),
    );
  });

  it('K6: a key that is disabled, expired or not valid yet is refused at once', async () => {
    for (const change of [
      { status: 'disabled' as const },
      { expiresAt: NOW },
      { notBefore: NOW + 1 },
      { expiresAt: Number.NaN },
      { notBefore: Number.NaN },
    ]) {
      const { key, keys, sign, verifier } = createApi();
      expect(await outcome(verifier, await sign())).toBe(ACCEPTED);
      const find = async (id: string) =>
        id === key.accessKeyId ? { ...key, ...change } : undefined;
      const changed = createApi({ keys: { find } });
      expect(await outcome(changed.verifier, await sign()), inspect(change)).toBe(
        'ERR_KEY_INACTIVE',
      );
      keys.delete(key.accessKeyId);
      expect(await outcome(verifier, await sign())).toBe('ERR_KEY_UNKNOWN');
    }
  });

  it('K7: no secret and no expected signature is shown, anywhere', async () => {
    const shown: unknown[] = [];
    const { key, keys, sign, verifier } = createApi({
      onRefused: (explanation) => shown.push(explanation),
    });
    const expected = header(
      await sign({}, { nonce: () => 'q83vASNFZ4mrze8BI0VniQ' }),
      'authorization',
    ).slice(-64);
    const request = await sign({}, { nonce: () => 'q83vASNFZ4mrze8BI0VniQ' });
    const wrong = withHeader(
      request,
      'authorization',
      header(request, 'authorization').replace(/Signature=.*/, `Signature=${'0'.repeat(64)}`),
    );
    shown.push(
      await verifier.verify(wrong).catch((error: unknown) => error),
      await verifier.explain(wrong),
      verifier,
      keys,
    );
    shown.push(
      createSigner({ credentials: key, audience: 'video-api' }),
      new MemoryKeyStore([key]),
    );
    const text = shown
      .map(
        (thing) =>
          inspect(thing, { depth: 9, showHidden: true }) +
          JSON.stringify(thing) +
          String((thing as Error).stack),
      )
      .join('\n');
    expect(text).toContain('ERR_SIGNATURE_MISMATCH');
    expect(text).not.toContain(key.secretAccessKey);
    expect(text).not.toContain(expected);
    const bad = { ...key, secretAccessKey: 'hunter2hunter2!' };
    for (const build of [
      () => new MemoryKeyStore([bad]),
      () => createSigner({ credentials: bad, audience: 'video-api' }),
    ]) {
      expect(build).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining('hunter2') }),
      );
    }
  });

  it('K8: guessing is limited by where it comes from, so that nobody can be locked out by failing in their name', async () => {
    const failures = createFailureLimit({ perKey: 5, perClientAddress: 20 });
    const { key, sign, verifier } = createApi({ failures });
    const from = (clientAddress: string, request: Received) => ({ ...request, clientAddress });
    const guess = async (accessKeyId: string, clientAddress: string): Promise<string> => {
      const { secretAccessKey } = generateAccessKey();
      const request = await signerFor({ accessKeyId, secretAccessKey }).sign();
      return outcome(verifier, from(clientAddress, request));
    };
    const guesses = (count: number, accessKeyId: () => string, clientAddress: string) =>
      Promise.all(Array.from({ length: count }, () => guess(accessKeyId(), clientAddress)));
    const howMany = (ends: string[], code: string) => ends.filter((end) => end === code).length;

    const atOne = await guesses(50, () => key.accessKeyId, '192.0.2.66');
    expect(howMany(atOne, 'ERR_SIGNATURE_MISMATCH')).toBe(5);
    expect(howMany(atOne, 'ERR_TOO_MANY_FAILURES')).toBe(45);
    // Not even a right guess is told from a wrong one any more.
    expect(await outcome(verifier, from('192.0.2.66', await sign()))).toBe('ERR_TOO_MANY_FAILURES');

    const atMany = await guesses(50, () => generateAccessKey().accessKeyId, '192.0.2.66');
    expect(howMany(atMany, 'ERR_KEY_UNKNOWN')).toBe(15);
    expect(howMany(atMany, 'ERR_TOO_MANY_FAILURES')).toBe(35);

    // A thousand addresses of one network are one client address, written in whatever way.
    const addresses = Array.from({ length: 1000 }, (_, index) => `2001:db8::${index.toString(16)}`);
    const spread = await Promise.all(
      addresses.map((clientAddress) => guess(key.accessKeyId, clientAddress)),
    );
    expect(howMany(spread, 'ERR_SIGNATURE_MISMATCH')).toBe(5);
    for (const same of ['::ffff:192.0.2.66', '::FFFF:C000:0242', '192.0.2.66:50000'])
      expect(await guess(key.accessKeyId, same)).toBe('ERR_TOO_MANY_FAILURES');

    // The owner of the key is served, and the failures of others are not forgiven by that.
    for (const clientAddress of ['198.51.100.7', '2001:db8:0:1::1'])
      expect(await outcome(verifier, from(clientAddress, await sign()))).toBe(ACCEPTED);
    expect(await guess(key.accessKeyId, '192.0.2.66')).toBe('ERR_TOO_MANY_FAILURES');
  });
});

describe('deployment and load', () => {
  it('D1: what a client or a proxy says of the origin decides nothing', async () => {
    const forwarded: [string, string][] = [
      ['x-forwarded-host', 'evil.example'],
      ['x-forwarded-proto', 'http'],
      ['x-forwarded-prefix', '/v1'],
      ['forwarded', 'host=evil.example'],
      ['x-original-url', '/admin'],
    ];
    const { sign, verifier } = createApi();
    const request = await sign();
    for (const [name, value] of forwarded) {
      expect(
        await outcome(verifier, addHeader(withHeader(request, 'host', 'inner:8080'), name, value)),
        name,
      ).toBe('ERR_SIGNATURE_MISMATCH');
    }
    const behind = createApi({ publicOrigin: ORIGIN, publicPrefix: '/v1' });
    const outside = await behind.sign({ target: '/v1/VideoParser/' });
    const inside = { ...withHeader(outside, 'host', 'inner:8080'), url: '/VideoParser/' };
    expect(
      await outcome(behind.verifier, addHeader(inside, 'x-forwarded-host', 'evil.example')),
    ).toBe(ACCEPTED);
    expect(
      await outcome(behind.verifier, await behind.sign({ target: '/VideoParser/' })),
      'the prefix was not signed',
    ).toBe('ERR_SIGNATURE_MISMATCH');
  });

  it('D2: explain says what the server saw where a proxy changed it', async () => {
    const { sign, verifier } = createApi();
    const request = await sign({ target: '/a//b%2Fc' });
    const explanation = await verifier.explain(
      withHeader({ ...request, url: '/a/b/c' }, 'host', 'inner:8080'),
    );
    expect(explanation).toMatchObject({
      outcome: 'refused',
      code: 'ERR_SIGNATURE_MISMATCH',
      checks: { coverage: 'passed', signature: 'failed', body: 'not made' },
    });
    expect(explanation.components).toContainEqual({
      component: 'path',
      saw: '/a/b/c',
      signed: true,
    });
    expect(explanation.components).toContainEqual({
      component: 'header host',
      saw: 'inner:8080',
      signed: true,
    });
    expect(explanation.canonicalRequest).toMatch(/^POST\n\/a\/b\/c\n\n/);
    expect(explanation.stringToSign).toContain(sha256(explanation.canonicalRequest ?? ''));
  });

  it('D3: sizes are bounded before any work', async () => {
    const { sign, verifier } = createApi();
    const request = await sign();
    const heavy: [what: string, attack: Received, why: string][] = [
      [
        '1 MB Authorization',
        withHeader(
          request,
          'authorization',
          `COUNTERSIGN1-HMAC-SHA256 Credential=${'a'.repeat(1_000_000)}`,
        ),
        'characters, 4096 are allowed',
      ],
      [
        '10,000 signed headers',
        withHeader(
          request,
          'authorization',
          header(request, 'authorization').replace(
            'SignedHeaders=',
            `SignedHeaders=${Array.from({ length: 10_000 }, (_, index) => `a${String(index).padStart(5, '0')}`).join(';')};`,
          ),
        ),
        'characters, 4096 are allowed',
      ],
      [
        '1,000 signed headers of a letter',
        withHeader(
          request,
          'authorization',
          header(request, 'authorization').replace(
            'SignedHeaders=',
            `SignedHeaders=${'a;'.repeat(1_000)}`,
          ),
        ),
        'More than 64 headers are signed',
      ],
      [
        '100,000 query pairs',
        { ...request, url: `/?${'a=b&'.repeat(100_000)}` },
        'it has 400002 characters, 16384 are allowed',
      ],
      [
        '100,000 escapes',
        { ...request, url: `/${'%41'.repeat(100_000)}` },
        'it has 300001 characters, 16384 are allowed',
      ],
      [
        '100,000 headers',
        {
          ...request,
          headers: [
            ...request.headers,
            ...Array.from(
              { length: 100_000 },
              (_, index) => [`x-${index}`, 'y'] as [string, string],
            ),
          ],
        },
        `Cannot read ${100_000 + request.headers.length} header fields, 100 are allowed`,
      ],
      [
        'a method of 1 MB',
        { ...request, method: 'A'.repeat(1_000_000) },
        `Cannot verify method "${'A'.repeat(64)}…": it is not a token`,
      ],
      [
        'a host of 1 MB',
        withHeader(request, 'host', `${'a.'.repeat(500_000)}a`),
        `Cannot sign host "${'a.'.repeat(32)}…": expected a name or address`,
      ],
      ['dots', { ...request, url: `/${'./'.repeat(8_000)}` }, 'its path holds a dot segment'],
    ];
    for (const [what, attack, why] of heavy) {
      let fastest = Number.POSITIVE_INFINITY;
      for (let time = 0; time < 3; time++) {
        const start = process.cpuUsage();
        const error = await verifier.verify(attack).catch((thrown: unknown) => thrown);
        const { user, system } = process.cpuUsage(start);
        expect(error, what).toMatchObject({
          code: expect.stringMatching(/^ERR_(?:SIGNATURE_MALFORMED|TARGET_AMBIGUOUS)$/),
          message: expect.stringContaining(why),
        });
        fastest = Math.min(fastest, (user + system) / 1000);
      }
      expect(fastest, what).toBeLessThan(100);
    }
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
  });

  it('X12: more fields than the server reads are refused before anything is read of them', async () => {
    const code = async (fields: number, options = {}) => {
      const { sign, verifier } = createApi(options);
      const request = await sign();
      while (request.headers.length < fields)
        request.headers.push([`x-${request.headers.length}`, 'y']);
      return outcome(verifier, request);
    };
    expect(await code(100)).toBe(ACCEPTED);
    expect(await code(101)).toBe('ERR_SIGNATURE_MALFORMED');
    expect(await code(101, { maxHeaderFields: 101 })).toBe(ACCEPTED);
    expect(await code(21, { maxHeaderFields: 20 })).toBe('ERR_SIGNATURE_MALFORMED');
    const body = Buffer.from('{}');
    const verifier = createCallbackVerifier({
      secrets: ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'],
    });
    const headers = Array.from({ length: 101 }, (_, at) => [`x-${at}`, 'y'] as const);
    await expect(verifier.verify({ headers, body })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MALFORMED',
      message: 'Cannot read 101 header fields, 100 are allowed',
    });
    await expect(verifier.verify({ headers: headers.slice(1), body })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MISSING',
    });
  });

  it('D3: what is as long as may be is accepted, and one more is refused', async () => {
    const { sign, verifier } = createApi();
    const target = (length: number) => `/${'a'.repeat(length - 1)}`;
    expect(await outcome(verifier, await sign({ target: target(16_384) }))).toBe(ACCEPTED);
    expect(await outcome(verifier, { ...(await sign()), url: target(16_385) })).toBe(
      'ERR_TARGET_AMBIGUOUS',
    );
    const method = 'A'.repeat(32);
    expect(await outcome(verifier, await sign({ method, body: undefined }))).toBe(ACCEPTED);
    expect(await outcome(verifier, { ...(await sign()), method: `${method}A` })).toBe(
      'ERR_SIGNATURE_MALFORMED',
    );
    const host = `${'a.'.repeat(127)}a:65535`;
    const longer = withHeader(await sign({ headers: { host } }), 'host', `a${host}`);
    expect(host).toHaveLength(261);
    expect(await outcome(verifier, withHeader(longer, 'host', host))).toBe(ACCEPTED);
    expect(await outcome(verifier, longer)).toBe('ERR_TARGET_AMBIGUOUS');
    const request = await sign();
    const authorization = header(request, 'authorization');
    for (const [length, message] of [
      [4_096, 'Signed header "aaa'],
      [4_097, 'Authorization has 4097 characters, 4096 are allowed'],
    ] as const) {
      const further = `SignedHeaders=${'a'.repeat(length - authorization.length - 1)};`;
      const longest = authorization.replace('SignedHeaders=', further);
      await expect(verifier.verify(withHeader(request, 'authorization', longest))).rejects.toThrow(
        message,
      );
    }
  });

  it('D3: at most 64 headers are signed, by signers too', async () => {
    const names = Array.from({ length: 62 }, (_, index) => `x-${index}`);
    const headers = Object.fromEntries(names.map((name) => [name, 'y']));
    const { sign, verifier } = createApi();
    const signedHeaders = names.slice(0, 59);
    expect(await outcome(verifier, await sign({ headers }, { signedHeaders }))).toBe(ACCEPTED);
    await expect(sign({ headers }, { signedHeaders: names })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MALFORMED',
    });
    const request = await sign({ headers }, { signedHeaders });
    const more = header(request, 'authorization').replace('SignedHeaders=', 'SignedHeaders=a;');
    expect(
      (
        (await verifier
          .verify(withHeader(request, 'authorization', more))
          .catch((error: Error) => error)) as Error
      ).message,
    ).toContain('More than 64 headers');
  });

  it('D4: the body of a stranger is never read', async () => {
    const { sign, verifier } = createApi();
    const request = await sign();
    let reads = 0;
    const body = {
      bytes() {
        reads++;
        return request.body;
      },
    };
    const strangers: [Received, string][] = [
      [withoutHeader(request, 'authorization'), 'ERR_SIGNATURE_MISSING'],
      [{ ...request, url: '/other' }, 'ERR_SIGNATURE_MISMATCH'],
      [
        withHeader(request, 'x-countersign-nonce', 'AAAAAAAAAAAAAAAAAAAAAA'),
        'ERR_SIGNATURE_MISMATCH',
      ],
      [addHeader(request, 'x-countersign-epoch', 'x'), 'ERR_COMPONENT_NOT_COVERED'],
      [await signerFor(generateAccessKey()).sign(), 'ERR_KEY_UNKNOWN'],
      [await sign({}, { clock: () => NOW - 121 }), 'ERR_SIGNATURE_EXPIRED'],
    ];
    for (const [stranger, code] of strangers)
      expect(await outcome(verifier, { ...stranger, body: body as never })).toBe(code);
    expect(reads).toBe(0);
    expect(await outcome(verifier, { ...request, body: body as never })).toBe(ACCEPTED);
    expect(reads).toBe(1);
  });
});

describe('over the wire', () => {
  it('D5: a body parser mounted first is refused with the line to change, or works with the hook', async () => {
    const { key, keys } = createApi();
    for (const [parser, status, body] of [
      [express.json(), 500, { reason: 'internal' }],
      [express.json({ verify: keepRawBody }), 200, { videoUrl: 'https://videos.example.net/' }],
    ] as const) {
      const refusals: (string | undefined)[] = [];
      const app = express();
      app.use(parser);
      app.use(
        requireSignature({
          audience: 'video-api',
          keys,
          nonces: new MemoryNonceStore({ bornAt: 0 }),
          onRefused: ({ message }) => refusals.push(message),
        }),
      );
      app.post('/', (req, res) => void res.json(req.body));
      const server = app.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
      const response = await createFetch({ credentials: key, audience: 'video-api' })(url, {
        method: 'POST',
        body: { videoUrl: 'https://videos.example.net/' },
      });
      expect(response.status).toBe(status);
      expect(await response.json()).toMatchObject(body);
      expect(refusals).toEqual(
        status === 200 ? [] : [expect.stringContaining('express.json({ verify: keepRawBody })')],
      );
      server.close();
    }
  });
});

/** Signs with any secret at all, as an attacker would, who has only the wire format to go by. */
async function signAnyway(accessKeyId: string, secret: string): Promise<Received> {
  const { secretAccessKey } = generateAccessKey();
  const request = await signerFor({ accessKeyId, secretAccessKey }).sign();
  const explanation = await createVerifier({
    audience: 'video-api',
    keys: { find: async () => undefined },
    nonces: new MemoryNonceStore({ clock: () => NOW }),
    clock: () => NOW,
  }).explain(request);
  let key: Buffer | string = `COUNTERSIGN1${secret}`;
  for (const part of ['20261121', 'video-api', 'countersign1_request'])
    key = createHmac('sha256', key).update(part).digest();
  const signature = createHmac('sha256', key)
    .update(explanation.stringToSign ?? '')
    .digest('hex');
  return withHeader(
    request,
    'authorization',
    header(request, 'authorization').replace(/Signature=.*/, `Signature=${signature}`),
  );
}
