import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  verify,
  webcrypto,
} from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  ALGORITHMS,
  algorithmsOf,
  isSignatureLength,
  type PublicKeyAlgorithm,
} from '../src/algorithms.ts';
import * as browser from '../src/private-key.browser.ts';
import * as node from '../src/private-key.node.ts';

const data = new TextEncoder().encode('what is signed');
const keys: [PublicKeyAlgorithm, KeyObject, (signature: Uint8Array, key: KeyObject) => boolean][] =
  [
    [
      'ed25519',
      generateKeyPairSync('ed25519').privateKey,
      (it, key) => verify(null, data, key, it),
    ],
    ...(['P-256', 'P-384'] as const)
      .map(
        (namedCurve) =>
          [
            namedCurve === 'P-256' ? 'ecdsa-p256-sha256' : 'ecdsa-p384-sha384',
            generateKeyPairSync('ec', { namedCurve }).privateKey,
            (it: Uint8Array, key: KeyObject) =>
              verify(
                namedCurve === 'P-256' ? 'sha256' : 'sha384',
                data,
                { key, dsaEncoding: 'ieee-p1363' },
                it,
              ),
          ] as const,
      )
      .map((it) => it as unknown as (typeof keys)[number]),
    [
      'rsa-pss-sha512',
      generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey,
      (it, key) => verify('sha512', data, { key, padding: 6, saltLength: 64 }, it),
    ],
    [
      'rsa-v1_5-sha256',
      generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey,
      (it, key) => verify('sha256', data, key, it),
    ],
  ];
const pem = (key: KeyObject): string => key.export({ format: 'pem', type: 'pkcs8' }).toString();

describe.each([
  ['node', node.importPrivateKey],
  ['browser', browser.importPrivateKey],
])('importPrivateKey() of %s', (platform, importPrivateKey) => {
  it.each(keys)('signs with %s, of PEM and of a JWK', async (algorithm, key, verifies) => {
    const forms = [
      pem(key),
      `\n${pem(key)}\n`,
      key.export({ format: 'jwk' }),
      { ...key.export({ format: 'jwk' }), use: 'sig' },
    ];
    for (const form of forms) {
      const imported = await importPrivateKey(form, algorithm);
      const signature = await imported.sign(data);
      expect(imported.algorithm).toBe(algorithm);
      expect(signature).toBeInstanceOf(Uint8Array);
      expect(isSignatureLength(algorithm, signature.length)).toBe(true);
      expect(verifies(signature, createPublicKey(key))).toBe(true);
      // The message shows no part of the key.
      expect(JSON.stringify(imported)).not.toContain(String(key.export({ format: 'jwk' }).d));
    }
  });

  it.each(keys)(
    'takes the algorithm from a key for %s, and refuses another',
    async (algorithm, key) => {
      const own = algorithm.startsWith('rsa') ? 'rsa-pss-sha512' : algorithm;
      expect((await importPrivateKey(pem(key))).algorithm).toBe(own);
      for (const other of ALGORITHMS) {
        if (algorithmsOf(key.export({ format: 'jwk' })).includes(other as PublicKeyAlgorithm))
          continue;
        const error = await Promise.resolve()
          .then(() => importPrivateKey(pem(key), other))
          .catch((it) => it);
        expect(error).toBeInstanceOf(TypeError);
        expect(error.message).toMatch(/^Cannot sign with this private key: /);
      }
    },
  );

  it('signs with a CryptoKey that is not extractable', async () => {
    const usages = ['sign', 'verify'] as const;
    const { privateKey } = await webcrypto.subtle.generateKey(
      { name: 'ECDSA', namedCurve: 'P-256' },
      false,
      usages,
    );
    const { algorithm, sign } = await importPrivateKey(privateKey);
    expect(algorithm).toBe('ecdsa-p256-sha256');
    expect(await sign(data)).toHaveLength(64);
    const error = await Promise.resolve()
      .then(() => importPrivateKey(privateKey, 'ed25519'))
      .catch((it) => it);
    expect(error.message).toBe('Cannot sign with this private key: it is for ecdsa-p256-sha256');
  });

  it('refuses a value that is no private key, and does not show it', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const hmac = await webcrypto.subtle.generateKey({ name: 'HMAC', hash: 'SHA-256' }, false, [
      'sign',
    ]);
    const other = { name: 'ECDSA', namedCurve: 'P-521' } as const;
    const p521 = await webcrypto.subtle.generateKey(other, false, ['sign', 'verify']);
    const seed = privateKey.export({ format: 'jwk' }).d as string;
    for (const wrong of [
      publicKey.export({ format: 'jwk' }),
      publicKey.export({ format: 'pem', type: 'spki' }),
      pem(generateKeyPairSync('x25519').privateKey),
      pem(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey),
      { kty: 'OKP', crv: 'Ed25519', d: seed.slice(0, 10) },
      { kty: 'oct', k: seed },
      hmac,
      p521.privateKey,
      p521.publicKey,
      seed,
      '',
      null,
      undefined,
      5,
      new Uint8Array(32),
    ]) {
      const error = await Promise.resolve()
        .then(() => importPrivateKey(wrong))
        .catch((it) => it);
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^Cannot sign with this private key: expected /);
      expect(error.message).not.toContain(seed.slice(0, 10));
    }
  });

  it('exports the same names as for the other platform', () => {
    expect(Object.keys(browser).sort()).toEqual(Object.keys(node).sort());
    expect(['node', 'browser']).toContain(platform);
  });
});

describe('importPrivateKey() of node', () => {
  it('takes a KeyObject, and refuses an RSA key of 1,024 bits and a public key', () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    expect(node.importPrivateKey(privateKey)).toMatchObject({ algorithm: 'ed25519' });
    expect(() => node.importPrivateKey(publicKey)).toThrow(
      new TypeError(
        'Cannot sign with this private key: expected a private key: PEM, a JWK or a CryptoKey',
      ),
    );
    const short = generateKeyPairSync('rsa', { modulusLength: 1_024 }).privateKey;
    expect(() => node.importPrivateKey(short)).toThrow(
      new TypeError(
        'Cannot sign with this private key: it has 1024 bits, at least 2048 are needed',
      ),
    );
  });
});
