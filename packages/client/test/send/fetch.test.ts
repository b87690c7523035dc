import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import {
  type CreateFetchOptions,
  createFetch,
  type SignableBody,
  type SignedFetch,
} from '@countersign/client';
import { MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import { requireSignature } from '@countersign/server/express';
import { sha256Hex } from '@countersign/shared';
import express from 'express';
import { HttpResponse, http } from 'msw';
import { setupServer } from 'msw/node';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  audience,
  buildVerifier,
  clock,
  credentials,
  failure,
  judge,
  listen,
  NOW,
  wrongOrigins,
} from '../support.ts';

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  readonly body: string;
  readonly verdict: string;
}

const msw = setupServer();
let verifier = buildVerifier();
let seen: Seen[] = [];

beforeAll(() => msw.listen({ onUnhandledRequest: 'error' }));
beforeEach(() => {
  verifier = buildVerifier();
  seen = [];
});
afterEach(() => {
  msw.resetHandlers();
  vi.unstubAllGlobals();
});
afterAll(() => msw.close());

/** Serves an origin: verifies each request, and answers with the verdict if `answer` gives none. */
function serve(
  origin: string,
  answer: (request: Seen, count: number) => Response | undefined = () => undefined,
): void {
  msw.use(
    http.all(`${origin}/*`, async ({ request }) => {
      const { host, pathname, search } = new URL(request.url);
      const body = Buffer.from(await request.arrayBuffer());
      const headers = [...request.headers, ['host', host]] as [string, string][];
      const verdict = await judge(verifier, {
        method: request.method,
        url: pathname + search,
        headers,
        body,
      });
      const it = {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: body.toString(),
        verdict,
      };
      seen.push(it);
      return answer(it, seen.length) ?? HttpResponse.text(verdict);
    }),
  );
}

const buildFetch = (options: Partial<CreateFetchOptions> = {}): SignedFetch =>
  createFetch({ credentials, audience, clock, ...options });

const refusal = (reason: string, { status = 401, headers = {} } = {}): Response =>
  HttpResponse.json(
    { reason },
    {
      status,
      headers: {
        'www-authenticate': `COUNTERSIGN1-HMAC-SHA256 realm="video-api", error="${reason}"`,
        ...headers,
      },
    },
  );

const redirect = (status: number, location: string): Response =>
  new HttpResponse('moved', { status, headers: { location } });

const nonces = (): (string | null)[] =>
  seen.map(({ headers }) => headers.get('x-countersign-nonce'));

describe('signedFetch()', () => {
  it('sends what a verifier accepts', async () => {
    serve('https://api.test');
    const response = await buildFetch()('https://api.test/VideoParser/?lang=en', {
      method: 'POST',
      body: { videoUrl: 'https://videos.test/1' },
    });
    expect(await response.text()).toBe('accepted');
    expect(seen).toMatchObject([
      {
        method: 'POST',
        url: 'https://api.test/VideoParser/?lang=en',
        body: '{"videoUrl":"https://videos.test/1"}',
      },
    ]);
    expect(seen[0]?.headers.get('content-type')).toBe('application/json');
  });

  it.each<[string, SignableBody]>([
    ['text', 'text'],
    ['bytes', Uint8Array.of(1, 2)],
    ['a form', Object.assign(new FormData(), {})],
    ['search parameters', new URLSearchParams('a=b')],
    ['a Blob', new Blob(['x'], { type: 'text/x' })],
    ['a list', [1]],
    ['nothing', null],
  ])('sends %s', async (_what, body) => {
    serve('https://api.test');
    expect(await (await buildFetch()('https://api.test/', { method: 'PUT', body })).text()).toBe(
      'accepted',
    );
  });

  it.each([
    ['a string', 'https://api.test/a'],
    ['a URL', new URL('https://api.test/a')],
    ['a Request', new Request('https://api.test/a')],
  ])('takes %s', async (_form, input) => {
    serve('https://api.test');
    expect(await (await buildFetch()(input)).text()).toBe('accepted');
    expect(seen).toMatchObject([{ method: 'GET', url: 'https://api.test/a', body: '' }]);
  });

  it('takes method, headers and body of a Request', async () => {
    serve('https://api.test');
    const request = new Request('https://api.test/a', {
      method: 'PUT',
      headers: { 'content-type': 'text/x', 'x-other': 'o' },
      body: 'from the request',
    });
    expect(await (await buildFetch()(request)).text()).toBe('accepted');
    expect(seen).toMatchObject([{ method: 'PUT', body: 'from the request' }]);
    expect(seen[0]?.headers.get('x-other')).toBe('o');
    expect(seen[0]?.headers.get('content-type')).toBe('text/x');
  });

  it('prefers what init says to what the Request says, as fetch does', async () => {
    serve('https://api.test');
    const request = new Request('https://api.test/a', {
      method: 'PUT',
      headers: { 'x-other': 'o' },
      body: 'from the request',
    });
    const response = await buildFetch()(request, {
      method: 'POST',
      headers: { 'x-own': 'i' },
      body: 'from init',
    });
    expect(await response.text()).toBe('accepted');
    expect(seen).toMatchObject([{ method: 'POST', body: 'from init' }]);
    expect([seen[0]?.headers.get('x-other'), seen[0]?.headers.get('x-own')]).toEqual([null, 'i']);
    expect(request.bodyUsed).toBe(false);
  });

  it('hands everything else of a Request and of init to the fetch underneath', async () => {
    const calls: Parameters<typeof fetch>[] = [];
    const underneath: typeof fetch = (...call) => {
      calls.push(call);
      return Promise.resolve(new Response('x'));
    };
    const controller = new AbortController();
    const inherited = {
      cache: 'no-store',
      credentials: 'include',
      keepalive: true,
      referrerPolicy: 'no-referrer',
    } as const;
    const request = new Request('https://api.test/a', {
      ...inherited,
      signal: controller.signal,
    } as RequestInit);
    await buildFetch({ fetch: underneath })(request, {
      integrity: 'sha256-x',
      dispatcher: 'mine',
    } as object);
    expect(calls[0]?.[0]).toBe('https://api.test/a');
    expect(calls[0]?.[1]).toMatchObject({
      ...inherited,
      integrity: 'sha256-x',
      dispatcher: 'mine',
      redirect: 'manual',
    });
    expect(calls[0]?.[1]?.signal).toBe(request.signal);
  });

  it('reads the body of a Request also if the runtime lacks its property `body`', async () => {
    serve('https://api.test');
    for (const body of ['hidden', undefined]) {
      const request = new Request('https://api.test/a', { method: 'POST', body: body ?? null });
      Object.defineProperty(request, 'body', { value: undefined });
      expect(await (await buildFetch()(request)).text()).toBe('accepted');
    }
    expect(seen.map((it) => it.body)).toEqual(['hidden', '']);
  });

  it('leaves out a Host header, as fetch does', async () => {
    serve('https://api.test');
    expect(
      await (await buildFetch()('https://api.test/', { headers: { host: 'other.test' } })).text(),
    ).toBe('accepted');
  });

  it('resolves relative URLs in a page', async () => {
    serve('https://api.test');
    vi.stubGlobal('location', { href: 'https://api.test/app/index.html' });
    expect(await (await buildFetch()('../VideoParser/')).text()).toBe('accepted');
    expect(seen[0]?.url).toBe('https://api.test/VideoParser/');
  });

  it('refuses relative URLs outside a page', async () => {
    const origins = ['https://api.test'];
    for (const options of [{}, { origins }])
      expect(await failure(buildFetch(options)('/VideoParser/'))).toEqual(
        new TypeError('Cannot sign URL "/VideoParser/": expected an absolute http or https URL'),
      );
    // The URL has none of the origins, so the error is that of fetch.
    const [own, plain] = [
      await failure(buildFetch({ origins, otherOrigins: 'send-unsigned' })('/VideoParser/')),
      await failure(fetch('/VideoParser/')),
    ];
    expect([own.name, own.message]).toEqual(['TypeError', plain.message]);
  });

  it('uses the global fetch of the moment', async () => {
    const signedFetch = buildFetch();
    vi.stubGlobal('fetch', () => Promise.resolve(new Response('later')));
    expect(await (await signedFetch('https://api.test/')).text()).toBe('later');
  });

  it('signs parallel calls with nonces of their own', async () => {
    serve('https://api.test');
    const signedFetch = buildFetch();
    const texts = await Promise.all(
      Array.from({ length: 50 }, async () =>
        (await signedFetch('https://api.test/', { method: 'POST', body: 'x' })).text(),
      ),
    );
    expect(new Set(texts)).toEqual(new Set(['accepted']));
    expect(new Set(nonces()).size).toBe(50);
  });

  it('refuses a one-shot stream, and sends one whose hash is declared', async () => {
    serve('https://api.test');
    const open = () => Readable.from([Buffer.from('one'), Buffer.from('two')]);
    const error = await failure(
      buildFetch()('https://api.test/', { method: 'POST', body: open() }),
    );
    expect(error.message).toMatch(/^Cannot sign a one-shot stream/);
    expect(seen).toHaveLength(0);
    const headers = { 'x-countersign-content-sha256': sha256Hex('onetwo') };
    for (const body of [open(), Readable.toWeb(open()) as ReadableStream<Uint8Array>]) {
      expect(
        await (await buildFetch()('https://api.test/', { method: 'POST', headers, body })).text(),
      ).toBe('accepted');
    }
  });

  it('rejects with what the signer throws, before anything is sent', async () => {
    serve('https://api.test');
    expect(await failure(buildFetch()('https://api.test/%zz'))).toMatchObject({
      name: 'SignatureError',
      code: 'ERR_TARGET_AMBIGUOUS',
    });
    expect(
      (await failure(buildFetch()('https://api.test/', { method: 'POST', body: 5n as never })))
        .message,
    ).toContain('Cannot sign a bigint as a body');
    expect(
      (
        await failure(
          buildFetch({ credentials: () => Promise.reject(new Error('vault sealed')) })(
            'https://api.test/',
          ),
        )
      ).message,
    ).toBe('vault sealed');
    expect(seen).toHaveLength(0);
  });

  it('rejects as fetch does if no server answers', async () => {
    msw.use(http.all('https://api.test/*', () => HttpResponse.error()));
    const [own, plain] = [
      await failure(buildFetch()('https://api.test/')),
      await failure(fetch('https://api.test/')),
    ];
    expect(own).toBeInstanceOf(TypeError);
    expect([own.message, String(own.cause)]).toEqual([plain.message, String(plain.cause)]);
    expect(own.message).toBe('Failed to fetch');
    const unplugged = new TypeError('fetch failed', { cause: new Error('ENETUNREACH') });
    const offline = buildFetch({ fetch: () => Promise.reject(unplugged) });
    expect(await failure(offline('https://api.test/'))).toBe(unplugged);
  });
});

describe('signedFetch() and origins', () => {
  const only = { origins: ['https://api.test'], otherOrigins: 'send-unsigned' } as const;

  it.each(['refuse', undefined] as const)(
    'sends nothing to other origins, and says why, with otherOrigins: %s',
    async (otherOrigins) => {
      const origins = ['https://api.test', 'https://media.test'];
      serve('https://api.test');
      const signedFetch = buildFetch({ origins, otherOrigins });
      expect(await (await signedFetch('https://api.test/')).text()).toBe('accepted');
      for (const [url, origin] of [
        ['https://other.test/a?token=1', 'https://other.test'],
        ['https://api.test:8443/', 'https://api.test:8443'],
        ['http://api.test/', 'http://api.test'],
        ['https://api.test.other.test/', 'https://api.test.other.test'],
        [new Request('https://other.test/', { method: 'POST', body: 'x' }), 'https://other.test'],
      ] as const)
        expect(await failure(signedFetch(url))).toEqual(
          new TypeError(
            `Cannot fetch from "${origin}": the option "origins" has only "https://api.test, https://media.test"; add it there, or set the option "otherOrigins" to "send-unsigned"`,
          ),
        );
      expect(seen).toHaveLength(1);
    },
  );

  it('signs for its origins only', async () => {
    serve('https://api.test');
    serve('https://other.test');
    const signedFetch = buildFetch(only);
    expect(await (await signedFetch('https://api.test/')).text()).toBe('accepted');
    for (const url of ['https://other.test/', 'https://api.test:8443/', 'http://api.test/']) {
      if (url !== 'https://other.test/') serve(new URL(url).origin);
      expect(await (await signedFetch(url)).text()).toBe('ERR_SIGNATURE_MISSING');
    }
    for (const { headers } of seen.slice(1))
      expect([...headers.keys()].filter((name) => /countersign|authorization/.test(name))).toEqual(
        [],
      );
  });

  it('signs for an origin however its URL is written', async () => {
    serve('https://api.test');
    expect(await (await buildFetch(only)('https://API.test:443/')).text()).toBe('accepted');
  });

  it('hands a call to another origin on as it is', async () => {
    const calls: unknown[][] = [];
    const signedFetch = buildFetch({
      ...only,
      fetch: async (...call) => {
        calls.push(call);
        return new Response();
      },
    });
    const [input, init] = [new Request('https://other.test/'), { method: 'POST', body: 'x' }];
    await signedFetch(input, init);
    expect(calls[0]?.[0]).toBe(input);
    expect(calls[0]?.[1]).toBe(init);
  });

  it('sends plain objects as JSON to other origins too', async () => {
    serve('https://other.test');
    await buildFetch(only)('https://other.test/', { method: 'POST', body: { a: 1 } });
    await buildFetch(only)('https://other.test/', {
      method: 'POST',
      headers: { 'content-type': 'text/x' },
      body: [1],
    });
    expect(seen.map(({ body, headers }) => [body, headers.get('content-type')])).toEqual([
      ['{"a":1}', 'application/json'],
      ['[1]', 'text/x'],
    ]);
  });
});

describe('signedFetch() and epochs', () => {
  const uncertain = (epoch = 'epoch-1') =>
    refusal('replay-unknown', { headers: { 'countersign-epoch': epoch, 'retry-after': '7' } });

  it('signs again once with the epoch and a new nonce, and sends the body again', async () => {
    serve('https://api.test', (_request, count) => (count === 1 ? uncertain() : undefined));
    const response = await buildFetch()('https://api.test/a', { method: 'POST', body: { a: 1 } });
    expect(await response.text()).toBe('accepted');
    expect(seen.map(({ headers }) => headers.get('x-countersign-epoch'))).toEqual([
      null,
      'epoch-1',
    ]);
    expect(seen.map(({ body, method, verdict }) => [method, body, verdict])).toEqual([
      ['POST', '{"a":1}', 'accepted'],
      ['POST', '{"a":1}', 'accepted'],
    ]);
    expect(new Set(nonces()).size).toBe(2);
  });

  it('sends the body of a Request again', async () => {
    serve('https://api.test', (_request, count) => (count === 1 ? uncertain() : undefined));
    await buildFetch()(new Request('https://api.test/a', { method: 'POST', body: 'read once' }));
    expect(seen.map(({ body }) => body)).toEqual(['read once', 'read once']);
  });

  it('signs again no more than once', async () => {
    serve('https://api.test', (_request, count) => uncertain(`epoch-${count}`));
    const response = await buildFetch()('https://api.test/a', { method: 'POST', body: 'x' });
    expect(response.status).toBe(401);
    expect(await response.json()).toEqual({ reason: 'replay-unknown' });
    expect(seen).toHaveLength(2);
  });

  it('does not send a stream again, and gives the refusal back', async () => {
    serve('https://api.test', () => uncertain());
    const headers = { 'x-countersign-content-sha256': sha256Hex('x') };
    for (const body of [
      Readable.from([Buffer.from('x')]),
      ReadableStream.from([new TextEncoder().encode('x')]),
    ]) {
      seen = [];
      expect(
        (
          await buildFetch()('https://api.test/a', {
            method: 'POST',
            headers,
            body: body as SignableBody,
          })
        ).status,
      ).toBe(401);
      expect(seen).toHaveLength(1);
    }
  });

  it.each([
    ['nonce-reused', 401],
    ['clock-skew', 401],
    ['signature-invalid', 401],
    ['unavailable', 503],
    ['replay-unknown', 503],
    ['too-many-failures', 429],
    ['too-many-requests', 429],
    ['not-replay-unknown', 401],
  ])('does not try again by itself after %s with status %d', async (reason, status) => {
    serve('https://api.test', () =>
      refusal(reason, { status, headers: { 'countersign-epoch': 'e', 'retry-after': '0' } }),
    );
    expect((await buildFetch()('https://api.test/a')).status).toBe(status);
    expect(seen).toHaveLength(1);
  });

  it('echoes the epoch from then on, to the origin that told it', async () => {
    const reply = (epoch: string) => () =>
      HttpResponse.text('ok', { headers: { 'countersign-epoch': epoch } });
    serve('https://api.test', reply('epoch-a'));
    serve('https://other.test', reply('epoch-o'));
    const signedFetch = buildFetch();
    for (const url of [
      'https://api.test/1',
      'https://other.test/1',
      'https://api.test/2',
      'https://other.test/2',
    ])
      await signedFetch(url);
    expect(
      seen.map(({ headers, verdict }) => [headers.get('x-countersign-epoch'), verdict]),
    ).toEqual([
      [null, 'accepted'],
      [null, 'accepted'],
      ['epoch-a', 'accepted'],
      ['epoch-o', 'accepted'],
    ]);
    await buildFetch()('https://api.test/3');
    expect(seen.at(-1)?.headers.get('x-countersign-epoch')).toBeNull();
  });

  it('takes the epoch that was told last', async () => {
    serve('https://api.test', (_request, count) =>
      HttpResponse.text('ok', { headers: { 'countersign-epoch': `e${count}` } }),
    );
    const signedFetch = buildFetch();
    for (let call = 0; call < 3; call++) await signedFetch('https://api.test/');
    expect(seen.map(({ headers }) => headers.get('x-countersign-epoch'))).toEqual([
      null,
      'e1',
      'e2',
    ]);
  });

  it.each(['', 'two words', 'a,b', 'é', 'x'.repeat(65), '"quoted"', '<script>'])(
    'ignores the epoch %j',
    async (epoch) => {
      serve('https://api.test', () =>
        HttpResponse.text('ok', { headers: { 'countersign-epoch': epoch } }),
      );
      const signedFetch = buildFetch();
      await signedFetch('https://api.test/');
      await signedFetch('https://api.test/');
      expect(
        seen.map(({ headers, verdict }) => [headers.get('x-countersign-epoch'), verdict]),
      ).toEqual([
        [null, 'accepted'],
        [null, 'accepted'],
      ]);
    },
  );

  it('recovers from a forged epoch with the one attempt', async () => {
    const store = new MemoryNonceStore({ clock, bornAt: NOW });
    verifier = buildVerifier({ nonces: store });
    serve('https://api.test', ({ verdict }, count) => {
      if (count === 1)
        return HttpResponse.text('ok', { headers: { 'countersign-epoch': 'forged' } });
      return verdict === 'ERR_NONCE_UNCERTAIN' ? uncertain(store.epoch) : undefined;
    });
    const signedFetch = buildFetch();
    await signedFetch('https://api.test/');
    expect(await (await signedFetch('https://api.test/')).text()).toBe('accepted');
    expect(seen.map(({ headers }) => headers.get('x-countersign-epoch'))).toEqual([
      null,
      'forged',
      store.epoch,
    ]);
  });
});

describe('signedFetch() and clocks', () => {
  it('T10: lets nothing in an answer move its clock', async () => {
    const lies = {
      date: 'Fri, 01 Jan 2027 00:00:00 GMT',
      age: '999999',
      'countersign-date': '20270101T000000Z',
      'x-countersign-date': '20270101T000000Z',
      'countersign-time': '1798761600',
      'last-modified': 'Fri, 01 Jan 2027 00:00:00 GMT',
    };
    serve('https://api.test', (_request, count) =>
      count % 2 === 1
        ? refusal('clock-skew', { headers: lies })
        : HttpResponse.text('ok', { headers: lies }),
    );
    const signedFetch = buildFetch();
    for (let call = 0; call < 6; call++) await signedFetch('https://api.test/');
    expect(new Set(seen.map(({ headers }) => headers.get('x-countersign-date')))).toEqual(
      new Set(['20261121T222526Z']),
    );
    expect(new Set(seen.map(({ verdict }) => verdict))).toEqual(new Set(['accepted']));
  });
});

describe('signedFetch() and redirects', () => {
  /** Follows redirects, if a test does not say otherwise. */
  const build = (options: Partial<CreateFetchOptions> = {}): SignedFetch => {
    const signedFetch = buildFetch(options);
    return (input, init) => {
      const isManual = input instanceof Request && input.redirect !== 'follow';
      return signedFetch(input, isManual ? init : { redirect: 'follow', ...init });
    };
  };

  it('are refused if the call did not ask for them: an answer must not choose what is signed', async () => {
    for (const status of [301, 302, 303, 307, 308]) {
      serve('https://api.test', () => redirect(status, '/admin/delete?user=bob'));
      for (const input of ['https://api.test/', new Request('https://api.test/')]) {
        seen = [];
        const error = await failure(buildFetch()(input));
        expect(error).toBeInstanceOf(TypeError);
        expect(error.message).toBe(
          `Cannot fetch "https://api.test/": it redirects, and is not told to { redirect: 'follow' }`,
        );
        expect(seen.map(({ url }) => url)).toEqual(['https://api.test/']);
      }
      msw.resetHandlers();
    }
  });

  it.each([
    [301, 'POST', 'GET'],
    [302, 'POST', 'GET'],
    [303, 'POST', 'GET'],
    [307, 'POST', 'POST'],
    [308, 'POST', 'POST'],
    [301, 'post', 'GET'],
    [303, 'PUT', 'GET'],
    [303, 'DELETE', 'GET'],
    [301, 'PUT', 'PUT'],
    [302, 'PUT', 'PUT'],
    [307, 'DELETE', 'DELETE'],
    [301, 'GET', 'GET'],
    [302, 'GET', 'GET'],
    [303, 'GET', 'GET'],
    [307, 'GET', 'GET'],
    [308, 'GET', 'GET'],
    [301, 'HEAD', 'HEAD'],
    [303, 'HEAD', 'HEAD'],
    [303, 'head', 'HEAD'],
  ])(
    'T11: follows %d of a %s with a %s within the origin, and signs again',
    async (status, method, next) => {
      serve('https://api.test', (_request, count) =>
        count === 1 ? redirect(status, '../new/place?a=1#f') : undefined,
      );
      const hasBody = !/^(get|head)$/i.test(method);
      const headers = { 'x-other': 'o', 'content-language': 'en' };
      const response = await build()('https://api.test/old/one', {
        method,
        headers,
        ...(hasBody ? { body: { a: 1 } } : {}),
      });
      expect(response.status).toBe(200);
      expect(seen.map(({ verdict }) => verdict)).toEqual(['accepted', 'accepted']);
      expect(seen[1]).toMatchObject({
        method: next,
        url: 'https://api.test/new/place?a=1',
        body: hasBody && next !== 'GET' ? '{"a":1}' : '',
      });
      expect(seen[1]?.headers.get('x-other')).toBe('o');
      expect(seen[1]?.headers.get('content-type')).toBe(
        hasBody && next !== 'GET' ? 'application/json' : null,
      );
      expect(seen[1]?.headers.get('content-language')).toBe(
        hasBody && next === 'GET' ? null : 'en',
      );
      expect(new Set(nonces()).size).toBe(2);
    },
  );

  it('drops a declared hash with the body that it is of', async () => {
    serve('https://api.test', (_request, count) =>
      count === 1 ? redirect(303, '/done') : undefined,
    );
    const response = await build()('https://api.test/', {
      method: 'POST',
      headers: { 'X-Countersign-Content-Sha256': sha256Hex('x') },
      body: 'x',
    });
    expect(await response.text()).toBe('accepted');
  });

  it('signs a redirected request again if its epoch is not known', async () => {
    serve('https://api.test', (_request, count) => {
      if (count === 1) return redirect(307, '/next');
      return count === 2
        ? refusal('replay-unknown', { headers: { 'countersign-epoch': 'e' } })
        : undefined;
    });
    expect(await (await build()('https://api.test/', { method: 'POST', body: 'x' })).text()).toBe(
      'accepted',
    );
    expect(seen.map(({ url }) => new URL(url).pathname)).toEqual(['/', '/next', '/next']);
  });

  it.each([
    ['https://evil.test/x', 'https://evil.test'],
    ['//evil.test/x', 'https://evil.test'],
    ['http://api.test/', 'http://api.test'],
    ['https://api.test:8443/', 'https://api.test:8443'],
    ['https://api.test.evil.test/', 'https://api.test.evil.test'],
  ])('T11: refuses a redirect to %s, to which nothing is sent', async (location, origin) => {
    serve('https://api.test', () => redirect(307, location));
    const strangers: string[] = [];
    msw.use(http.all(`${origin}/*`, ({ request }) => void strangers.push(request.url)));
    for (const options of [{}, { origins: ['https://api.test'] }]) {
      const error = await failure(
        build(options)('https://api.test/', { method: 'POST', body: 'secret body' }),
      );
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe(
        `Cannot follow the redirect of "https://api.test/" to "${origin}": nothing is signed for that origin, see the option "origins"`,
      );
    }
    expect(strangers).toEqual([]);
  });

  it('follows a redirect between two of its origins, each signed for itself', async () => {
    serve('https://api.test', () => redirect(308, 'https://media.test/x'));
    serve('https://media.test');
    const response = await build({ origins: ['https://api.test', 'https://media.test'] })(
      'https://api.test/',
      { method: 'POST', body: 'x' },
    );
    expect(await response.text()).toBe('accepted');
    expect(seen.map(({ url, verdict }) => [url, verdict])).toEqual([
      ['https://api.test/', 'accepted'],
      ['https://media.test/x', 'accepted'],
    ]);
  });

  it.each(['http://[', 'https://a b/', 'data:text/plain,x', 'javascript:1'])(
    'refuses a redirect to %j',
    async (location) => {
      serve('https://api.test', () => redirect(302, location));
      const error = await failure(build()('https://api.test/'));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^Cannot follow the redirect of "https:\/\/api.test\/" to /);
    },
  );

  it('refuses a redirect that puts credentials into the URL', async () => {
    serve('https://api.test', () => redirect(302, 'https://user:pass@api.test/'));
    expect((await failure(build()('https://api.test/'))).message).toContain(
      'Cannot sign a URL with credentials in it',
    );
  });

  it('gives the redirect back if the call asks for that', async () => {
    serve('https://api.test', () => redirect(302, 'https://evil.test/'));
    for (const input of [
      'https://api.test/',
      new Request('https://api.test/', { redirect: 'manual' }),
    ]) {
      const response = await build()(
        input,
        input instanceof Request ? undefined : { redirect: 'manual' },
      );
      expect([response.status, response.headers.get('location'), await response.text()]).toEqual([
        302,
        'https://evil.test/',
        'moved',
      ]);
    }
  });

  it('rejects if the call asks for an error at a redirect', async () => {
    serve('https://api.test', () => redirect(302, '/next'));
    const error = await failure(build()('https://api.test/', { redirect: 'error' }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^Cannot fetch "https:\/\/api.test\/": it redirects/);
    expect(seen).toHaveLength(1);
  });

  it('follows 20 redirects and no more', async () => {
    serve('https://api.test', (_request, count) =>
      count === 21 ? undefined : redirect(302, `/${count}`),
    );
    expect(await (await build()('https://api.test/0')).text()).toBe('accepted');
    seen = [];
    msw.resetHandlers();
    serve('https://api.test', (_request, count) => redirect(302, `/${count}`));
    const error = await failure(build()('https://api.test/0'));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe('Cannot fetch "https://api.test/20": it redirects too often');
    expect(seen).toHaveLength(21);
    expect(new Set(nonces()).size).toBe(21);
  });

  it.each([
    [300, 'https://evil.test/'],
    [304, 'https://evil.test/'],
    [302, undefined],
  ] as const)('gives %d with location %s back', async (status, location) => {
    serve(
      'https://api.test',
      () => new Response(null, { status, headers: location === undefined ? {} : { location } }),
    );
    expect((await build()('https://api.test/')).status).toBe(status);
    expect(seen).toHaveLength(1);
  });

  it('does not send a stream again after a redirect', async () => {
    serve('https://api.test', () => redirect(307, '/next'));
    const body = Readable.from([Buffer.from('x')]);
    const error = await failure(
      build()('https://api.test/', {
        method: 'POST',
        headers: { 'x-countersign-content-sha256': sha256Hex('x') },
        body,
      }),
    );
    expect(error.message).toBe(
      'Cannot follow the redirect of "https://api.test/": its body was a stream, and is spent',
    );
  });

  it('tells that a browser keeps the target of a redirect to itself', async () => {
    const opaque = Object.defineProperty(new Response(), 'type', { value: 'opaqueredirect' });
    const error = await failure(
      build({ fetch: () => Promise.resolve(opaque) })('https://api.test/'),
    );
    expect(error.message).toBe(
      'Cannot follow the redirect of "https://api.test/": a browser does not tell where it leads, so it cannot be signed',
    );
  });
});

describe('signedFetch() and abort signals', () => {
  it.each(['init', 'Request'])(
    'sends nothing if the signal of the %s is aborted',
    async (owner) => {
      serve('https://api.test');
      const signal = AbortSignal.abort(new Error('too late'));
      const input =
        owner === 'init' ? 'https://api.test/' : new Request('https://api.test/', { signal });
      const error = await failure(buildFetch()(input, owner === 'init' ? { signal } : undefined));
      expect(error.message).toBe('too late');
      expect(seen).toHaveLength(0);
    },
  );

  it('stops while credentials are asked for', async () => {
    serve('https://api.test');
    const controller = new AbortController();
    const source = () => {
      controller.abort(new Error('changed my mind'));
      return credentials;
    };
    const signedFetch = buildFetch({ credentials: source });
    expect(
      (await failure(signedFetch('https://api.test/', { signal: controller.signal }))).message,
    ).toBe('changed my mind');
    expect(seen).toHaveLength(0);
  });

  it.each([401, 302])('stops between the attempts that a %d asks for', async (status) => {
    const controller = new AbortController();
    serve('https://api.test', () => {
      controller.abort(new Error('changed my mind'));
      return status === 401
        ? refusal('replay-unknown', { headers: { 'countersign-epoch': 'e' } })
        : redirect(status, '/next');
    });
    expect(
      (
        await failure(
          buildFetch()('https://api.test/', { signal: controller.signal, redirect: 'follow' }),
        )
      ).message,
    ).toBe('changed my mind');
    expect(seen).toHaveLength(1);
  });
});

describe('createFetch()', () => {
  it.each<[string, unknown, string]>([
    ...wrongOrigins('fetch'),
    [
      'otherOrigins',
      'allow',
      'Cannot build fetch: option "otherOrigins" is "allow": expected "refuse" or "send-unsigned"',
    ],
    ['otherOrigins', null, 'Cannot build fetch: option "otherOrigins" is null: expected "refuse"'],
    [
      'otherOrigins',
      'send-unsigned',
      'option "otherOrigins" is "send-unsigned": expected the option "origins" beside it',
    ],
    [
      'fetch',
      'fetch',
      'Cannot build fetch: option "fetch" is "fetch": expected a function like fetch()',
    ],
    ['origin', ['https://api.test'], 'Cannot build fetch: unknown option "origin"'],
    ['audience', undefined, 'Cannot build fetch: option "audience" is undefined'],
    ['clock', 5, 'Cannot build fetch: option "clock" is 5'],
  ])('refuses the option %s with the value %j', (name, value, message) => {
    const make = (): unknown =>
      createFetch({ credentials, audience, [name]: value } as CreateFetchOptions);
    expect(make).toThrow(
      expect.objectContaining({ name: 'TypeError', message: expect.stringContaining(message) }),
    );
  });

  it.each([undefined, null])('refuses %j for options', (options) => {
    expect(() => createFetch(options as unknown as CreateFetchOptions)).toThrow(
      new TypeError(`Cannot build fetch: expected { credentials, audience }, got ${options}`),
    );
  });
});

describe('signedFetch() and requireSignature() over a socket', () => {
  /** Real servers: nothing is intercepted here. */
  beforeEach(() => msw.close());
  afterEach(() => msw.listen({ onUnhandledRequest: 'error' }));

  it("succeeds in the first second of the store's life with two attempts, from then on with one", async () => {
    const attempts: string[] = [];
    const app = express();
    app.use((req, _res, next) => {
      attempts.push(req.url);
      next();
    });
    // Both sides use the system clock, so the store is as young as possible.
    const keys = new MemoryKeyStore([
      { ...credentials, subject: 'alice', scopes: [], status: 'active' },
    ]);
    app.use(requireSignature({ audience, keys, nonces: new MemoryNonceStore() }));
    app.use(express.json());
    app.post('/VideoParser/', (req, res) => void res.json(req.body));
    const server = createServer(app);
    const port = await new Promise<number>((resolve) =>
      server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
    );
    const signedFetch = createFetch({ credentials, audience });
    for (const [call, expected] of [2, 3, 4].entries()) {
      const response = await signedFetch(`http://127.0.0.1:${port}/VideoParser/?call=${call}`, {
        method: 'POST',
        body: { call },
      });
      expect([response.status, await response.json()]).toEqual([200, { call }]);
      expect(attempts).toHaveLength(expected);
    }
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('T11: never sends one signature to a server twice, whatever it answers', async () => {
    const answers = [307, 401, 503, 302];
    const server = await listen(buildVerifier(), (_received, res, count) => {
      const status = answers[count - 1] ?? 200;
      res.writeHead(status, {
        location: `/${count}`,
        'www-authenticate': 'COUNTERSIGN1-HMAC-SHA256 realm="video-api", error="replay-unknown"',
        'countersign-epoch': 'e',
      });
      res.end();
    });
    const signedFetch = buildFetch();
    for (let call = 0; call < 3; call++)
      await signedFetch(`${server.origin}/`, { method: 'POST', body: 'x', redirect: 'follow' });
    const authorizations = server.received.map(({ headers }) => headers.authorization);
    expect(server.received.map(({ verdict }) => verdict)).toEqual(
      authorizations.map(() => 'accepted'),
    );
    expect(authorizations.length).toBeGreaterThanOrEqual(5);
    expect(new Set(authorizations).size).toBe(authorizations.length);
    await server.close();
  });
});
