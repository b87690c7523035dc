import { createHash, randomBytes } from 'node:crypto';
import type { Server } from 'node:http';
import type { SignedRequest } from '@countersign/client';
import {
  type Identity,
  MemoryNonceStore,
  SignatureError,
  type Verifier,
} from '@countersign/server';
import { refusalResponse, verifyRequest, withSignature } from '@countersign/server/fetch';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { AUDIENCE, listen, NOW, parties, send, stranger } from '../sockets.ts';

const URL_OF_API = 'https://api.test/VideoParser/?lang=en';

/** A signed request as a runtime hands it out; a body in pieces comes as a stream. */
function received(signed: SignedRequest, pieces?: readonly (string | Uint8Array)[]): Request {
  const { url, method, headers, body } = signed;
  if (pieces === undefined)
    return new Request(url, {
      method,
      headers,
      body: (body as Uint8Array<ArrayBuffer> | undefined) ?? null,
    });
  const stream = new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(Buffer.from(piece));
      controller.close();
    },
  });
  return new Request(url, { method, headers, body: stream, duplex: 'half' } as RequestInit);
}

async function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => 'accepted',
    (error: SignatureError) => error.code ?? error,
  );
}

describe.each(['buffer', 'stream'] as const)('verifyRequest(), body: %s', (body) => {
  it('returns the signer and a request that can be read', async () => {
    const { verifier, signer, nonces } = parties();
    const signed = await signer.sign({
      method: 'POST',
      url: URL_OF_API,
      body: { videoUrl: 'https://videos.test/cats.mp4' },
    });
    const { identity, request } = await verifyRequest(verifier, received(signed), { body });
    expect(identity).toMatchObject({
      subject: 'alice',
      scopes: ['videos:parse', 'videos:list'],
      epoch: nonces.epoch,
    });
    expect(request.method).toBe('POST');
    expect(request.url).toBe(URL_OF_API);
    expect(request.headers.get('content-type')).toBe('application/json');
    expect(await request.json()).toEqual({ videoUrl: 'https://videos.test/cats.mp4' });
  });

  it('accepts requests without a body, and with an empty one', async () => {
    const { verifier, signer } = parties();
    const get = received(await signer.sign({ method: 'GET', url: URL_OF_API }));
    expect((await verifyRequest(verifier, get, { body })).request).toBe(get);
    const post = received(await signer.sign({ method: 'POST', url: URL_OF_API, body: '' }));
    expect(await (await verifyRequest(verifier, post, { body })).request.text()).toBe('');
  });

  it('gives back large bodies byte for byte', async () => {
    const { verifier, signer } = parties();
    const bytes = randomBytes(1_048_576);
    const signed = await signer.sign({ method: 'POST', url: URL_OF_API, body: bytes });
    const pieces = Array.from({ length: 17 }, (_, index) =>
      bytes.subarray(index * 65_000, (index + 1) * 65_000),
    );
    const { request } = await verifyRequest(verifier, received(signed, pieces), { body });
    expect(Buffer.from(await request.arrayBuffer()).equals(bytes)).toBe(true);
  });

  it('refuses other bytes, even if they decode to the same text', async () => {
    const { verifier, signer } = parties();
    const read = async (sent: Uint8Array) => {
      const signed = await signer.sign({
        method: 'POST',
        url: URL_OF_API,
        body: Buffer.from([0xff]),
      });
      const { request } = await verifyRequest(verifier, received(signed, [sent]), { body });
      await request.arrayBuffer();
    };
    expect(await codeOf(read(Buffer.from([0xff])))).toBe('accepted');
    expect(await codeOf(read(Buffer.from([0xfe])))).toBe('ERR_BODY_MISMATCH');
    expect(await codeOf(read(Buffer.from([0xff, 0xff])))).toBe('ERR_BODY_MISMATCH');
    expect(await codeOf(read(Buffer.from([])))).toBe('ERR_BODY_MISMATCH');
  });

  it('refuses a body that was read or is being read', async () => {
    const { verifier, signer } = parties();
    const used = received(await signer.sign({ method: 'POST', url: URL_OF_API, body: 'read' }));
    await used.text();
    expect(await codeOf(verifyRequest(verifier, used, { body }))).toBe('ERR_BODY_CONSUMED');
    const locked = received(await signer.sign({ method: 'POST', url: URL_OF_API, body: 'locked' }));
    locked.body?.getReader();
    await expect(verifyRequest(verifier, locked, { body })).rejects.toMatchObject({
      code: 'ERR_BODY_CONSUMED',
      message:
        'Cannot verify the body: other code has already read it. Call verifyRequest() before that code',
    });
  });

  it('does not touch the body of a request that is forged or replayed', async () => {
    const { verifier, signer } = parties();
    const forged = received(await stranger().sign({ method: 'POST', url: URL_OF_API, body: 'x' }));
    expect(await codeOf(verifyRequest(verifier, forged, { body }))).toBe('ERR_KEY_UNKNOWN');
    expect(forged.bodyUsed).toBe(false);
    const signed = await signer.sign({ method: 'POST', url: URL_OF_API, body: 'x' });
    await verifyRequest(verifier, received(signed), { body });
    expect(await codeOf(verifyRequest(verifier, received(signed), { body }))).toBe(
      'ERR_NONCE_REUSED',
    );
  });
});

describe('verifyRequest()', () => {
  it('refuses a body beyond the limit, declared or not', async () => {
    const { verifier, signer } = parties();
    const sign = (size: number) =>
      signer.sign({ method: 'POST', url: URL_OF_API, body: 'x'.repeat(size) });
    expect(await codeOf(verifyRequest(verifier, received(await sign(10)), { limit: 10 }))).toBe(
      'accepted',
    );
    expect(await codeOf(verifyRequest(verifier, received(await sign(11)), { limit: 10 }))).toBe(
      'ERR_BODY_TOO_LARGE',
    );
    const declared = received(await sign(11));
    declared.headers.set('content-length', '11');
    expect(await codeOf(verifyRequest(verifier, declared, { limit: 10 }))).toBe(
      'ERR_BODY_TOO_LARGE',
    );
    expect(declared.bodyUsed).toBe(false);
  });

  it('reads no more of a body than the limit and a piece', async () => {
    const { verifier, signer } = parties();
    const signed = await signer.sign({ method: 'POST', url: URL_OF_API, body: 'x' });
    let pulled = 0;
    let cancelled: unknown;
    const endless = new ReadableStream({
      pull: (controller) => {
        pulled++;
        controller.enqueue(new Uint8Array(1_000));
      },
      cancel: (reason) => {
        cancelled = reason;
      },
    });
    const request = new Request(URL_OF_API, {
      method: 'POST',
      headers: signed.headers,
      body: endless,
      duplex: 'half',
    } as RequestInit);
    expect(await codeOf(verifyRequest(verifier, request, { limit: 10_000 }))).toBe(
      'ERR_BODY_TOO_LARGE',
    );
    expect(pulled).toBeLessThan(15);
    expect(cancelled).toBeInstanceOf(SignatureError);
  });

  it('stops waiting for a body when the request has expired', async () => {
    const { verifier, signer } = parties({ window: 1, clock: () => NOW + 1 });
    const signed = await signer.sign({ method: 'POST', url: URL_OF_API, body: 'slow' });
    const refusing = new ReadableStream({
      cancel() {
        throw new Error('cannot be cancelled');
      },
    });
    for (const stuck of [new ReadableStream(), refusing]) {
      const request = new Request(URL_OF_API, {
        method: 'POST',
        headers: signed.headers,
        body: stuck,
        duplex: 'half',
      } as RequestInit);
      expect(await codeOf(verifyRequest(verifier, request))).toBe('ERR_SIGNATURE_EXPIRED');
    }
  });

  it('refuses a body whose connection breaks', async () => {
    const { verifier, signer, nonces } = parties();
    const signed = await signer.sign({ method: 'POST', url: URL_OF_API, body: 'cut short' });
    const broken = new ReadableStream({
      pull(controller) {
        controller.enqueue(Buffer.from('cut'));
        controller.error(new Error('gone'));
      },
    });
    const request = new Request(URL_OF_API, {
      method: 'POST',
      headers: signed.headers,
      body: broken,
      duplex: 'half',
    } as RequestInit);
    await expect(verifyRequest(verifier, request)).rejects.toMatchObject({
      code: 'ERR_BODY_MISMATCH',
      cause: new Error('gone'),
    });
    expect(nonces.size).toBe(0);
  });

  it('never ends a streamed body that is not the signed one', async () => {
    const { verifier, signer } = parties();
    const signed = await signer.sign({ method: 'POST', url: URL_OF_API, body: 'signed' });
    const { request } = await verifyRequest(verifier, received(signed, ['for', 'ged']), {
      body: 'stream',
    });
    const seen: string[] = [];
    let error: unknown;
    try {
      for await (const chunk of request.body ?? [])
        seen.push(Buffer.from(chunk as Uint8Array).toString());
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ code: 'ERR_BODY_MISMATCH' });
    expect(seen).toEqual(['for', 'ged']);
  });

  it('takes the host from the URL if the runtime hides the header', async () => {
    const { verifier, signer } = parties();
    const signed = await signer.sign({ method: 'GET', url: 'https://api.test:8443/' });
    expect(
      await codeOf(
        verifyRequest(verifier, new Request('https://api.test:8443/', { headers: signed.headers })),
      ),
    ).toBe('accepted');
    const moved = await signer.sign({ method: 'GET', url: 'https://api.test:8443/' });
    expect(
      await codeOf(
        verifyRequest(verifier, new Request('https://evil.test/', { headers: moved.headers })),
      ),
    ).toBe('ERR_SIGNATURE_MISMATCH');
  });

  it('verifies the target unchanged, with a bare question mark, too', async () => {
    const { verifier, signer } = parties();
    for (const [signedPath, sentPath, outcome] of [
      ['/a', '/a', 'accepted'],
      ['/a', '/a?', 'ERR_SIGNATURE_MISMATCH'],
      ['/a', '/a#b', 'ERR_TARGET_AMBIGUOUS'],
      ['/a', '/a#', 'ERR_TARGET_AMBIGUOUS'],
      ['/a?b=1&c=2', '/a?c=2&b=1', 'ERR_SIGNATURE_MISMATCH'],
      ['/a?b=%41', '/a?b=A', 'ERR_SIGNATURE_MISMATCH'],
    ] as const) {
      const { headers } = await signer.sign({
        method: 'GET',
        url: `https://api.test${signedPath}`,
      });
      expect(
        await codeOf(
          verifyRequest(verifier, new Request(`https://api.test${sentPath}`, { headers })),
        ),
      ).toBe(outcome);
    }
  });

  it('refuses a URL that is not http or https', async () => {
    expect(await codeOf(verifyRequest(parties().verifier, new Request('data:text/plain,x')))).toBe(
      'ERR_TARGET_AMBIGUOUS',
    );
  });

  it.each([
    [
      'no verifier',
      undefined,
      undefined,
      TypeError,
      'Cannot verify request: expected a verifier, from createVerifier()',
    ],
    [
      'options for a verifier',
      {},
      undefined,
      TypeError,
      'Cannot verify request: expected a verifier, from createVerifier()',
    ],
    [
      'an unknown mode',
      parties().verifier,
      { body: 'none' },
      TypeError,
      'Cannot build adapter: option "body" is "none"',
    ],
    [
      'a limit that is no number',
      parties().verifier,
      { limit: Number.NaN },
      TypeError,
      'Cannot build adapter: option "limit" is NaN',
    ],
    [
      'a limit out of range',
      parties().verifier,
      { limit: 2 ** 31 },
      RangeError,
      'Cannot build adapter: option "limit" is 2147483648',
    ],
    ['an unknown option', parties().verifier, { limits: 1 }, TypeError, 'unknown option "limits"'],
  ])('rejects %s', async (_, verifier, options, type, message) => {
    const outcome = verifyRequest(verifier as Verifier, new Request(URL_OF_API), options as object);
    await expect(outcome).rejects.toThrow(type);
    await expect(outcome).rejects.toThrow(message);
  });

  it('rejects a value that is no Request', async () => {
    const context = { req: { raw: new Request('https://api.test/') } };
    for (const [given, type] of [
      ['/', 'string'],
      [null, 'null'],
      [undefined, 'undefined'],
      [context, 'object'],
    ])
      await expect(verifyRequest(parties().verifier, given as unknown as Request)).rejects.toThrow(
        `Cannot verify request: expected a Request, got ${type}`,
      );
  });

  it('rejects a target that is no text as a mistake of the server', async () => {
    const { verifier, refused } = parties();
    const request = new Request('https://api.test/');
    for (const target of [() => 7, async () => '/', async () => Promise.reject(new Error('x'))])
      await expect(
        verifyRequest(verifier, request, { target: target as unknown as () => string }),
      ).rejects.toThrow(/^Option "target" gave .* expected the request target as text/);
    expect(refused).toEqual([]);
  });
});

describe('refusalResponse()', () => {
  it('makes the answer of a refusal', async () => {
    const response = refusalResponse(
      new SignatureError('ERR_SIGNATURE_MISSING', 'The request is not signed'),
      { audience: AUDIENCE },
    );
    expect(response.status).toBe(401);
    expect(response.headers.get('www-authenticate')).toContain(`realm="${AUDIENCE}"`);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    expect(await response.json()).toMatchObject({ reason: 'signature-missing' });
  });

  it('throws an error that is no refusal again', () => {
    const error = new RangeError('a bug of mine');
    expect(() => refusalResponse(error, { audience: AUDIENCE })).toThrow(error);
  });
});

describe('withSignature() of fetch', () => {
  it('calls the handler for signed requests only, and tells the epoch', async () => {
    const { verifier, signer, nonces } = parties();
    const called: Identity[] = [];
    const handler = withSignature(async (request, identity) => {
      called.push(identity);
      return new Response(await request.text());
    }, verifier);
    const signed = await signer.sign({ method: 'POST', url: URL_OF_API, body: 'words' });
    const response = await handler(received(signed));
    expect(await response.text()).toBe('words');
    expect(response.headers.get('countersign-epoch')).toBe(nonces.epoch);
    expect((await handler(received(signed))).status).toBe(401);
    expect((await handler(new Request(URL_OF_API))).status).toBe(401);
    expect(called.map(({ subject }) => subject)).toEqual(['alice']);
  });

  it('tells the epoch on answers whose headers cannot be changed', async () => {
    const { verifier, signer, nonces } = parties();
    const handler = withSignature(
      () => Response.redirect('https://api.test/elsewhere', 303),
      verifier,
    );
    const response = await handler(received(await signer.sign({ method: 'GET', url: URL_OF_API })));
    expect(response.status).toBe(303);
    expect(response.headers.get('location')).toBe('https://api.test/elsewhere');
    expect(response.headers.get('countersign-epoch')).toBe(nonces.epoch);
  });

  it('sends the epoch if the store cannot rule out a replay, and none if no nonce was claimed', async () => {
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: NOW });
    const { verifier, signer } = parties({ nonces });
    const handler = withSignature(() => new Response('fresh'), verifier);
    const first = await handler(received(await signer.sign({ method: 'GET', url: URL_OF_API })));
    expect(first.status).toBe(401);
    expect(Number(first.headers.get('retry-after'))).toBeGreaterThan(0);
    const epoch = first.headers.get('countersign-epoch') ?? '';
    expect(
      await (
        await handler(received(await signer.sign({ method: 'GET', url: URL_OF_API, epoch })))
      ).text(),
    ).toBe('fresh');
    const presigned = await handler(
      new Request(await signer.presign({ url: URL_OF_API, expiresIn: 60 })),
    );
    expect(presigned.status).toBe(200);
    expect(presigned.headers.has('countersign-epoch')).toBe(false);
  });

  it('takes the options of a verifier and its own together', async () => {
    const { keys, nonces, signer } = parties();
    const handler = withSignature(() => new Response('ok'), {
      audience: AUDIENCE,
      keys,
      nonces,
      clock: () => NOW,
      limit: 3,
    });
    expect(
      (await handler(received(await signer.sign({ method: 'POST', url: URL_OF_API, body: 'abc' }))))
        .status,
    ).toBe(200);
    expect(
      (
        await handler(
          received(await signer.sign({ method: 'POST', url: URL_OF_API, body: 'abcd' })),
        )
      ).status,
    ).toBe(413);
  });

  it('lets errors of the handler and of the verifier through', async () => {
    const { verifier, signer } = parties();
    const failing = withSignature(() => Promise.reject(new RangeError('of the handler')), verifier);
    await expect(
      failing(received(await signer.sign({ method: 'GET', url: URL_OF_API }))),
    ).rejects.toThrow('of the handler');
    const broken = withSignature(() => new Response(), {
      ...verifier,
      verify: () => Promise.reject(new RangeError('of the verifier')),
    });
    await expect(broken(new Request(URL_OF_API))).rejects.toThrow('of the verifier');
  });

  it.each([
    [
      'no handler',
      undefined,
      TypeError,
      'Cannot build adapter: expected a handler, a function, got undefined',
      {},
    ],
    [
      'an unknown option',
      () => new Response(),
      TypeError,
      'unknown option "preflight"',
      { preflight: 'pass' },
    ],
    [
      'a limit that is text',
      () => new Response(),
      TypeError,
      'option "limit" is "1mb"',
      { limit: '1mb' },
    ],
  ])('throws for %s', (_, handler, type, message, options) => {
    const build = () =>
      withSignature(handler as () => Response, parties().verifier, options as object);
    expect(build).toThrow(type);
    expect(build).toThrow(message);
  });
});

describe('verifyRequest() in Hono, over a socket', () => {
  type Variables = { identity: Identity };

  async function serve(options: Parameters<typeof verifyRequest>[2] = {}) {
    const all = parties();
    const app = new Hono<{ Variables: Variables }>();
    app.use(async (context, next) => {
      try {
        const { identity, request } = await verifyRequest(all.verifier, context.req.raw, options);
        context.req.raw = request;
        context.set('identity', identity);
      } catch (error) {
        return refusalResponse(error, all.verifier);
      }
      return next();
    });
    app.get('/whoami', (context) => context.text(context.get('identity').subject));
    app.post('/json', async (context) =>
      context.json({ subject: context.get('identity').subject, body: await context.req.json() }),
    );
    app.post('/hash', async (context) => {
      const hash = createHash('sha256');
      for await (const chunk of context.req.raw.body ?? []) hash.update(chunk as Uint8Array);
      return context.text(hash.digest('hex'));
    });
    app.onError((error, context) => context.text(String((error as SignatureError).code), 400));
    return { ...all, ...(await listen(createAdaptorServer({ fetch: app.fetch }) as Server)) };
  }

  it.each(['buffer', 'stream'] as const)('leaves the body to the handler: %s', async (body) => {
    const { origin, signer } = await serve({ body });
    for (const sending of [{}, { chunked: true }, { pieces: 7 }]) {
      const signed = await signer.sign({
        method: 'POST',
        url: `${origin}/json?a=1`,
        body: { videoUrl: 'https://videos.test/cats.mp4' },
      });
      const answer = await send(signed, sending);
      expect(JSON.parse(answer.body)).toEqual({
        subject: 'alice',
        body: { videoUrl: 'https://videos.test/cats.mp4' },
      });
    }
    expect((await send(await signer.sign({ method: 'GET', url: `${origin}/whoami` }))).body).toBe(
      'alice',
    );
  });

  it('streams more than the limit of what is held', async () => {
    const { origin, signer } = await serve({ body: 'stream', limit: 10 });
    const bytes = randomBytes(3_000_000);
    const answer = await send(
      await signer.sign({ method: 'POST', url: `${origin}/hash`, body: bytes }),
      { pieces: 100_000 },
    );
    expect(answer.body).toBe(createHash('sha256').update(bytes).digest('hex'));
    const forged = await send(
      await signer.sign({ method: 'POST', url: `${origin}/hash`, body: bytes }),
      { body: bytes.fill(0), pieces: 100_000 },
    );
    expect(forged).toMatchObject({ status: 400, body: 'ERR_BODY_MISMATCH' });
  });

  it('answers what is forged, altered or replayed', async () => {
    const { origin, signer } = await serve();
    const signed = await signer.sign({ method: 'POST', url: `${origin}/json`, body: { a: 1 } });
    const altered = await send(
      await signer.sign({ method: 'POST', url: `${origin}/json`, body: { a: 1 } }),
      { body: Buffer.from('{"a":2}') },
    );
    expect(JSON.parse(altered.body).reason).toBe('body-mismatch');
    expect((await send(signed)).status).toBe(200);
    expect(JSON.parse((await send(signed)).body).reason).toBe('nonce-reused');
    const forged = await send(
      await stranger().sign({ method: 'POST', url: `${origin}/json`, body: { a: 1 } }),
    );
    expect(forged.status).toBe(401);
    expect(forged.headers['content-type']).toBe('application/problem+json');
  });
});
