// Targets that only some schemes can sign: a scheme that states it takes them, and no other does.

import { createSigner } from '@countersign/client';
import {
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import { countersign, type Scheme } from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import {
  AUDIENCE,
  addHeader,
  NOW,
  ORIGIN,
  outcome,
  type Received,
  signerFor,
} from '../../../../test/support/api.ts';
import { plainScheme } from '../../../../test/support/plain-scheme.ts';

const asSent = plainScheme({ targets: 'as-sent' }) as Scheme;
const key = generateAccessKey({ subject: 'alice' });

function verifierOf(...schemes: Scheme[]) {
  return createVerifier({
    audience: AUDIENCE,
    keys: new MemoryKeyStore([key], () => NOW),
    nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
    schemes,
    clock: () => NOW,
  });
}

/** A request of the scheme, signed for any target: signers of ours sign no such target. */
async function signPlain(target: string): Promise<Received> {
  const scheme: Scheme = {
    ...asSent,
    stringToSign: (request, params, bodyHash) => {
      const [path = '', query = ''] = target.split('?', 2);
      return asSent.stringToSign({ ...request, path, query }, params, bodyHash);
    },
  };
  const signer = createSigner({ credentials: key, audience: AUDIENCE, scheme, clock: () => NOW });
  const { headers } = await signer.sign({ method: 'GET', url: `${ORIGIN}/` });
  const host: [string, string] = ['host', new URL(ORIGIN).host];
  return { method: 'GET', url: target, headers: [host, ...Object.entries(headers)] };
}

const ESCAPES = ['/a%', '/a%2', '/a%zz', '/a?b=%e4', '/a?%=%', '/a%ff?b'];
const DANGEROUS = [
  '//a',
  '/a/../b',
  '/a/%2e%2E/b',
  '/a/.',
  '/a#b',
  '/a\u0007',
  '/a b',
  '/a\\b',
  '/a%00',
  '/a%c0%ae%c0%ae/b',
  '/a%e0%80%ae/b',
  '/a%f0%80%80%af/b',
  '/a%u002e%u002e/b',
  '/a%C1%9cb',
  'http://a/b',
];

describe('a scheme that signs targets as they were sent', () => {
  it.each(ESCAPES)(
    'has %j verified, and the byte that was changed in it noticed',
    async (target) => {
      const verifier = verifierOf(countersign(), asSent);
      const request = await signPlain(target);
      expect(await outcome(verifier, { ...request, url: `${target}x` })).toBe(
        'ERR_SIGNATURE_MISMATCH',
      );
      const explanation = await verifier.explain(request);
      expect(explanation).toMatchObject({ outcome: 'accepted', scheme: 'plain' });
      expect(await outcome(verifier, request)).toBe('accepted');
      expect(await outcome(verifier, request)).toBe('ERR_NONCE_REUSED');
    },
  );

  it.each(DANGEROUS)('has %j refused, as all schemes have', async (target) => {
    for (const verifier of [verifierOf(countersign(), asSent), verifierOf(asSent)])
      expect(await outcome(verifier, await signPlain(target))).toBe('ERR_TARGET_AMBIGUOUS');
  });

  it.each(ESCAPES)('leaves our own scheme as strict as it was: %j', async (target) => {
    const { sign } = signerFor(key);
    const ours = { ...(await sign({ method: 'GET', target: '/a', body: undefined })), url: target };
    const malformed = addHeader({ ...ours, headers: [] }, 'authorization', 'COUNTERSIGN1-X');
    const plain = await signPlain(target);
    const twice = { ...plain, headers: [...plain.headers, ...ours.headers.slice(1)] };
    const nearly = addHeader(plain, 'authorization', 'COUNTERSIGN1-X');
    const unsigned = { ...ours, headers: ours.headers.slice(0, 1) };
    for (const verifier of [verifierOf(countersign()), verifierOf(countersign(), asSent)]) {
      for (const request of [ours, malformed, twice, nearly, unsigned])
        expect(await outcome(verifier, request)).toBe('ERR_TARGET_AMBIGUOUS');
    }
    // The target is still looked at first.
    const hosts = addHeader(ours, 'host', 'evil.example');
    expect(await outcome(verifierOf(countersign()), hosts)).toBe('ERR_TARGET_AMBIGUOUS');
    const strict = verifierOf(countersign(), plainScheme() as Scheme);
    expect(await outcome(strict, plain)).toBe('ERR_TARGET_AMBIGUOUS');
  });

  it('shows no secret parameter, though another name cannot be decoded', async () => {
    const verifier = verifierOf(asSent);
    const target = '/a?%e4token=q8-one&%74oken=q8-two&x%=1&tok%65n%ff=3';
    const explanation = await verifier.explain(await signPlain(target));
    expect(explanation).toMatchObject({ outcome: 'accepted' });
    expect(JSON.stringify(explanation)).not.toContain('q8-two');
    expect(JSON.stringify(explanation)).toContain('x%=1');
  });
});
