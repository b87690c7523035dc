import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createFetch } from '@countersign/client';
import { generateAccessKey, MemoryNonceStore } from '@countersign/server';
import { keepRawBody, requireSignature } from '@countersign/server/express';
import express from 'express';
import { describe, expect, it } from 'vitest';
import {
  ACCEPTED,
  addHeader,
  createApi,
  header,
  NOW,
  ORIGIN,
  outcome,
  type Received,
  signerFor,
  withHeader,
  withoutHeader,
} from '../support/api.ts';

const sha256 = (data: string | Uint8Array): string =>
  createHash('sha256').update(data).digest('hex');

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
