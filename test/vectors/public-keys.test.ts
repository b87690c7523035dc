import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSigner } from '@countersign/client';
import { createVerifier, type GivenAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import { countersign, encodeHex, parseTarget, readHeaders } from '@countersign/shared';
import { describe, expect, it } from 'vitest';

interface Request {
  method: string;
  target: string;
  headers: [string, string][];
  body: string;
}

interface Positive {
  name: string;
  form: 'header' | 'query';
  isDeterministic: boolean;
  accessKeyId: string;
  canonicalRequest: string;
  stringToSign: string;
  signature: string;
  request: Request;
}

const vectors: {
  verifier: { audience: string; window: number; ahead: number; presignedMaxExpires: number };
  signedAt: number;
  nonce: string;
  keys: (GivenAccessKey & { privateKey: string; publicKey: { algorithm: 'ed25519'; key: string } })[];
  positive: Positive[];
  mustRefuse: { name: string; expect: string; now: number; request: Request }[];
} = JSON.parse(readFileSync(new URL('public-keys.json', import.meta.url), 'utf8'));
const { signedAt } = vectors;

function verifierAt(now: number) {
  const clock = (): number => now;
  const stored = vectors.keys.map(({ privateKey: _, ...key }) => key);
  const nonces = new MemoryNonceStore({ clock, bornAt: 0 });
  return createVerifier({ ...vectors.verifier, keys: new MemoryKeyStore(stored, clock), nonces, clock });
}

const received = ({ method, target, headers, body }: Request) => ({ method, url: target, headers, body: Buffer.from(body, 'base64') });
const keyOf = (vector: Positive) => vectors.keys.find(({ accessKeyId }) => accessKeyId === vector.accessKeyId) as (typeof vectors.keys)[number];

it('there are two for each algorithm with a public key', () => {
  expect(vectors.positive).toHaveLength(10);
  expect(vectors.mustRefuse.length).toBeGreaterThan(10);
});

describe('countersign() builds every intermediate of', () => {
  it.each(vectors.positive)('$name', (vector) => {
    const { method, url, headers } = received(vector.request);
    const request = { method, ...parseTarget(url), headers: readHeaders(headers) };
    const signed = countersign().read(request);
    if (signed === undefined) throw new Error('not read');
    expect(countersign().canonicalRequest(request, signed.params)).toBe(vector.canonicalRequest);
    expect(new TextDecoder().decode(countersign().stringToSign(request, signed.params))).toBe(vector.stringToSign);
    expect(encodeHex(signed.signature)).toBe(vector.signature);
  });
});

describe('createSigner() signs', () => {
  it.each(vectors.positive)('$name', async (vector) => {
    const { accessKeyId, privateKey, publicKey } = keyOf(vector);
    const { method, target, headers, body } = vector.request;
    const credentials = { accessKeyId, privateKey, algorithm: publicKey.algorithm };
    const { audience } = vectors.verifier;
    const signer = createSigner({ credentials, audience, clock: () => signedAt, nonce: () => vectors.nonce });
    const url = `https://api.example.com${target}`;
    const written =
      vector.form === 'query'
        ? await signer.presign({ method, url: url.replace(/&X-Countersign.*/, ''), expiresIn: 600 })
        : (await signer.sign({ method, url, headers: headers.slice(1, 2), body: Buffer.from(body, 'base64') })).headers['authorization'];
    const expected = vector.form === 'query' ? url : headers.at(-1)?.[1];
    // Of a random signature all but its bytes.
    const shown = (text = ''): string => (vector.isDeterministic ? text : text.replace(/Signature=[0-9a-f]+$/, (it) => `${it.length}`));
    expect(shown(written)).toBe(shown(expected));
    if (vector.isDeterministic) return;
    const signature = Buffer.from(/Signature=([0-9a-f]+)$/.exec(written ?? '')?.[1] ?? '', 'hex');
    const how = { dsaEncoding: 'ieee-p1363', ...(vector.name.startsWith('rsa') ? { padding: 6, saltLength: 64 } : {}) } as const;
    const hash = /sha\d+/.exec(vector.name)?.[0];
    expect(verify(hash, Buffer.from(vector.stringToSign), { key: createPublicKey(publicKey.key), ...how }, signature)).toBe(true);
  });
});

describe('createVerifier() accepts once', () => {
  it.each(vectors.positive)('$name', async (vector) => {
    const verifier = verifierAt(signedAt + 1);
    const identity = await verifier.verify(received(vector.request));
    expect(identity).toMatchObject({ accessKeyId: vector.accessKeyId, nonce: vectors.nonce });
    const again = verifier.verify(received(vector.request));
    if (vector.form === 'query') await expect(again).resolves.toMatchObject({ nonce: vectors.nonce });
    else await expect(again).rejects.toMatchObject({ code: 'ERR_NONCE_REUSED' });
  });
});

describe('createVerifier() refuses', () => {
  it.each(vectors.mustRefuse)('$name: $expect', async ({ expect: code, now, request }) => {
    await expect(verifierAt(now).verify(received(request))).rejects.toMatchObject({ code });
  });
});
