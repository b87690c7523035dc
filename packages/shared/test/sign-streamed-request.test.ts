import { createHmac } from 'node:crypto';
import {
  countersign,
  HeaderFields,
  type MakeSignature,
  type Scheme,
  signStreamedRequest,
  type VerifyKey,
} from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { plainScheme } from '../../../test/support/plain-scheme.ts';

const plain = plainScheme() as Scheme;
const unsigned = {
  method: 'POST',
  path: '/',
  query: '',
  headers: new HeaderFields(['host', 'a.test']),
};
const intent = { accessKeyId: 'CSAK1', audience: 'a', signedAt: 1_795_299_926, nonce: 'n' };

async function* pieces(...texts: string[]) {
  for (const it of texts) yield Buffer.from(it);
}

const mac = (bytes: Uint8Array) => createHmac('sha256', 'secret').update(bytes).digest();

describe('signStreamedRequest()', () => {
  it.each<[string, MakeSignature]>([
    ['at once', (_, __, bytes) => mac(bytes)],
    ['later', async (_, __, bytes) => mac(bytes)],
  ])('seals a body with a key that answers %s, and its judge gives it back', async (_, make) => {
    const body = pieces('one', '', 'two');
    const sealed = await signStreamedRequest(plain, unsigned, intent, body, make);
    const headers = unsigned.headers.with(sealed.fields.headers);
    const { params, signature } = plain.read({ ...unsigned, headers }) ?? expect.unreachable();
    expect(params.body).toBe('chunks');
    const key: VerifyKey = {
      algorithm: 'hmac-sha256',
      verify: (data, received) => mac(data).equals(received),
    };
    const judge = plain.openBody?.(unsigned, params, signature, key);
    const released: Uint8Array[] = [];
    for await (const frame of sealed.body) released.push(...(judge?.push(frame) ?? []));
    judge?.end();
    expect(Buffer.concat(released).toString()).toBe('onetwo');
  });

  it('chooses the key by the algorithm of the intent', async () => {
    const seen: string[] = [];
    const scheme: Scheme = {
      ...plain,
      sealBody: (body, _request, _params, _signature, { algorithm }) => {
        seen.push(algorithm);
        return body;
      },
    };
    const make: MakeSignature = (_, __, bytes) => mac(bytes);
    await signStreamedRequest(
      scheme,
      unsigned,
      { ...intent, algorithm: 'ed25519' },
      pieces(),
      make,
    );
    await signStreamedRequest(scheme, unsigned, intent, pieces(), make);
    expect(seen).toEqual(['ed25519', 'hmac-sha256']);
  });

  it('refuses a scheme that does not sign bodies in chunks', async () => {
    const make: MakeSignature = () => expect.unreachable('it was signed');
    const message = 'Cannot sign a body in chunks: the scheme countersign has no form for it';
    await expect(
      signStreamedRequest(countersign() as Scheme, unsigned, intent, pieces(), make),
    ).rejects.toMatchObject({ name: 'TypeError', message });
    const scheme = { ...countersign(), sealBody: plain.sealBody } as Scheme;
    await expect(
      signStreamedRequest(scheme, unsigned, intent, pieces(), make),
    ).rejects.toMatchObject({ name: 'TypeError', message: expect.stringContaining('SHA-256') });
  });
});
