import { webcrypto } from 'node:crypto';
import { inspect } from 'node:util';
import {
  type Credentials,
  type CredentialsProvider,
  createFetch,
  createSigner,
  type SignerOptions,
} from '@countersign/client';
import { signing } from '@countersign/client/undici';
import type { AccessKey } from '@countersign/server';
import { countersign } from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { audience, buildVerifier, clock, credentials, failure, judge, NOW } from '../support.ts';

const request = { method: 'GET', url: 'https://api.test/' };

const sign = (source: CredentialsProvider, options: Partial<SignerOptions> = {}) =>
  createSigner({ credentials: source, audience, clock, ...options }).sign(request);

/** A promise and the functions that settle it, so that no test waits for time to pass. */
function deferred<T>() {
  let settle = {
    resolve: (_value: T): void => undefined,
    reject: (_error: unknown): void => undefined,
  };
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return { promise, ...settle };
}

/** The access key ids that signed, one per call. */
const idOf = (signed: { headers: Record<string, string> }): string | undefined =>
  /Credential=([^/]+)/.exec(signed.headers['authorization'] ?? '')?.[1];

const refusal = () =>
  new Response('{}', {
    status: 401,
    headers: {
      'www-authenticate': 'COUNTERSIGN1-HMAC-SHA256 realm="video-api", error="signature-invalid"',
    },
  });

describe('credentials as a value', () => {
  it('sign what a verifier accepts', async () => {
    const { headers } = await sign(credentials);
    expect(
      await judge(buildVerifier(), {
        method: 'GET',
        url: '/',
        headers: { ...headers, host: 'api.test' },
      }),
    ).toBe('accepted');
  });

  it('are copied, so that changing the object changes nothing', async () => {
    const given: Record<string, string> = { ...credentials };
    const signer = createSigner({ credentials: given as unknown as Credentials, audience, clock });
    given['accessKeyId'] = 'other';
    expect(idOf(await signer.sign(request))).toBe(credentials.accessKeyId);
  });

  it('carry their session token in a signed header', async () => {
    const { headers } = await sign({ ...credentials, sessionToken: 'token/+=.' });
    expect(headers['x-countersign-session-token']).toBe('token/+=.');
    const received = { method: 'GET', url: '/', headers: { ...headers, host: 'api.test' } };
    const key: AccessKey = { ...credentials, subject: 'alice', scopes: [], status: 'active' };
    // Accepts any token, so that the signature alone decides.
    const sessions = { find: async () => ({ ...key, session: {} }) };
    expect(
      await judge(buildVerifier({ sessions }), {
        ...received,
        headers: { ...received.headers, 'x-countersign-session-token': 'other' },
      }),
    ).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await judge(buildVerifier({ sessions }), received)).toBe('accepted');
    expect(await judge(buildVerifier(), received)).toBe('ERR_KEY_UNKNOWN');
  });

  it('serve permanently, also after their expiry: no function can give others', async () => {
    expect(idOf(await sign({ ...credentials, expiresAt: NOW - 1 }))).toBe(credentials.accessKeyId);
  });
});

describe('credentials from a function', () => {
  it.each<[string, () => Credentials | Promise<Credentials>]>([
    ['at once', () => credentials],
    ['as a promise', () => Promise.resolve(credentials)],
  ])('are taken %s', async (_way, source) => {
    expect(idOf(await sign(source))).toBe(credentials.accessKeyId);
  });

  it('are not asked for before something is signed', () => {
    let asked = 0;
    createSigner({
      credentials() {
        asked += 1;
        return credentials;
      },
      audience,
    });
    expect(asked).toBe(0);
  });

  it('are asked for once by any number of parallel calls', async () => {
    const { promise, resolve } = deferred<Credentials>();
    let asked = 0;
    const source = () => {
      asked += 1;
      return promise;
    };
    const signer = createSigner({ credentials: source, audience, clock });
    const calls = Array.from({ length: 50 }, () => signer.sign(request));
    resolve(credentials);
    expect(new Set((await Promise.all(calls)).map(idOf))).toEqual(
      new Set([credentials.accessKeyId]),
    );
    await signer.sign(request);
    expect(asked).toBe(1);
  });

  it('are kept until a minute before their expiry, then renewed', async () => {
    let now = NOW;
    let asked = 0;
    const source = () => ({ ...credentials, accessKeyId: `key-${++asked}`, expiresAt: now + 600 });
    const signer = createSigner({ credentials: source, audience, clock: () => now });
    const used: unknown[] = [];
    for (const seconds of [0, 539, 540, 541, 1_080, 1_081]) {
      now = NOW + seconds;
      used.push(idOf(await signer.sign(request)));
    }
    // The call that starts the renewal is still signed with the old credentials.
    expect(used).toEqual(['key-1', 'key-1', 'key-1', 'key-2', 'key-2', 'key-3']);
  });

  it.each<[string, number, string]>([
    ['serve while they are renewed, by one caller', 569, credentials.accessKeyId],
    ['are waited for by all callers in their last half minute, renewed by one', 570, 'key-2'],
  ])('%s', async (_what, age, used) => {
    let now = NOW;
    let asked = 0;
    const renewal = deferred<Credentials>();
    const begun = deferred<void>();
    const source = () => {
      asked += 1;
      if (asked === 1) return { ...credentials, expiresAt: NOW + 600 };
      begun.resolve();
      return renewal.promise;
    };
    const signer = createSigner({ credentials: source, audience, clock: () => now });
    await signer.sign(request);
    now = NOW + age;
    const early = Array.from({ length: 20 }, () => signer.sign(request));
    await begun.promise;
    const late = Array.from({ length: 20 }, () => signer.sign(request));
    renewal.resolve({ ...credentials, accessKeyId: 'key-2', expiresAt: NOW + 1_200 });
    expect(new Set((await Promise.all([...early, ...late])).map(idOf))).toEqual(new Set([used]));
    expect(idOf(await signer.sign(request))).toBe('key-2');
    expect(asked).toBe(2);
  });

  it('serve until their last half minute, although the provider hangs', async () => {
    let now = NOW;
    let asked = 0;
    const source = () =>
      ++asked === 1
        ? { ...credentials, expiresAt: NOW + 600 }
        : new Promise<Credentials>(() => undefined);
    const signer = createSigner({ credentials: source, audience, clock: () => now });
    for (now = NOW; now < NOW + 570; now += 1)
      expect(idOf(await signer.sign(request))).toBe(credentials.accessKeyId);
    expect(asked).toBe(2);
  });

  it('serve until they expire if renewing fails', async () => {
    let now = NOW;
    let asked = 0;
    const source = () => {
      asked += 1;
      if (asked > 1) throw new Error('vault sealed');
      return { ...credentials, expiresAt: NOW + 600 };
    };
    const signer = createSigner({ credentials: source, audience, clock: () => now });
    await signer.sign(request);
    for (const seconds of [540, 599]) {
      now = NOW + seconds;
      expect(idOf(await signer.sign(request))).toBe(credentials.accessKeyId);
    }
    now = NOW + 600;
    expect((await failure(signer.sign(request))).message).toBe('vault sealed');
    expect(asked).toBe(4);
  });

  it.each<[string, () => never | Promise<never>]>([
    [
      'throws',
      () => {
        throw new Error('vault sealed');
      },
    ],
    ['rejects', () => Promise.reject(new Error('vault sealed'))],
  ])('are asked for again after the function %s', async (_way, fail) => {
    let asked = 0;
    const signer = createSigner({
      credentials: () => (++asked <= 2 ? fail() : credentials),
      audience,
      clock,
    });
    expect((await failure(signer.sign(request))).message).toBe('vault sealed');
    expect((await failure(signer.sign(request))).message).toBe('vault sealed');
    expect(idOf(await signer.sign(request))).toBe(credentials.accessKeyId);
  });

  it('are asked for again if a server refuses them, at most every five seconds', async () => {
    let now = NOW;
    const asked: (string | undefined)[] = [];
    const sent: unknown[] = [];
    const signedFetch = createFetch({
      credentials: (refused) => {
        asked.push(refused);
        return { ...credentials, accessKeyId: `key-${Math.min(asked.length, 2)}` };
      },
      audience,
      clock: () => now,
      fetch: async (_url, init) => {
        const id = idOf({ headers: init?.headers as Record<string, string> });
        sent.push(id);
        return id === 'key-2' && sent.length < 4 ? new Response('ok') : refusal();
      },
    });
    expect((await signedFetch(request.url)).status).toBe(200);
    expect([asked, sent]).toEqual([
      [undefined, 'key-1'],
      ['key-1', 'key-2'],
    ]);
    expect((await signedFetch(request.url)).status).toBe(200);
    // Refused permanently: the provider is asked once every five seconds, and a request is sent
    // again only if its answer differs.
    for (let call = 0; call < 5; call++) expect((await signedFetch(request.url)).status).toBe(401);
    expect(asked).toHaveLength(2);
    now += 5;
    for (let call = 0; call < 5; call++) expect((await signedFetch(request.url)).status).toBe(401);
    expect(asked).toEqual([undefined, 'key-1', 'key-2']);
    expect(sent).toHaveLength(3 + 10);
  });

  it('are tried again if only their secret differs', async () => {
    let sent = 0;
    const signedFetch = createFetch({
      credentials: (refused) => ({
        ...credentials,
        secretAccessKey: `${refused === undefined ? 'n' : 'm'}EwQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA1`,
      }),
      audience,
      clock: () => NOW,
      fetch: async () => (++sent === 1 ? refusal() : new Response('ok')),
    });
    expect((await signedFetch(request.url)).status).toBe(200);
    expect(sent).toBe(2);
  });

  it('are asked for by who was refused, though an ordinary renewal is on its way', async () => {
    let now = NOW;
    let last = 1;
    let isRevoked = false;
    const asked: (string | undefined)[] = [];
    const signedFetch = createFetch({
      credentials: async (refused) => {
        asked.push(refused);
        await new Promise((resolve) => setTimeout(resolve, 20));
        if (refused !== undefined) last++;
        return { ...credentials, accessKeyId: `key-${last}`, expiresAt: now + 300 };
      },
      audience,
      clock: () => now,
      fetch: async (_url, init) => {
        const id = idOf({ headers: init?.headers as Record<string, string> });
        return isRevoked && id === 'key-1' ? refusal() : new Response('ok');
      },
    });
    expect((await signedFetch(request.url)).status).toBe(200);
    // The renewal gives the same credentials, from a cache of the provider.
    now += 245;
    isRevoked = true;
    const answers = await Promise.all(Array.from({ length: 5 }, () => signedFetch(request.url)));
    expect(answers.map(({ status }) => status)).toEqual(Array(5).fill(200));
    expect(asked).toEqual([undefined, undefined, 'key-1']);
  });

  it('that are a value are not asked for again', async () => {
    let sent = 0;
    const signedFetch = createFetch({
      credentials,
      audience,
      clock,
      fetch: async () => {
        sent++;
        return new Response('{}', {
          status: 401,
          headers: {
            'www-authenticate':
              'COUNTERSIGN1-HMAC-SHA256 realm="video-api", error="signature-invalid"',
          },
        });
      },
    });
    expect((await signedFetch(request.url)).status).toBe(401);
    expect(sent).toBe(1);
  });

  it('are checked each time, and good ones outlive bad ones', async () => {
    let now = NOW;
    const given = [
      { ...credentials, expiresAt: NOW + 100 },
      { ...credentials, secretAccessKey: 'changeme-changeme' },
      undefined,
    ];
    const signer = createSigner({
      credentials: () => given.shift() as Credentials,
      audience,
      clock: () => now,
    });
    await signer.sign(request);
    now = NOW + 99;
    expect(idOf(await signer.sign(request))).toBe(credentials.accessKeyId);
    now = NOW + 100;
    expect(await failure(signer.sign(request))).toEqual(
      new TypeError(
        'Cannot sign with credentials of type undefined: expected { accessKeyId, secretAccessKey }, or a function that gives them',
      ),
    );
  });

  it('sign with a rotated secret at once, though the key id is the same', async () => {
    let now = NOW;
    const rotated = {
      ...credentials,
      secretAccessKey: 'Zx9Yw8Vu7Ts6Rq5Po4Nm3Lk2Ji1Hg0FeDcBaAbCdEfG',
    };
    const given = [{ ...credentials, expiresAt: NOW + 100 }, rotated];
    const signer = createSigner({
      credentials: () => given.shift() as Credentials,
      audience,
      clock: () => now,
      nonce: () => 'N'.repeat(22),
    });
    const signatures: unknown[] = [];
    for (now of [NOW, NOW + 70])
      signatures.push(
        (await signer.sign(request)).headers['authorization']?.split('Signature=')[1],
      );
    const direct = await createSigner({
      credentials: rotated,
      audience,
      clock: () => NOW + 70,
      nonce: () => 'N'.repeat(22),
    }).sign(request);
    expect(signatures[1]).toBe(direct.headers['authorization']?.split('Signature=')[1]);
  });

  it('sign with the key of the day', async () => {
    let now = Date.UTC(2026, 10, 21, 23, 59, 59) / 1000;
    const signer = createSigner({ credentials, audience, clock: () => now });
    for (const verifierNow of [now, now + 1]) {
      now = verifierNow;
      const { headers } = await signer.sign(request);
      expect(
        await judge(buildVerifier({ clock: () => verifierNow }), {
          method: 'GET',
          url: '/',
          headers: { ...headers, host: 'api.test' },
        }),
      ).toBe('accepted');
    }
  });
});

/** A key that signs and cannot be read. */
async function importSigningKey(scope: string): Promise<webcrypto.CryptoKey> {
  const [date, name] = scope.split('/');
  const params = { timestamp: `${date}T000000Z`, audience: name } as never;
  const bytes = countersign().derive?.key(
    new TextEncoder().encode(credentials.secretAccessKey),
    params,
  ) as Uint8Array;
  return webcrypto.subtle.importKey(
    'raw',
    Uint8Array.from(bytes),
    { name: 'HMAC', hash: 'SHA-256' },
    false,
    ['sign'],
  );
}

describe('credentials that sign elsewhere', () => {
  const { accessKeyId } = credentials;

  it.each<[string, (bytes: ArrayBuffer) => Uint8Array | ArrayBuffer]>([
    ['the ArrayBuffer of WebCrypto', (bytes) => bytes],
    ['a Uint8Array', (bytes) => new Uint8Array(bytes)],
  ])(
    'give, with a non-extractable key and %s, the signature of the secret',
    async (_form, convert) => {
      const scopes: string[] = [];
      const signElsewhere = async (stringToSign: Uint8Array, scope: string) => {
        scopes.push(scope);
        const key = await importSigningKey(scope);
        expect(key.extractable).toBe(false);
        return convert(await webcrypto.subtle.sign('HMAC', key, Uint8Array.from(stringToSign)));
      };
      const fixed = { nonce: () => 'N'.repeat(22) };
      const [bySecret, byMac] = [
        await sign(credentials, fixed),
        await sign({ accessKeyId, sign: signElsewhere }, fixed),
      ];
      expect(byMac).toEqual(bySecret);
      expect(scopes).toEqual(['20261121/video-api/countersign1_request']);
      expect(
        await judge(buildVerifier(), {
          method: 'GET',
          url: '/',
          headers: { ...byMac.headers, host: 'api.test' },
        }),
      ).toBe('accepted');
    },
  );

  it.each<[string, unknown]>([
    ['hex', 'ab'.repeat(32)],
    ['nothing', undefined],
    ['31 bytes', new Uint8Array(31)],
    ['64 bytes', new Uint8Array(64)],
    ['an array', new Array(32).fill(1)],
  ])('fail if it gives %s', async (_what, given) => {
    for (const value of [given, Promise.resolve(given)]) {
      const error = await failure(sign({ accessKeyId, sign: () => value as Uint8Array }));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe(
        'Cannot sign: the "sign" of the credentials gave something else than the bytes of a signature of hmac-sha256',
      );
    }
  });

  it.each<[string, () => Promise<Uint8Array>]>([
    [
      'throws',
      () => {
        throw new Error('vault sealed');
      },
    ],
    ['rejects', () => Promise.reject(new Error('vault sealed'))],
  ])('fail with what it %s', async (_way, signElsewhere) => {
    expect((await failure(sign({ accessKeyId, sign: signElsewhere }))).message).toBe(
      'vault sealed',
    );
  });
});

/** Credentials with a secret in a wrong field. */
const unusable: [string, unknown, string][] = [
  [
    'undefined',
    undefined,
    'Cannot sign with credentials of type undefined: expected { accessKeyId, secretAccessKey }, or a function that gives them',
  ],
  ['null', null, 'Cannot sign with credentials of type null'],
  ['a secret alone', credentials.secretAccessKey, 'Cannot sign with credentials of type string'],
  [
    'no id',
    { ...credentials, accessKeyId: undefined },
    '"accessKeyId" is unusable: expected 1 to 128 of A-Z a-z 0-9 . _ -',
  ],
  [
    'a secret for an id',
    { ...credentials, accessKeyId: `${credentials.secretAccessKey}/+` },
    '"accessKeyId" is unusable',
  ],
  ['an id with a slash', { ...credentials, accessKeyId: 'a/b' }, '"accessKeyId" is unusable'],
  [
    'no secret',
    { accessKeyId: 'CSAK1' },
    'Cannot sign with access key "CSAK1": its "secretAccessKey" is unusable: expected text, got undefined',
  ],
  [
    'an empty secret',
    { accessKeyId: 'CSAK1', secretAccessKey: '' },
    'it has 0 bytes, at least 16 are needed',
  ],
  [
    'a short secret',
    { accessKeyId: 'CSAK1', secretAccessKey: 'shortSecret1234' },
    'it has 15 bytes, at least 16 are needed',
  ],
  [
    'a placeholder',
    { accessKeyId: 'CSAK1', secretAccessKey: 'your-secret-access-key' },
    'it is a placeholder, not a secret',
  ],
  [
    'a repeated character',
    { accessKeyId: 'CSAK1', secretAccessKey: 'x'.repeat(43) },
    'it repeats a few characters',
  ],
  [
    'a secret with a line break at its end',
    { ...credentials, secretAccessKey: `${credentials.secretAccessKey}\n` },
    '"secretAccessKey" is unusable: it begins or ends with a blank, a line break or a quote',
  ],
  [
    'a secret in quotes',
    { ...credentials, secretAccessKey: `"${credentials.secretAccessKey}"` },
    '"secretAccessKey" is unusable: it begins or ends with a blank, a line break or a quote',
  ],
  [
    'a secret with a byte order mark',
    { ...credentials, secretAccessKey: `\ufeff${credentials.secretAccessKey}` },
    '"secretAccessKey" is unusable: it holds a control character or one that cannot be seen',
  ],
  [
    'a secret that was wrapped',
    { ...credentials, secretAccessKey: credentials.secretAccessKey.replace('Zr8', 'Zr8\n') },
    '"secretAccessKey" is unusable: it holds a control character',
  ],
  [
    'an id with a line break at its end',
    { ...credentials, accessKeyId: 'CSAK1\n' },
    '"accessKeyId" is unusable: it begins or ends with a blank, a line break or a quote',
  ],
  [
    'a session token in quotes',
    { ...credentials, sessionToken: '"mT0pQ7vYx2"' },
    '"sessionToken" is unusable: it begins or ends with a blank, a line break or a quote',
  ],
  [
    'a "sign" that is none',
    { accessKeyId: 'CSAK1', sign: 'hmac' },
    '"sign" is unusable: expected a function',
  ],
  [
    'a session token that is not text',
    { ...credentials, sessionToken: 5 },
    '"sessionToken" is unusable: expected visible ASCII',
  ],
  ['an empty session token', { ...credentials, sessionToken: '' }, '"sessionToken" is unusable'],
  [
    'a session token with a line break',
    { ...credentials, sessionToken: 'mT0pQ7vYx2\nx' },
    '"sessionToken" is unusable',
  ],
  [
    'a Date of expiry',
    { ...credentials, expiresAt: new Date() },
    '"expiresAt" is unusable: expected Unix seconds, not milliseconds, not a Date',
  ],
  [
    'an expiry in milliseconds',
    { ...credentials, expiresAt: NOW * 1000 },
    '"expiresAt" is unusable',
  ],
  ['an expiry of NaN', { ...credentials, expiresAt: Number.NaN }, '"expiresAt" is unusable'],
  [
    'an expiry that is text',
    { ...credentials, expiresAt: '1795299926' },
    '"expiresAt" is unusable',
  ],
];

describe('credentials that cannot be used', () => {
  it.each(unusable)('are refused when the signer is built: %s', (_what, given, message) => {
    const build = (): unknown => createSigner({ credentials: given as Credentials, audience });
    expect(build).toThrow(
      expect.objectContaining({ name: 'TypeError', message: expect.stringContaining(message) }),
    );
  });

  it.each(unusable)('are refused when a function gives them: %s', async (_what, given, message) => {
    const error = await failure(sign(() => given as Credentials));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(message);
  });
});

describe('secrets', () => {
  /** Every way in which a value may get into a log. */
  const shown = (value: unknown): string => {
    const views = [
      inspect(value, { depth: 99, showHidden: true, getters: true }),
      String(value),
      `${JSON.stringify(value)}`,
    ];
    return value instanceof Error
      ? [...views, value.stack, value.message, inspect(value.cause, { depth: 99 })].join('\n')
      : views.join('\n');
  };
  const secrets = [credentials.secretAccessKey, 'token-of-a-session'];
  const given = { ...credentials, sessionToken: 'token-of-a-session' };

  it('are shown by no signer, fetch or interceptor', async () => {
    for (const source of [given, () => given]) {
      const signer = createSigner({ credentials: source, audience, clock });
      await signer.sign(request);
      const built = [
        signer,
        signer.sign,
        signer.presign,
        createFetch({ credentials: source, audience }),
        signing({ credentials: source, audience, origins: ['https://api.test'] }),
      ];
      for (const value of built)
        for (const secret of secrets) expect(shown(value)).not.toContain(secret);
    }
  });

  it('are in no error of a signer', async () => {
    const signer = createSigner({ credentials: given, audience, clock });
    let now = NOW;
    const stopped = createSigner({ credentials: given, audience, clock: () => now });
    now = Number.NaN;
    const wrong = [
      signer.sign({ method: 'G T', url: 'https://api.test/' }),
      signer.sign({ method: 'GET', url: '/' }),
      signer.sign({ method: 'GET', url: 'https://api.test/%zz' }),
      signer.sign({ method: 'GET', url: 'https://api.test/', headers: { 'content-type': 'é' } }),
      signer.sign({ method: 'GET', url: 'https://api.test/', body: 5n as never }),
      signer.sign({ method: 'GET', url: 'https://api.test/', epoch: ' ' }),
      signer.presign({ url: 'https://api.test/', expiresIn: 60 }),
      stopped.sign(request),
      createSigner({ credentials: given, audience, nonce: () => '' }).sign(request),
    ];
    for (const attempt of wrong) {
      const error = await failure(attempt);
      for (const secret of secrets) expect(shown(error)).not.toContain(secret);
    }
  });

  it.each(unusable)('are in no error about credentials: %s', async (_what, bad) => {
    const error = await failure(sign(() => bad as Credentials));
    for (const secret of [
      credentials.secretAccessKey,
      'shortSecret1234',
      'your-secret',
      'mT0pQ7vYx2',
    ])
      expect(shown(error)).not.toContain(secret);
  });

  it('are in no part of a signed request but the session token, which its header carries', async () => {
    const signed = await sign(given);
    expect(shown(signed)).not.toContain(credentials.secretAccessKey);
    expect(JSON.stringify(signed).split('token-of-a-session')).toHaveLength(2);
  });
});
