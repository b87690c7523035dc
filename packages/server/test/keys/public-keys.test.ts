// Access keys whose private half only their owner has.

import {
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  type KeyObject,
  webcrypto,
} from 'node:crypto';
import { inspect } from 'node:util';
import { type Credentials, createFetch, createSigner } from '@countersign/client';
import {
  createVerifier,
  deriveAccessKey,
  type GeneratedKeyPair,
  type GivenAccessKey,
  generateAccessKey,
  generateMasterKey,
  type KeyStore,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import { withSignature } from '@countersign/server/fetch';
import { createSessions } from '@countersign/server/sessions';
import {
  ALGORITHMS,
  countersign,
  importPrivateKey,
  type PublicKeyAlgorithm,
} from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import {
  AUDIENCE,
  header,
  NOW,
  ORIGIN,
  outcome,
  type Received,
  withHeader,
} from '../../../../test/support/api.ts';

const algorithms = ALGORITHMS.filter((it): it is PublicKeyAlgorithm => it !== 'hmac-sha256');
const pairs = new Map(
  algorithms.map((algorithm) => [
    algorithm,
    generateAccessKey({ subject: 'alice', scopes: ['videos:parse'], algorithm }),
  ]),
);
const pairOf = (algorithm: PublicKeyAlgorithm) => pairs.get(algorithm) as GeneratedKeyPair;

function verifierOf(keys: KeyStore) {
  const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
  return createVerifier({ audience: AUDIENCE, keys, nonces, clock: () => NOW });
}

const storeOf = (...keys: GivenAccessKey[]) => new MemoryKeyStore(keys, () => NOW);
/** A store of an application's own, which gives what it has. */
const raw = (key: unknown): KeyStore => ({ find: async () => key as never });

const host: [string, string] = ['host', new URL(ORIGIN).host];

async function sign(credentials: Credentials): Promise<Received> {
  const signer = createSigner({ credentials, audience: AUDIENCE, clock: () => NOW });
  const signed = await signer.sign({
    method: 'POST',
    url: `${ORIGIN}/videos?id=1`,
    body: { id: 1 },
  });
  return {
    method: 'POST',
    url: '/videos?id=1',
    headers: [host, ...Object.entries(signed.headers)],
    body: signed.body as Uint8Array,
  };
}

async function presign(credentials: Credentials): Promise<Received> {
  const signer = createSigner({ credentials, audience: AUDIENCE, clock: () => NOW });
  const url = await signer.presign({ url: `${ORIGIN}/videos/1`, expiresIn: 60 });
  return { method: 'GET', url: url.slice(ORIGIN.length), headers: [host] };
}

const messageOf = (call: () => unknown): string => {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(TypeError);
    return (error as Error).message;
  }
  return 'accepted';
};

/** The bytes of a signature, changed. */
const changeSignature = (request: Received, change: (signature: Buffer) => Buffer): Received => {
  const [front, hex] = header(request, 'authorization').split('Signature=') as [string, string];
  const changed = change(Buffer.from(hex, 'hex')).toString('hex');
  return withHeader(request, 'authorization', `${front}Signature=${changed}`);
};

describe.each(algorithms)('a key of %s', (algorithm) => {
  const { accessKey, credentials } = pairOf(algorithm);

  it('signs, in headers and in URLs, with nothing secret on the server', async () => {
    const keys = storeOf(accessKey);
    const verifier = verifierOf(keys);
    const request = await sign(credentials);
    expect(header(request, 'authorization')).toMatch(
      new RegExp(`^COUNTERSIGN1-${algorithm.toUpperCase()} Credential=${accessKey.accessKeyId}/`),
    );
    expect(await verifier.verify(request)).toMatchObject({ subject: 'alice', reusable: false });
    expect(await outcome(verifier, request)).toBe('ERR_NONCE_REUSED');
    const url = await presign(credentials);
    expect(await verifier.verify(url)).toMatchObject({ reusable: true });
    expect(await keys.find(accessKey.accessKeyId)).toEqual(accessKey);
    const [, secret = ''] = credentials.privateKey.split('\n');
    expect(inspect(await keys.find(accessKey.accessKeyId), { depth: 9 })).not.toContain(secret);
    expect(JSON.stringify(await verifier.explain(request))).not.toContain(secret);
  });

  it('signs as PEM, JWK, KeyObject and CryptoKey', async () => {
    const key = createPrivateKey(credentials.privateKey);
    const verifier = verifierOf(storeOf(accessKey));
    const web = {
      ed25519: { name: 'Ed25519' },
      'ecdsa-p256-sha256': { name: 'ECDSA', namedCurve: 'P-256' },
      'ecdsa-p384-sha384': { name: 'ECDSA', namedCurve: 'P-384' },
      'rsa-pss-sha512': { name: 'RSA-PSS', hash: 'SHA-512' },
      'rsa-v1_5-sha256': { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
    }[algorithm];
    const der = key.export({ format: 'der', type: 'pkcs8' });
    const cryptoKey = await webcrypto.subtle.importKey('pkcs8', der, web, false, ['sign']);
    const { accessKeyId } = credentials;
    for (const privateKey of [
      credentials.privateKey,
      key.export({ format: 'jwk' }),
      key,
      cryptoKey,
    ])
      expect(await outcome(verifier, await sign({ accessKeyId, algorithm, privateKey }))).toBe(
        'accepted',
      );
    // A key in a vault.
    const vault = importPrivateKey(credentials.privateKey, algorithm);
    const scopes: string[] = [];
    const signElsewhere = async (bytes: Uint8Array, scope: string) => {
      scopes.push(scope);
      return (await vault).sign(bytes);
    };
    const elsewhere = { accessKeyId, algorithm, sign: signElsewhere };
    expect(await outcome(verifier, await sign(elsewhere))).toBe('accepted');
    expect(scopes).toEqual(['20261121/video-api/countersign1_request']);
  });

  it('is refused with a bit of the signature, or what is signed, changed', async () => {
    const verifier = verifierOf(storeOf(accessKey));
    const request = await sign(credentials);
    for (const at of [0, -1]) {
      const flipped = changeSignature(request, (signature) => {
        const place = at === 0 ? 0 : signature.length - 1;
        signature[place] = (signature[place] as number) ^ 1;
        return signature;
      });
      expect(await outcome(verifier, flipped)).toBe('ERR_SIGNATURE_MISMATCH');
    }
    for (const change of [
      (it: Buffer) => it.subarray(1),
      (it: Buffer) => Buffer.concat([it, Buffer.from([0])]),
    ])
      expect(await outcome(verifier, changeSignature(request, change))).toMatch(
        algorithm.startsWith('rsa') ? 'ERR_SIGNATURE_MISMATCH' : 'ERR_SIGNATURE_MALFORMED',
      );
    expect(await outcome(verifier, { ...request, url: '/videos?id=2' })).toBe(
      'ERR_SIGNATURE_MISMATCH',
    );
    expect(await outcome(verifier, { ...request, body: Buffer.from('{}') })).toBe(
      'ERR_BODY_MISMATCH',
    );
    expect(await outcome(verifier, request)).toBe('accepted');
  });

  it('is taken as PEM, JWK and KeyObject, and kept as PEM', async () => {
    const key = createPublicKey(credentials.privateKey);
    const forms = [
      key,
      key.export({ format: 'jwk' }),
      key.export({ format: 'pem', type: 'spki' }).toString(),
    ];
    for (const form of forms) {
      const made = generateAccessKey({ publicKey: { algorithm, key: form } });
      expect(made.publicKey).toEqual(accessKey.publicKey);
      const keys = storeOf({ ...accessKey, publicKey: { algorithm, key: form } });
      expect(await keys.find(accessKey.accessKeyId)).toEqual(accessKey);
      // A store of one's own may give any of them.
      const found = { ...accessKey, publicKey: { algorithm, key: form } };
      expect(await outcome(verifierOf(raw(found)), await sign(credentials))).toBe('accepted');
    }
  });
});

describe('the algorithm', () => {
  const secret = generateAccessKey({ subject: 'alice' });

  it('K11: is that of the record: a public key is no secret of an HMAC', async () => {
    for (const algorithm of algorithms) {
      const { accessKey } = pairOf(algorithm);
      const { accessKeyId, publicKey } = accessKey;
      const pem = publicKey.key as string;
      // All that everybody knows of the key.
      for (const text of [
        pem,
        pem.trim(),
        pem.replaceAll('\n', ''),
        pem.split('\n').slice(1, -2).join(''),
      ]) {
        const secretAccessKey = text;
        const forged = sign({ accessKeyId, secretAccessKey }).catch(() =>
          sign({ accessKeyId, secretAccessKey: text.replaceAll('\n', '') }),
        );
        for (const keys of [storeOf(accessKey), raw(accessKey)])
          expect(await outcome(verifierOf(keys), await forged)).toBe('ERR_SIGNATURE_MISMATCH');
      }
    }
  });

  it('K11: that a request names and the record does not is refused, whatever the signature', async () => {
    const names = ALGORITHMS.map((it) => `COUNTERSIGN1-${it.toUpperCase()}`);
    for (const [key, credentials] of [
      [secret, secret] as const,
      ...algorithms.map((it) => [pairOf(it).accessKey, pairOf(it).credentials] as const),
    ]) {
      const verifier = verifierOf(raw(key));
      const { accessKeyId } = credentials;
      const own =
        'privateKey' in credentials
          ? credentials
          : { accessKeyId, secretAccessKey: secret.secretAccessKey };
      const request = await sign(own);
      for (const name of names) {
        const renamed = header(request, 'authorization').replace(/^\S+/, name);
        if (renamed === header(request, 'authorization')) continue;
        expect(await outcome(verifier, withHeader(request, 'authorization', renamed))).toMatch(
          /^ERR_SIGNATURE_(?:MISMATCH|MALFORMED)$/,
        );
      }
      expect(await outcome(verifier, request)).toBe('accepted');
    }
  });

  it('of RSA is one of two, and the same key is good for its own only', async () => {
    const { accessKey, credentials } = pairOf('rsa-pss-sha512');
    const verifier = verifierOf(storeOf(accessKey));
    const other = await sign({ ...credentials, algorithm: 'rsa-v1_5-sha256' });
    const error = await verifier.verify(other).catch((it) => it);
    expect(error).toMatchObject({ code: 'ERR_SIGNATURE_MISMATCH' });
    expect(error.message).toContain('signed with rsa-v1_5-sha256, the key is for "rsa-pss-sha512"');
    expect(await outcome(verifier, await sign(credentials))).toBe('accepted');
  });

  it('of a record that was changed counts at once, though the key is the same', async () => {
    const { accessKey, credentials } = pairOf('rsa-pss-sha512');
    let algorithm: PublicKeyAlgorithm = 'rsa-pss-sha512';
    const verifier = verifierOf({
      find: async () => ({ ...accessKey, publicKey: { ...accessKey.publicKey, algorithm } }),
    });
    const [before, after] = [await sign(credentials), await sign(credentials)];
    expect(await outcome(verifier, before)).toBe('accepted');
    algorithm = 'rsa-v1_5-sha256';
    expect(await outcome(verifier, after)).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await outcome(verifier, await sign({ ...credentials, algorithm }))).toBe('accepted');
  });

  it('must be one that the scheme has a form for', async () => {
    const { accessKey, credentials } = pairOf('ed25519');
    const scheme = { ...countersign(), algorithms: ['hmac-sha256'] as const };
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const keys = storeOf(accessKey);
    const verifier = createVerifier({
      audience: AUDIENCE,
      keys,
      nonces,
      schemes: [scheme as never],
      clock: () => NOW,
    });
    const error = await verifier.verify(await sign(credentials)).catch((it) => it);
    expect(error.message).toContain('the key is for "ed25519", which countersign has no form for');
    const signer = createSigner({ credentials, audience: AUDIENCE, scheme: scheme as never });
    await expect(signer.sign({ method: 'GET', url: ORIGIN })).rejects.toThrow(
      expect.objectContaining({
        message: expect.stringContaining('the scheme countersign has no form for ed25519'),
      }),
    );
  });
});

describe('a second signature of the same bytes', () => {
  it('K12: is one request still: what is claimed is no signature', async () => {
    const { accessKey, credentials } = pairOf('ecdsa-p256-sha256');
    const verifier = verifierOf(storeOf(accessKey));
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const request = await sign(credentials);
    const twin = changeSignature(request, (signature) => {
      const s = BigInt(`0x${signature.subarray(32).toString('hex')}`);
      const other = (order - s).toString(16).padStart(64, '0');
      return Buffer.concat([signature.subarray(0, 32), Buffer.from(other, 'hex')]);
    });
    expect(header(twin, 'authorization')).not.toBe(header(request, 'authorization'));
    expect(await outcome(verifier, twin)).toBe('accepted');
    expect(await outcome(verifier, request)).toBe('ERR_NONCE_REUSED');
  });

  it('K12: of RSA there is none: zeros in front are a part of it', async () => {
    const { accessKey, credentials } = pairOf('rsa-pss-sha512');
    const verifier = verifierOf(storeOf(accessKey));
    let request: Received;
    // The salt is random, so one in 256 signatures begins with a zero.
    do request = await sign(credentials);
    while (!/Signature=00/.test(header(request, 'authorization')));
    const shorter = changeSignature(request, (signature) => signature.subarray(1));
    expect(await outcome(verifier, shorter)).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await outcome(verifier, request)).toBe('accepted');
  });

  it('K12: of Ed25519 there is none: S is written in one way', async () => {
    const { accessKey, credentials } = pairOf('ed25519');
    const verifier = verifierOf(storeOf(accessKey));
    const order = (1n << 252n) + 27742317777372353535851937790883648493n;
    const request = await sign(credentials);
    const twin = changeSignature(request, (signature) => {
      const s = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString('hex')}`);
      const other = Buffer.from((s + order).toString(16).padStart(64, '0'), 'hex').reverse();
      return Buffer.concat([signature.subarray(0, 32), other]);
    });
    expect(await outcome(verifier, twin)).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await outcome(verifier, request)).toBe('accepted');
  });
});

const SMALL_ORDER = [
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  `01${'00'.repeat(30)}80`,
  `ec${'ff'.repeat(30)}7f`,
  `${'00'.repeat(31)}80`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
  `ed${'ff'.repeat(30)}7f`,
  `ee${'ff'.repeat(30)}7f`,
];
const okp = (hex: string) => ({
  kty: 'OKP',
  crv: 'Ed25519',
  x: Buffer.from(hex, 'hex').toString('base64url'),
});
const rsa = (bits: number, e?: string) => {
  const jwk = generateKeyPairSync('rsa', { modulusLength: bits }).publicKey.export({
    format: 'jwk',
  });
  return e === undefined ? jwk : { ...jwk, e };
};
const pem = (pair: { publicKey: KeyObject }): string =>
  pair.publicKey.export({ format: 'pem', type: 'spki' }).toString();
const ed25519 = generateKeyPairSync('ed25519');
const metadata = { accessKeyId: 'CSAK1', subject: 'alice', scopes: [], status: 'active' } as const;

describe('public keys that are refused, when stored and when used', () => {
  const smallOrder = 'a point of small order, for which every attacker can sign';
  const none = 'expected a public key in PEM, as a JWK, or a KeyObject; no private key';

  it.each<[string, unknown, string]>([
    ...SMALL_ORDER.map(
      (hex) => [`the point ${hex.slice(0, 6)}`, okp(hex), smallOrder] as [string, unknown, string],
    ),
    ['RSA of 1,024 bits', rsa(1_024), 'an RSA key of 2048 to 8192 bits: this one has 1024'],
    ['RSA with the exponent 1', rsa(2_048, 'AQ'), 'an odd exponent of at least 3: this one has 1'],
    [
      'RSA with an even exponent',
      rsa(2_048, 'BA'),
      'an odd exponent of at least 3: this one has 4',
    ],
    ['X25519', pem(generateKeyPairSync('x25519')), 'this one is x25519'],
    ['Ed448', pem(generateKeyPairSync('ed448')), 'this one is ed448'],
    ['P-521', pem(generateKeyPairSync('ec', { namedCurve: 'P-521' })), 'this one is ec secp521r1'],
    [
      'secp256k1',
      pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' })),
      'this one is ec secp256k1',
    ],
    [
      'RSA-PSS with parameters of its own',
      pem(generateKeyPairSync('rsa-pss', { modulusLength: 2_048 })),
      'this one is rsa-pss',
    ],
    ['a private key in PEM', ed25519.privateKey.export({ format: 'pem', type: 'pkcs8' }), none],
    ['a private JWK', ed25519.privateKey.export({ format: 'jwk' }), none],
    ['a private KeyObject', ed25519.privateKey, none],
    ['a secret KeyObject', createSecretKey(Buffer.alloc(32, 1)), none],
    ['a symmetric JWK', { kty: 'oct', k: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA' }, none],
    ['a certificate', '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n', none],
    ['text', 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA', none],
    ['bytes', new Uint8Array(32), none],
    ['nothing', undefined, none],
    ['null', null, none],
  ])('%s', async (_, key, why) => {
    const algorithm = 'ed25519';
    const given = { ...metadata, publicKey: { algorithm, key } } as never;
    const stored = messageOf(() => storeOf(given));
    expect(stored).toContain(`option "publicKey" is of type object: expected`);
    expect(stored).toContain(why);
    expect(
      messageOf(() => generateAccessKey({ publicKey: { algorithm, key } as never })),
    ).toContain(why);
    // A store of an application's own has not looked.
    const { privateKey } = pairOf('ed25519').credentials;
    const verifier = verifierOf(raw(given));
    const error = await verifier
      .verify(await sign({ accessKeyId: 'CSAK1', privateKey }))
      .catch((it) => it);
    expect(error).toMatchObject({ code: 'ERR_KEY_INACTIVE' });
    expect(error.message).toContain(`its public key is unusable: expected`);
    expect(error.message).toContain(why);
  });

  it('K13: a point of small order would be good for whatever is asked, without this', async () => {
    // R is the neutral point and S is zero. For the key "one", Node.js 20 and 22 accept that,
    // whatever is signed. Node.js 24 refuses it.
    const signature = Buffer.concat([Buffer.from(`01${'00'.repeat(31)}`, 'hex'), Buffer.alloc(32)]);
    const jwk = okp(`01${'00'.repeat(31)}`);
    const key = createPublicKey({ key: jwk, format: 'jwk' });
    const { verify } = await import('node:crypto');
    const isAccepted = Number.parseInt(process.versions.node, 10) < 24;
    expect([
      verify(null, Buffer.from('a'), key, signature),
      verify(null, Buffer.from('b'), key, signature),
    ]).toEqual([isAccepted, isAccepted]);
    const { credentials } = pairOf('ed25519');
    const request = changeSignature(
      await sign({ ...credentials, accessKeyId: 'CSAK1' }),
      () => signature,
    );
    const verifier = verifierOf(
      raw({ ...metadata, publicKey: { algorithm: 'ed25519', key: jwk } }),
    );
    expect(await outcome(verifier, request)).toBe('ERR_KEY_INACTIVE');
  });

  it.each([
    [
      'of another kind',
      'ecdsa-p256-sha256',
      '"algorithm" ed25519 for this key, not "ecdsa-p256-sha256"',
    ],
    ['of a secret', 'hmac-sha256', '"algorithm" ed25519 for this key, not "hmac-sha256"'],
    ['that is none', 'none', '"algorithm" ed25519 for this key, not "none"'],
  ])('for an algorithm %s', async (_, algorithm, why) => {
    const given = { ...metadata, publicKey: { algorithm, key: pem(ed25519) } } as never;
    expect(messageOf(() => storeOf(given))).toContain(why);
    const request = await sign({ accessKeyId: 'CSAK1', privateKey: ed25519.privateKey });
    expect(await outcome(verifierOf(raw(given)), request)).toMatch(
      /^ERR_(?:KEY_INACTIVE|SIGNATURE_MISMATCH)$/,
    );
  });

  it('beside a secret: no reader could say which of them counts', async () => {
    const { accessKey, credentials } = pairOf('ed25519');
    const { secretAccessKey } = generateAccessKey();
    const both = { ...accessKey, secretAccessKey } as never;
    expect(messageOf(() => storeOf(both))).toBe(
      'Cannot add access key: expected "secretAccessKey" or "publicKey", got both',
    );
    const { accessKeyId } = credentials;
    for (const given of [credentials, { accessKeyId, secretAccessKey }])
      expect(await outcome(verifierOf(raw(both)), await sign(given))).toBe('ERR_KEY_INACTIVE');
    // What a database gives for a column without a value.
    const withNull = { ...accessKey, secretAccessKey: null, signingKeys: null };
    expect(await outcome(verifierOf(raw(withNull)), await sign(credentials))).toBe('accepted');
    const secretOnly = { ...generateAccessKey(), publicKey: null };
    expect(
      await outcome(
        verifierOf(raw(secretOnly)),
        await sign({
          accessKeyId: secretOnly.accessKeyId,
          secretAccessKey: secretOnly.secretAccessKey,
        }),
      ),
    ).toBe('accepted');
  });

  it('of which no signing key can be derived', () => {
    const { accessKey } = pairOf('ed25519');
    expect(messageOf(() => deriveAccessKey(accessKey as never, { audience: AUDIENCE }))).toContain(
      'its secret is unusable: expected text, got undefined',
    );
  });
});

describe('generateAccessKey()', () => {
  it('says what the key says if it is not told an algorithm', () => {
    expect(generateAccessKey({ publicKey: { key: rsa(2_048) } }).publicKey.algorithm).toBe(
      'rsa-pss-sha512',
    );
    expect(generateAccessKey({ publicKey: { key: pem(ed25519) } }).publicKey.algorithm).toBe(
      'ed25519',
    );
    expect(generateAccessKey({ algorithm: 'hmac-sha256' }).secretAccessKey).toMatch(/^[\w-]{43}$/);
  });

  it('refuses an algorithm that is none, and two sayings of it', () => {
    for (const algorithm of ['none', 'ED25519', '__proto__', 5])
      expect(messageOf(() => generateAccessKey({ algorithm } as never))).toMatch(
        /^Cannot make access key: "algorithm" is .*: expected one of hmac-sha256, ed25519/,
      );
    expect(
      messageOf(() =>
        generateAccessKey({ algorithm: 'ed25519', publicKey: { key: pem(ed25519) } } as never),
      ),
    ).toBe('Cannot make access key: the algorithm of a public key stands in "publicKey"');
  });
});

describe('createFetch() with a private key', () => {
  it('signs again with the epoch of a newborn store, and with other credentials once they are refused', async () => {
    const [first, second] = [0, 1].map(() =>
      generateAccessKey({ subject: 'alice', algorithm: 'ed25519' }),
    ) as [GeneratedKeyPair, GeneratedKeyPair];
    const keys = storeOf(first.accessKey, second.accessKey);
    // Born now: it cannot vouch for what was signed a moment ago.
    const nonces = new MemoryNonceStore({ clock: () => NOW });
    const verifier = createVerifier({ audience: AUDIENCE, keys, nonces, clock: () => NOW });
    const handler = withSignature((_, identity) => new Response(identity.accessKeyId), verifier);
    const statuses: number[] = [];
    const call = createFetch({
      credentials: (refused) => (refused === undefined ? first : second).credentials,
      audience: AUDIENCE,
      clock: () => NOW,
      fetch: async (url, init) => {
        const request = new Request(url, init);
        request.headers.set('host', new URL(ORIGIN).host);
        const response = await handler(request);
        statuses.push(response.status);
        return response;
      },
    });
    const post = async () => (await call(`${ORIGIN}/videos`, { method: 'POST', body: {} })).text();
    expect(await post()).toBe(first.accessKey.accessKeyId);
    await keys.revoke({ accessKeyId: first.accessKey.accessKeyId });
    expect(await post()).toBe(second.accessKey.accessKeyId);
    expect(statuses).toEqual([401, 200, 401, 200]);
  });
});

describe('session credentials', () => {
  it('are lent to the owner of a public key, and have a secret', async () => {
    const { accessKey, credentials } = pairOf('ed25519');
    const keys = storeOf(accessKey);
    const sessions = createSessions({
      issuer: 'video-api',
      masterKey: generateMasterKey(),
      revocations: keys,
      clock: () => NOW,
    });
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const verifier = createVerifier({
      audience: AUDIENCE,
      keys,
      sessions,
      nonces,
      clock: () => NOW,
    });
    const lent = await sessions.lend(await verifier.verify(await sign(credentials)));
    expect(await verifier.verify(await sign(lent))).toMatchObject({
      subject: 'alice',
      session: { parent: accessKey.accessKeyId },
    });
    // The token of a session is no key: the private key of its parent does not sign for it.
    const { sessionToken, accessKeyId } = lent;
    const mixed = { accessKeyId, sessionToken, privateKey: credentials.privateKey };
    expect(await outcome(verifier, await sign(mixed))).toBe('ERR_SIGNATURE_MISMATCH');
    await keys.revoke({ accessKeyId: accessKey.accessKeyId });
    expect(await outcome(verifier, await sign(lent))).toBe('ERR_KEY_INACTIVE');
  });
});
