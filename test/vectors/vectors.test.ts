import { readFileSync } from 'node:fs';
import { createSigner } from '@countersign/client';
import { type AccessKey, createVerifier, MemoryKeyStore, MemoryNonceStore, type NonceStore, SignatureError } from '@countersign/server';
import { checkHost, countersign, encodeHex, encodeUtf8, type HeadersInput, parseTarget, readHeaders } from '@countersign/shared';
import { describe, expect, it } from 'vitest';

interface Positive {
  name: string;
  form: 'header' | 'query';
  request: { method: string; url: string; headers: [string, string][]; body: string };
  accessKeyId: string;
  secretAccessKey: string;
  audience: string;
  signedAt: number;
  nonce: string;
  epoch?: string;
  expiresIn?: number;
  signHeaders?: string[];
  canonicalRequest: string;
  stringToSign: string;
  signingKey: string;
  signature: string;
  signedHeaders?: [string, string][];
  signedUrl?: string;
}

interface MustRefuse {
  name: string;
  expect: string;
  now: number;
  signer?: true;
  request: { method: string; target: string; headers: [string, string][]; body: string };
}

const vectors: {
  verifier: { audience: string; window: number; ahead: number; presignedMaxExpires: number };
  keys: AccessKey[];
  positive: Positive[];
  mustRefuse: MustRefuse[];
} = JSON.parse(readFileSync(new URL('countersign.json', import.meta.url), 'utf8'));

function verifierAt(now: number) {
  const clock = (): number => now;
  const store = new MemoryNonceStore({ clock, bornAt: 0 });
  // Which epoch a vector echoes is no matter of its signature.
  const nonces: NonceStore = { claim: (claim) => store.claim({ ...claim, epoch: undefined }) };
  return createVerifier({ ...vectors.verifier, keys: new MemoryKeyStore(vectors.keys, clock), nonces, clock });
}

function signerOf(vector: Positive) {
  const { accessKeyId, secretAccessKey, audience, nonce, signedAt } = vector;
  return createSigner({
    credentials: { accessKeyId, secretAccessKey },
    audience,
    clock: () => signedAt,
    nonce: () => nonce,
    signedHeaders: vector.signHeaders ?? [],
  });
}

/** The request as a server receives it. */
function received(vector: Positive) {
  const { method, url, headers, body } = vector.request;
  const target = (vector.signedUrl ?? url).replace(/^https:\/\/[^/]*/, '');
  return { method, url: target, headers: [...headers, ...(vector.signedHeaders ?? [])], body: Buffer.from(body, 'base64') };
}

it('the vectors are at least 40 that are accepted and 40 that are refused', () => {
  expect(vectors.positive.length).toBeGreaterThanOrEqual(40);
  expect(vectors.mustRefuse.length).toBeGreaterThanOrEqual(40);
  const names = [...vectors.positive, ...vectors.mustRefuse].map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
});

describe('countersign() builds every intermediate of', () => {
  it.each(vectors.positive)('$name', (vector) => {
    const { method, url, headers } = received(vector);
    const request = { method, ...parseTarget(url), headers: readHeaders(headers) };
    const signed = countersign().read(request);
    if (signed === undefined) throw new Error('not read');
    expect(countersign().canonicalRequest(request, signed.params)).toBe(vector.canonicalRequest);
    expect(new TextDecoder().decode(countersign().stringToSign(request, signed.params))).toBe(vector.stringToSign);
    expect(encodeHex(countersign().derive?.key(encodeUtf8(vector.secretAccessKey), signed.params) ?? new Uint8Array())).toBe(vector.signingKey);
    expect(encodeHex(signed.signature)).toBe(vector.signature);
  });
});

describe('createSigner() signs', () => {
  it.each(vectors.positive)('$name', async (vector) => {
    const { method, url, headers, body } = vector.request;
    const signer = signerOf(vector);
    if (vector.expiresIn !== undefined) {
      expect(await signer.presign({ method, url, headers, expiresIn: vector.expiresIn })).toBe(vector.signedUrl);
      return;
    }
    const bytes = Buffer.from(body, 'base64');
    const signed = await signer.sign({ method, url, headers, body: bytes.length === 0 ? undefined : bytes, epoch: vector.epoch });
    expect(signed).toMatchObject({ method, url });
    for (const [name, value] of vector.signedHeaders ?? []) expect(signed.headers[name.toLowerCase()]).toBe(value);
  });
});

describe('createVerifier() accepts once', () => {
  it.each(vectors.positive)('$name', async (vector) => {
    const verifier = verifierAt(vector.signedAt + 1);
    const identity = await verifier.verify(received(vector));
    expect(identity).toMatchObject({ accessKeyId: vector.accessKeyId, nonce: vector.nonce, signedAt: vector.signedAt });
    const again = verifier.verify(received(vector));
    if (vector.form === 'query') await expect(again).resolves.toMatchObject({ nonce: vector.nonce });
    else await expect(again).rejects.toMatchObject({ code: 'ERR_NONCE_REUSED' });
  });
});

describe('createVerifier() refuses', () => {
  it.each(vectors.mustRefuse)('$name: $expect', async ({ expect: code, now, request }) => {
    const { method, target, headers, body } = request;
    const attempt = { method, url: target, headers, body: Buffer.from(body, 'base64') };
    const refusal = await verifierAt(now).verify(attempt).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(SignatureError);
    expect(refusal).toMatchObject({ code });
    expect(await verifierAt(now).explain(attempt)).toMatchObject({ outcome: 'refused', code });
  });
});

describe('countersign() refuses to prepare', () => {
  it.each(vectors.mustRefuse.filter(({ signer }) => signer))('$name', ({ request, expect: code }) => {
    const prepare = (headers: HeadersInput): unknown => {
      const target = parseTarget(request.target);
      const fields = readHeaders(headers);
      checkHost(fields.get('host') ?? '');
      const intent = { accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC', audience: 'video-api', signedAt: 1, nonce: 'q83vASNFZ4mrze8BI0VniQ', body: 'unsigned' as const };
      const { request: prepared, params } = countersign().prepare({ method: request.method, ...target, headers: fields }, intent);
      return countersign().stringToSign(prepared, params);
    };
    expect(() => prepare(request.headers)).toThrow(expect.objectContaining({ code }));
  });
});
