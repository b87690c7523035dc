// A handler signs its response, and the client knows that it is genuine: through the form of a
// scheme that is no part of the packages.

import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createSigner } from '@countersign/client';
import { generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import { withSignature } from '@countersign/server/node';
import {
  deriveMacKey,
  encodeUtf8,
  HeaderFields,
  hmacSha256,
  parseTarget,
  type Scheme,
  type SignableResponse,
  type SignatureError,
  signResponse,
  type VerifyKey,
  verifyHmacSha256,
  verifyResponse,
} from '@countersign/shared';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { plainScheme } from '../support/plain-scheme.ts';

const AUDIENCE = 'video-api';
const scheme = plainScheme({ nonce: 'sent' }) as Scheme;
const key = generateAccessKey({ subject: 'alice' });
const { secretAccessKey } = key;

const now = (): number => Math.floor(Date.now() / 1_000);

/** What a server and its client know of a request: both read its signature in the same way. */
function requestOf(method: string, target: string, headers: HeaderFields) {
  const request = { method, ...parseTarget(target), headers };
  const signed = scheme.read(request) ?? expect.unreachable('it is not signed');
  return { request, signed };
}

const server = createServer(
  withSignature(
    async (req: IncomingMessage, res) => {
      const { method = '', url = '', rawHeaders } = req;
      const status = url.includes('missing') ? 404 : 200;
      const body = JSON.stringify({ title: url });
      const headers = new HeaderFields(['Content-Type', 'application/json', 'X-Rate', '10']);
      const response = { status, headers, ...requestOf(method, url, new HeaderFields(rawHeaders)) };
      const intent = { signedAt: now(), signedHeaders: new Set(['x-rate']) };
      const fields = await signResponse(scheme, response, body, intent, (_, params, bytes) =>
        hmacSha256(deriveMacKey(scheme, params, secretAccessKey), bytes),
      );
      res.writeHead(status, headers.with(fields).raw.slice()).end(body);
    },
    {
      audience: AUDIENCE,
      keys: new MemoryKeyStore([key]),
      nonces: new MemoryNonceStore({ bornAt: 0 }),
      schemes: [scheme],
    },
  ),
);

let origin = '';
beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

const signer = createSigner({ credentials: key, audience: AUDIENCE, scheme });

/** Calls the server, and gives the answer as it came. */
async function call(target: string): Promise<{ response: SignableResponse; body: Uint8Array }> {
  const sent = await signer.sign({ method: 'GET', url: origin + target });
  const received = await fetch(sent.url, { headers: sent.headers });
  const headers = new HeaderFields([...received.headers].flat());
  const raw = ['host', new URL(origin).host, ...Object.entries(sent.headers).flat()];
  const known = requestOf('GET', target, new HeaderFields(raw));
  const body = new Uint8Array(await received.arrayBuffer());
  return { response: { status: received.status, headers, ...known }, body };
}

const FURTHER = new Set(['x-rate']);

function verdict(response: SignableResponse, body: Uint8Array): string {
  const macKey = deriveMacKey(scheme, response.signed.params, secretAccessKey);
  const verifyKey: VerifyKey = {
    algorithm: 'hmac-sha256',
    verify: (data, signature) => verifyHmacSha256(macKey, data, signature),
  };
  try {
    verifyResponse(scheme, response, body, verifyKey, FURTHER);
    return 'genuine';
  } catch (error) {
    return (error as SignatureError).code;
  }
}

/** Each text that differs from a given one in one bit. */
function flips(bytes: Uint8Array): Uint8Array[] {
  return Array.from({ length: bytes.length * 8 }, (_, bit) => {
    const flipped = Uint8Array.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    return flipped;
  });
}

describe('a signed response', () => {
  it('is genuine as it came', async () => {
    for (const target of ['/videos?id=1', '/missing']) {
      const { response, body } = await call(target);
      expect(verdict(response, body)).toBe('genuine');
    }
  });

  it('is refused with another bit in its status, its headers or its body', async () => {
    const { response, body } = await call('/videos?id=1');
    for (let bit = 0; bit < 10; bit++)
      expect(verdict({ ...response, status: response.status ^ (1 << bit) }, body)).toBe(
        'ERR_SIGNATURE_MISMATCH',
      );
    for (const name of ['content-type', 'x-rate']) {
      const value = encodeUtf8(response.headers.get(name) ?? '');
      for (const flipped of flips(value)) {
        const text = Buffer.from(flipped).toString('latin1');
        const headers = response.headers.with([[name, text]]);
        // A space at the end is not a part of the value.
        if (headers.get(name) !== response.headers.get(name))
          expect(verdict({ ...response, headers }, body)).toBe('ERR_SIGNATURE_MISMATCH');
      }
    }
    for (const flipped of flips(body))
      expect(verdict(response, flipped)).toBe('ERR_SIGNATURE_MISMATCH');
    expect(verdict(response, body.subarray(1))).toBe('ERR_SIGNATURE_MISMATCH');
    expect(verdict(response, new Uint8Array())).toBe('ERR_SIGNATURE_MISMATCH');
  });

  it('is refused as the answer to another request, though its target is the same', async () => {
    const [first, second] = [await call('/videos?id=1'), await call('/videos?id=1')];
    const { request, signed } = second.response;
    expect(Buffer.from(first.body).equals(second.body)).toBe(true);
    expect(verdict({ ...first.response, request, signed }, first.body)).toBe(
      'ERR_SIGNATURE_MISMATCH',
    );
  });

  it('is refused without its signature', async () => {
    const { response, body } = await call('/videos?id=1');
    const raw = response.headers.raw.slice();
    raw.splice(raw.indexOf('plain-response'), 2);
    const headers = new HeaderFields(raw);
    expect(verdict({ ...response, headers }, body)).toBe('ERR_SIGNATURE_MISSING');
  });
});
