// What a verifier must not read in two ways: for which service and host a request is, and who
// signed it.

import { createVerifier, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import {
  countersign,
  deriveMacKey,
  EMPTY_SHA256,
  HeaderFields,
  hmacSha256,
  type Scheme,
} from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import {
  AUDIENCE,
  addHeader,
  createApi,
  header,
  NOW,
  ORIGIN,
  outcome,
  type Received,
  retarget,
  signerFor,
  withoutHeader,
} from '../../../../test/support/api.ts';
import { isSameHost } from '../../src/verify/read-request.ts';

describe('the audience', () => {
  it.each([
    'Video-API',
    'VIDEO-API',
    'video-ap',
    'ideo-api',
    'video-api2',
    'video-api.',
    'video-api:',
    'video_api',
    'x.video-api',
  ])('of a request must be that of the server: %s is another', async (audience) => {
    const { sign, verifier } = createApi();
    const error = await verifier.verify(await sign({}, { audience })).catch((it) => it);
    expect(error).toMatchObject({ code: 'ERR_SIGNATURE_MISMATCH' });
    expect(error.message).toContain(
      `the request is for audience "${audience}", this server is "${AUDIENCE}"`,
    );
  });

  it.each([['Video-API'], ['video-ap'], ['video-api2'], ['other', 'Video-Api']])(
    'of a key must be that of the server, exactly: %s',
    async (...audiences) => {
      const { sign, verifier } = createApi({}, { audiences });
      expect(await outcome(verifier, await sign())).toBe('ERR_KEY_INACTIVE');
      const both = createApi({}, { audiences: [...audiences, AUDIENCE] });
      expect(await outcome(both.verifier, await both.sign())).toBe('accepted');
    },
  );
});

describe('the host', () => {
  it('that is public is verified also if the request has none', async () => {
    const { sign, verifier } = createApi({ publicOrigin: ORIGIN });
    const request = await sign();
    expect(await verifier.verify(withoutHeader(request, 'host'))).toMatchObject({
      host: new URL(ORIGIN).host,
    });
    const plain = createApi();
    expect(await outcome(plain.verifier, withoutHeader(await plain.sign(), 'host'))).toBe(
      'ERR_COMPONENT_NOT_COVERED',
    );
  });

  it('must be signed, also if the request has none: it would be for any', async () => {
    const { key, verifier } = createApi();
    const scheme = countersign();
    const intent = {
      accessKeyId: key.accessKeyId,
      audience: AUDIENCE,
      signedAt: NOW,
      nonce: 'q83vASNFZ4mrze8BI0VniQ',
      body: { sha256: EMPTY_SHA256 },
    };
    const signFor = (headers: string[]): Received => {
      const unsigned = { method: 'GET', path: '/', query: '', headers: new HeaderFields(headers) };
      const { request, params } = scheme.prepare(unsigned, intent);
      const signingKey = deriveMacKey(scheme as Scheme, params, key.secretAccessKey as string);
      const signature = hmacSha256(signingKey, scheme.stringToSign(request, params));
      const fields = scheme.write(request, params, signature).headers;
      return { method: 'GET', url: '/', headers: fields.map(([name, value]) => [name, value]) };
    };
    const hostless = signFor([]);
    expect(header(hostless, 'authorization')).not.toContain('host');
    for (const request of [hostless, addHeader(hostless, 'host', 'any.example.com')])
      await expect(verifier.verify(request)).rejects.toMatchObject({
        code: 'ERR_COMPONENT_NOT_COVERED',
        message: 'Header "host" is not signed: the signature must cover it',
      });
    const whole = addHeader(signFor(['host', 'api.example.com']), 'host', 'api.example.com');
    expect(await outcome(verifier, whole)).toBe('accepted');
  });

  it.each([
    ['api.test', 'api.test', true],
    ['API.test', 'api.test', true],
    ['api.test:443', 'api.test', true],
    ['api.test:80', 'api.test', true],
    ['api.test:8443', 'api.test:8443', true],
    ['api.test:8443', 'api.test', false],
    ['api.test:8080', 'api.test', false],
    ['api.test:4430', 'api.test', false],
    ['api.test:1443', 'api.test', false],
    ['api.test', 'api.test:443', false],
    ['api.test:80', 'api.test:8080', false],
    ['evil.test', 'api.test', false],
    ['api.test.evil.test', 'api.test', false],
    ['xapi.test', 'api.test', false],
  ])('%s and that of a URL, %s, are the same: %s', (host, urlHost, isSame) => {
    expect(isSameHost(host, urlHost)).toBe(isSame);
  });
});

describe('the scheme', () => {
  /** The same form under another name, for what carries a header of its own. */
  const other: Scheme = {
    ...(countersign() as Scheme),
    name: 'other',
    read: (request) =>
      request.headers.get('x-other') === undefined ? undefined : countersign().read(request),
  };

  it.each([
    [[countersign(), other], 'countersign and as other'],
    [[other, countersign()], 'other and as countersign'],
  ])('is one: what is signed in two is refused, %#', async (schemes, names) => {
    const api = createApi();
    const verifier = createVerifier({
      audience: AUDIENCE,
      keys: new MemoryKeyStore([api.key]),
      nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
      clock: () => NOW,
      schemes: schemes as Scheme[],
    });
    const request = await api.sign();
    await expect(verifier.verify(addHeader(request, 'x-other', '1'))).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_AMBIGUOUS',
      message: `The request is signed twice, as ${names}`,
    });
    expect(await verifier.verify(request)).toMatchObject({ scheme: 'countersign' });
  });
});

describe('the use of a key', () => {
  it('is noted of the key that a request was accepted with, or that its session was lent on', async () => {
    const noted: [string, number][] = [];
    const { key, keys } = createApi();
    const found = (session: object) => async () => ({ ...key, session });
    const api = (session?: object) =>
      createVerifier({
        audience: AUDIENCE,
        keys: {
          find: (id) => keys.find(id),
          recordUse: (id, now) => void noted.push([id, now]),
        },
        sessions: session && { find: found(session) },
        nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
        clock: () => NOW,
      });
    const { sign } = signerFor(key);
    const inSession = { credentials: { ...key, sessionToken: 'sealed' } };

    const verifier = api();
    const request = await sign();
    await verifier.explain(request);
    await verifier.verify(request);
    await verifier.verify(request).catch(() => undefined);
    await verifier.verify({ ...(await sign()), body: Buffer.from('other') }).catch(() => undefined);
    expect(noted.splice(0)).toEqual([[key.accessKeyId, NOW]]);

    await api({ parent: 'CSAKPARENT' }).verify(await sign({}, inSession));
    expect(noted.splice(0)).toEqual([['CSAKPARENT', NOW]]);
    await api({ parent: undefined }).verify(await sign({}, inSession));
    expect(noted).toEqual([]);
  });
});

describe('a presigned URL', () => {
  it.each<[string, (hex: string) => string]>([
    ['none', () => ''],
    ['a digit too few', (hex) => hex.slice(0, 63)],
    ['a digit too many', (hex) => `${hex}0`],
    ['more behind it', (hex) => `${hex}%20`],
    ['twice as many', (hex) => hex + hex],
    ['digits in upper case', (hex) => hex.toUpperCase()],
    ['what is no digit', (hex) => `${hex.slice(0, 63)}g`],
  ])('has its signature in one form: refused with %s', async (_, change) => {
    const { presign, verifier } = createApi();
    const request = await presign(60);
    const changed = retarget(request, (target) =>
      target.replace(/(?<=Signature=)[0-9a-f]{64}$/, change),
    );
    expect(changed.url).not.toBe(request.url);
    expect(await outcome(verifier, changed)).toBe('ERR_SIGNATURE_MALFORMED');
    expect(await outcome(verifier, request)).toBe('accepted');
  });

  it('has no escape in its signature, at whatever digit', async () => {
    const { presign, verifier } = createApi();
    // So that it begins with a digit, whose escape ends with the digit itself.
    const begins = async (): Promise<Received> => {
      const request = await presign(60);
      return /Signature=[0-9]/.test(request.url) ? request : begins();
    };
    const request = await begins();
    for (let at = 64; at >= 1; at--) {
      const escaped = retarget(request, (target) => {
        const code = target.charCodeAt(target.length - at).toString(16);
        return `${target.slice(0, -at)}%${code}${at === 1 ? '' : target.slice(1 - at)}`;
      });
      await expect(verifier.verify(escaped), `digit ${64 - at}`).rejects.toMatchObject({
        code: 'ERR_SIGNATURE_MALFORMED',
        message: 'X-Countersign-Signature is escaped',
      });
    }
    expect(await outcome(verifier, request)).toBe('accepted');
  });

  it.each([
    '0',
    '00',
    '-1',
    '+60',
    '060',
    '6e1',
    '60.0',
    ' 60',
    '60 ',
    '',
    '0x3c',
    '٦٠',
    '1'.repeat(10),
  ])('expires after a whole number of seconds: refused with %j', async (seconds) => {
    const { presign, verifier } = createApi();
    const changed = retarget(await presign(60), (target) =>
      target.replace('Expires=60&', `Expires=${encodeURIComponent(seconds)}&`),
    );
    await expect(verifier.verify(changed)).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MALFORMED',
      message: expect.stringMatching(/^X-Countersign-Expires is ".*": expected whole seconds$/),
    });
  });
});

describe('a body that is hashed in pieces', () => {
  const MiB = 1_048_576;

  it.each([MiB, MiB + 1, 2 * MiB, 3 * MiB + 7])('of %i bytes counts whole', async (length) => {
    const { sign, verifier } = createApi();
    const body = new Uint8Array(length).fill(1);
    const request = await sign({ body });
    const changes = [0, MiB - 2, MiB - 1, MiB, MiB + 1, length - 1].filter((at) => at < length);
    for (const at of changes) {
      const changed = body.slice();
      changed[at] = 2;
      expect(await outcome(verifier, { ...request, body: changed }), `byte ${at}`).toBe(
        'ERR_BODY_MISMATCH',
      );
    }
    for (const other of [body.subarray(1), new Uint8Array([...body.subarray(0, 9), ...body])])
      expect(await outcome(verifier, { ...request, body: other })).toBe('ERR_BODY_MISMATCH');
    expect(await outcome(verifier, request)).toBe('accepted');
  });
});
