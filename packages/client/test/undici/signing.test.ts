import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { Readable, Writable } from 'node:stream';
import { text as readText } from 'node:stream/consumers';
import { type SigningOptions, signing } from '@countersign/client/undici';
import { MemoryNonceStore } from '@countersign/server';
import { sha256Hex } from '@countersign/shared';
import {
  Agent,
  Client,
  type Dispatcher,
  FormData,
  fetch,
  interceptors,
  MockAgent,
  request,
} from 'undici';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  audience,
  buildVerifier,
  clock,
  credentials,
  failure,
  type Loopback,
  listen,
  NOW,
  wrongOrigins,
} from '../support.ts';

/** The version of undici. */
const UNDICI: string = createRequire(import.meta.url)('undici/package.json').version;

type Answer = NonNullable<Parameters<typeof listen>[1]>;

let opened: { close(): Promise<void> }[] = [];
let api: Loopback;

beforeEach(async () => {
  api = await open();
});
afterEach(async () => {
  await Promise.all(opened.map((it) => it.close()));
  opened = [];
});

async function open(answer?: Answer, verifier = buildVerifier()): Promise<Loopback> {
  const server = await listen(verifier, answer);
  opened.push(server);
  return server;
}

function build(options: Partial<SigningOptions> = {}): Dispatcher.DispatcherComposeInterceptor {
  return signing({ credentials, audience, clock, origins: [api.origin], ...options });
}

function compose(...chain: Dispatcher.DispatcherComposeInterceptor[]): Dispatcher {
  const agent = new Agent();
  opened.push({ close: () => agent.destroy() });
  return agent.compose(chain);
}

const get = async (
  dispatcher: Dispatcher,
  url: string,
  init: Omit<NonNullable<Parameters<typeof request>[1]>, 'dispatcher'> = {},
) => {
  const { statusCode, headers, body } = await request(url, { dispatcher, ...init });
  return { statusCode, headers, text: await body.text() };
};

const refuse = (
  res: Parameters<Answer>[1],
  reason: string,
  headers: Record<string, string> = {},
): void => {
  res.writeHead(401, {
    'www-authenticate': `COUNTERSIGN1-HMAC-SHA256 realm="video-api", error="${reason}"`,
    ...headers,
  });
  res.end('refused');
};

const collect = (chunks: Buffer[]): Writable =>
  new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });

const nonces = (server: Loopback): unknown[] =>
  server.received.map(({ headers }) => headers['x-countersign-nonce']);
const verdicts = (server: Loopback): string[] => server.received.map(({ verdict }) => verdict);

describe('signing()', () => {
  it('signs for its origins', async () => {
    const agent = compose(build());
    expect(
      (await get(agent, `${api.origin}/a%20b/?x=1&x=%C3%A9`, { method: 'POST', body: 'text' }))
        .text,
    ).toBe('accepted');
    expect(api.received).toMatchObject([{ method: 'POST', url: '/a%20b/?x=1&x=%C3%A9' }]);
    expect(api.received[0]?.body.toString()).toBe('text');
  });

  it('lets requests for other origins pass byte for byte', async () => {
    const other = await open();
    const [signed, plain] = [compose(build()), compose()];
    const init = {
      method: 'POST',
      headers: ['X-Case', 'Kept', 'x-two', '1', 'X-Two', '2'],
      body: 'text',
    } as const;
    for (const agent of [signed, plain])
      await get(agent, `${other.origin}/b?x`, { ...init, headers: [...init.headers] });
    const [one, two] = other.received;
    expect(one?.rawHeaders).toEqual(two?.rawHeaders);
    expect(one).toMatchObject({ method: 'POST', url: '/b?x', verdict: 'ERR_SIGNATURE_MISSING' });
    expect(String(one?.rawHeaders)).not.toMatch(/countersign|authorization/i);
  });

  it('hands the very options and handler on for other origins', () => {
    const calls: unknown[][] = [];
    const dispatch = build()((...call) => {
      calls.push(call);
      return false;
    });
    const [opts, handler] = [
      { origin: 'https://other.test', path: '/', method: 'GET' as const },
      {},
    ];
    expect(dispatch(opts, handler)).toBe(false);
    expect(calls[0]?.[0]).toBe(opts);
    expect(calls[0]?.[1]).toBe(handler);
    // This is not an origin, and undici refuses it.
    dispatch({ ...opts, origin: 'nonsense' }, handler);
    // Origins that only begin with a given one.
    for (const origin of [`${api.origin}.evil.test`, `${api.origin}0`, api.origin.slice(0, -1)])
      dispatch({ ...opts, origin }, handler);
    expect(calls).toHaveLength(5);
  });

  it('signs for an origin however it is written', async () => {
    const agent = compose(build());
    const { port } = new URL(api.origin);
    for (const origin of [
      new URL(api.origin),
      `HTTP://127.0.0.1:${port}/`,
      `http://127.1:${port}`,
    ]) {
      expect(await readText((await agent.request({ origin, path: '/', method: 'GET' })).body)).toBe(
        'accepted',
      );
    }
  });

  it('refuses a request without an origin, if its Client does not tell the origin', async () => {
    const client = new Client(api.origin);
    opened.push({ close: () => client.destroy() });
    const composed = client.compose(build());
    const request = composed.request({ path: '/', method: 'GET' });
    // A Client of undici 8 tells its origin.
    const isTold = Number.parseInt(UNDICI, 10) >= 8;
    if (isTold) expect(await readText((await request).body)).toBe('accepted');
    else
      expect((await failure(request)).message).toBe(
        'Cannot sign a request without an origin: compose signing() on an Agent, or give each request its origin',
      );
    expect(
      await readText(
        (await composed.request({ origin: api.origin, path: '/', method: 'GET' })).body,
      ),
    ).toBe('accepted');
    expect(api.received).toHaveLength(isTold ? 2 : 1);
  });

  it('waits for credentials no longer than a request is waited for', async () => {
    const hangs = () => new Promise<never>(() => undefined);
    const agent = compose(build({ credentials: hangs }));
    const of = (signal: AbortSignal) =>
      failure(agent.request({ origin: api.origin, path: '/', method: 'GET', signal }));
    const reason = new Error('The window was closed');
    expect(await of(AbortSignal.abort(reason))).toBe(reason);
    const window = new AbortController();
    setTimeout(() => window.abort(reason), 20);
    expect(await of(window.signal)).toBe(reason);
    expect(api.received).toEqual([]);
  });

  it('signs with a MockAgent too', async () => {
    const mock = new MockAgent();
    mock.disableNetConnect();
    opened.push({ close: () => mock.close() });
    mock
      .get('https://api.test')
      .intercept({ path: '/a', method: 'POST' })
      .reply(200, ({ headers }) => JSON.stringify(headers));
    const agent = mock.compose(build({ origins: ['https://api.test'] }));
    const headers = JSON.parse(
      (await get(agent, 'https://api.test/a', { method: 'POST', body: 'x' })).text,
    ) as Record<string, string>;
    expect(headers['authorization']).toMatch(/^COUNTERSIGN1-HMAC-SHA256 Credential=CSAK/);
  });

  it('signs 100 parallel requests, pipelined, each with a nonce of its own', async () => {
    const agent = new Agent({ connections: 2, pipelining: 10 });
    opened.push({ close: () => agent.destroy() });
    const signed = agent.compose(build());
    const texts = await Promise.all(
      Array.from(
        { length: 100 },
        async (_, index) =>
          (await get(signed, `${api.origin}/${index}`, { method: 'PUT', body: `body ${index}` }))
            .text,
      ),
    );
    expect(new Set(texts)).toEqual(new Set(['accepted']));
    expect(new Set(nonces(api)).size).toBe(100);
    for (const { url, body } of api.received) expect(body.toString()).toBe(`body ${url.slice(1)}`);
  });

  it('never changes the options that it is given', async () => {
    const agent = compose(build());
    const opts = Object.freeze({
      origin: api.origin,
      path: '/',
      method: 'POST' as const,
      body: 'x',
      headers: Object.freeze({ 'x-a': '1' }),
      query: Object.freeze({ a: '1' }),
    });
    for (let call = 0; call < 2; call++)
      expect(await readText((await agent.request(opts)).body)).toBe('accepted');
    expect(opts).toEqual({
      origin: api.origin,
      path: '/',
      method: 'POST',
      body: 'x',
      headers: { 'x-a': '1' },
      query: { a: '1' },
    });
  });
});

describe('signing() and what is sent', () => {
  it.each<[Record<string, unknown>, string]>([
    [{ a: '1', b: 'x y+z', ü: 'ö' }, '/?a=1&b=x%20y%2Bz&%C3%BC=%C3%B6'],
    [{ a: ['2', '1'], n: 5, t: true }, '/?a=2&a=1&n=5&t=true'],
    [{ none: null, not: undefined, object: {} }, '/?none=&not=&object='],
    [{ "it's": '(*)' }, "/?it's=(*)"],
    [{}, '/'],
  ])('writes the query %j as undici does', async (query, url) => {
    const [signed, plain] = [compose(build()), compose()];
    for (const agent of [signed, plain]) await get(agent, api.origin, { query });
    expect(verdicts(api)).toEqual(['accepted', 'ERR_SIGNATURE_MISSING']);
    // `new URL()` writes an apostrophe as %27, which is the same to every reader of queries.
    expect(api.received.map((it) => it.url.replaceAll('%27', "'"))).toEqual([url, url]);
  });

  it('refuses a query beside the one of the path, as undici does', async () => {
    for (const path of ['/?a=1', '/#a']) {
      const error = await failure(
        compose(build()).request({ origin: api.origin, path, method: 'GET', query: { b: '2' } }),
      );
      expect(error.message).toBe(
        `Cannot sign path "${path}": it has a query, and "query" is given too`,
      );
    }
  });

  it.each([
    '',
    'relative',
    '@evil.test/',
    '.evil.test/',
    ':1/',
    'http://evil.test/',
    '?q',
    undefined,
  ])('refuses the path %j', async (path) => {
    const error = await failure(
      compose(build()).request({ origin: api.origin, path: path as string, method: 'GET' }),
    );
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(`Cannot sign path "${path}": expected one that starts with "/"`);
    expect(api.received).toHaveLength(0);
  });

  it('refuses a path that can be read as a host', async () => {
    for (const path of ['//evil.test/', '/\\evil.test/']) {
      expect(
        await failure(compose(build()).request({ origin: api.origin, path, method: 'GET' })),
      ).toMatchObject({ code: 'ERR_TARGET_AMBIGUOUS' });
    }
  });

  it.each<[string, unknown]>([
    ['a flat list', ['X-A', '1', 'Content-Type', 'text/x']],
    ['a record', { 'X-A': '1', 'Content-Type': 'text/x', 'X-None': undefined }],
    ['a record of lists and numbers', { 'X-A': [1], 'Content-Type': ['text/x'] }],
    [
      'pairs',
      new Map([
        ['X-A', '1'],
        ['Content-Type', 'text/x'],
      ]),
    ],
    [
      'a list of pairs',
      [
        ['X-A', '1'],
        ['Content-Type', 'text/x'],
      ],
    ],
    ['a Headers', new Headers({ 'X-A': '1', 'Content-Type': 'text/x' })],
    ['a flat list that redirect() has filled with lists', ['X-A', ['1'], 'Content-Type', 'text/x']],
  ])('takes headers as %s', async (_form, headers) => {
    const { text } = await get(compose(build()), api.origin, {
      method: 'POST',
      body: 'x',
      headers: headers as Record<string, string>,
    });
    expect(text).toBe('accepted');
    expect(api.received[0]?.headers).toMatchObject({ 'x-a': '1', 'content-type': 'text/x' });
  });

  it.each([null, undefined, [], {}])('takes %j for no headers', async (headers) => {
    expect((await get(compose(build()), api.origin, { headers: headers as null })).text).toBe(
      'accepted',
    );
  });

  it('sends an empty value for null, as undici does', async () => {
    await get(compose(build()), api.origin, { headers: { 'x-a': null as unknown as string } });
    expect(api.received[0]).toMatchObject({ headers: { 'x-a': '' }, verdict: 'accepted' });
  });

  it('refuses a header given twice', async () => {
    const error = await failure(
      get(compose(build()), api.origin, { headers: ['x-a', '1', 'X-A', '2'] }),
    );
    expect(error.message).toBe(
      'Cannot sign header "x-a": it is given more than once, join its values',
    );
  });

  it.each<[string, () => unknown, string?]>([
    ['text', () => 'text', 'text'],
    ['a Buffer', () => Buffer.from('buffer'), 'buffer'],
    ['a Uint8Array', () => new TextEncoder().encode('bytes'), 'bytes'],
    ['a Blob', () => new Blob(['blob']), 'blob'],
    ['a FormData', () => Object.assign(new FormData())],
    ['a plain object', () => ({ a: 1 }), '{"a":1}'],
    ['null', () => null, ''],
    ['an empty string', () => '', ''],
  ])('sends %s', async (_what, make, expected) => {
    const { text } = await get(compose(build()), api.origin, {
      method: 'POST',
      body: make() as string,
    });
    expect(text).toBe('accepted');
    if (expected !== undefined) expect(api.received[0]?.body.toString()).toBe(expected);
  });

  it.each<[string, () => unknown]>([
    ['a Readable', () => Readable.from(['x'])],
    [
      'an async generator',
      async function* () {
        yield 'x';
      },
    ],
    [
      'a generator',
      function* () {
        yield 'x';
      },
    ],
  ])(
    'refuses %s through the promise, and sends it if its hash is declared',
    async (_what, make) => {
      const agent = compose(build());
      const error = await failure(
        get(agent, api.origin, { method: 'POST', body: make() as Readable }),
      );
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^Cannot sign a one-shot stream/);
      expect(api.received).toHaveLength(0);
      const headers = { 'x-countersign-content-sha256': sha256Hex('x') };
      expect(
        (await get(agent, api.origin, { method: 'POST', headers, body: make() as Readable })).text,
      ).toBe('accepted');
    },
  );

  it('lets fetch() with a dispatcher sign a request without a body, and names createFetch() if it has one', async () => {
    const dispatcher = compose(build());
    expect(await (await fetch(`${api.origin}/a?b`, { dispatcher })).text()).toBe('accepted');
    const error = await failure(fetch(api.origin, { dispatcher, method: 'POST', body: 'x' }));
    expect((error.cause as Error).message).toContain(
      'A fetch() with a dispatcher makes a stream of every body: use createFetch() in its place',
    );
  });

  it('signs what stream() sends, and an upgrade', async () => {
    const agent = compose(build());
    const chunks: Buffer[] = [];
    await agent.stream({ origin: api.origin, path: '/', method: 'GET' }, () => collect(chunks));
    expect(Buffer.concat(chunks).toString()).toBe('accepted');
  });
});

/** An Agent needs an origin here, which the types of undici lack. */
const upgrade = (dispatcher: Dispatcher, origin: string): Promise<Dispatcher.UpgradeData> =>
  dispatcher.upgrade({ origin, path: '/', protocol: 'test' } as Dispatcher.UpgradeOptions);

/** A server that, unlike `listen()`, echoes bodies and upgrades connections. */
async function openEcho(): Promise<{ origin: string; headers: Record<string, unknown>[] }> {
  const headers: Record<string, unknown>[] = [];
  const server = createServer((req, res) => {
    headers.push(req.headers);
    req.pipe(res);
  });
  server.on('upgrade', (req, socket) => {
    headers.push(req.headers);
    socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n');
  });
  const port = await new Promise<number>((resolve) =>
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)),
  );
  opened.push({ close: async () => void server.close().closeAllConnections() });
  return { origin: `http://127.0.0.1:${port}`, headers };
}

describe('signing() and other ways to dispatch', () => {
  it.each(['stream', 'pipeline', 'upgrade'])('leaves %s() alone for other origins', async (way) => {
    const echo = await openEcho();
    const agent = compose(build());
    const at = { origin: echo.origin, path: '/', method: 'POST' as const };
    if (way === 'stream') {
      const chunks: Buffer[] = [];
      await agent.stream({ ...at, body: Readable.from(['streamed']) }, () => collect(chunks));
      expect(Buffer.concat(chunks).toString()).toBe('streamed');
    } else if (way === 'pipeline') {
      const duplex = agent.pipeline(at, ({ body }) => body);
      duplex.end('piped');
      expect(await readText(duplex)).toBe('piped');
    } else {
      const { socket } = await upgrade(agent, echo.origin);
      socket.destroy();
    }
    expect(echo.headers).toHaveLength(1);
    expect(
      Object.keys(echo.headers[0] ?? {}).filter((name) => /countersign|authorization/.test(name)),
    ).toEqual([]);
  });

  it('signs an upgrade for its origins', async () => {
    const echo = await openEcho();
    const { socket } = await upgrade(compose(build({ origins: [echo.origin] })), echo.origin);
    socket.destroy();
    expect(echo.headers[0]).toMatchObject({
      upgrade: 'test',
      authorization: expect.stringMatching(/^COUNTERSIGN1/),
    });
  });

  it('refuses pipeline() for its origins: its body is a stream', async () => {
    const duplex = compose(build()).pipeline(
      { origin: api.origin, path: '/', method: 'POST' },
      ({ body }) => body,
    );
    duplex.end('piped');
    expect((await failure(readText(duplex))).message).toMatch(/^Cannot sign a one-shot stream/);
  });
});

describe('signing() and other interceptors', () => {
  const fast = { minTimeout: 1, maxTimeout: 1, timeoutFactor: 1 };
  const failTwice: Answer = ({ verdict }, res, count) => {
    if (count <= 2) res.statusCode = 503;
    res.end(verdict);
  };

  it('T11: signs every attempt again if retry() is outside', async () => {
    const server = await open(failTwice);
    const agent = compose(build({ origins: [server.origin] }), interceptors.retry(fast));
    expect(await get(agent, `${server.origin}/a`, { method: 'PUT', body: 'x' })).toMatchObject({
      statusCode: 200,
      text: 'accepted',
    });
    expect(verdicts(server)).toEqual(['accepted', 'accepted', 'accepted']);
    expect(new Set(nonces(server)).size).toBe(3);
  });

  it('replays one nonce if retry() is inside, which is documented as wrong', async () => {
    const server = await open(failTwice);
    const agent = compose(interceptors.retry(fast), build({ origins: [server.origin] }));
    expect(await get(agent, `${server.origin}/a`, { method: 'PUT', body: 'x' })).toMatchObject({
      statusCode: 200,
      text: 'ERR_NONCE_REUSED',
    });
    expect(verdicts(server)).toEqual(['accepted', 'ERR_NONCE_REUSED', 'ERR_NONCE_REUSED']);
    expect(new Set(nonces(server)).size).toBe(1);
  });

  it.each<[string, Partial<SigningOptions>, object]>([
    ['a stream', {}, { method: 'PUT', body: Readable.from(['x']) }],
    ['credentials that fail', { credentials: () => Promise.reject(new Error('vault sealed')) }, {}],
    [
      'credentials that fail with what is no Error',
      { credentials: () => Promise.reject(Object.assign(Object.create(null), { code: 'SEALED' })) },
      {},
    ],
    ['a header given twice', {}, { headers: ['a', '1', 'a', '2'] }],
  ])('is not tried again by retry() for %s', async (_what, options, init) => {
    let asked = 0;
    const counting: Dispatcher.DispatcherComposeInterceptor = (dispatch) => (opts, handler) => {
      asked += 1;
      return dispatch(opts, handler);
    };
    const agent = compose(build(options), counting, interceptors.retry(fast));
    const error = await failure(get(agent, api.origin, init));
    expect(error.code).toMatch(/^(?:ERR_\w+|UND_ERR_\w+|SEALED)$/);
    expect(asked).toBe(1);
  });

  it('is tried again by retry() if credentials failed for a moment', async () => {
    let asked = 0;
    const source = () =>
      ++asked === 1
        ? Promise.reject(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
        : credentials;
    expect(
      (await get(compose(build({ credentials: source }), interceptors.retry(fast)), api.origin))
        .text,
    ).toBe('accepted');
  });

  it.each([
    [301, 'POST', 'GET'],
    [302, 'POST', 'GET'],
    [303, 'PUT', 'GET'],
    [307, 'POST', 'POST'],
    [308, 'PUT', 'PUT'],
  ] as const)(
    'T11: signs again after a %d of a %s, if redirect() is outside',
    async (status, method, next) => {
      const server = await open(({ verdict }, res, count) => {
        if (count === 1) res.writeHead(status, { location: '/next?a=1' });
        res.end(verdict);
      });
      const agent = compose(
        build({ origins: [server.origin] }),
        interceptors.redirect({ maxRedirections: 3 }),
      );
      expect((await get(agent, server.origin, { method, body: 'x', query: { q: '1' } })).text).toBe(
        'accepted',
      );
      expect(server.received.map((it) => [it.method, it.url])).toEqual([
        [method, '/?q=1'],
        [next, '/next?a=1'],
      ]);
      expect(new Set(nonces(server)).size).toBe(2);
    },
  );

  it('T11: sends nothing signed to another origin, if redirect() is outside', async () => {
    const evil = await open();
    const server = await open(
      (_received, res) => void res.writeHead(307, { location: `${evil.origin}/stolen` }).end(),
    );
    const agent = compose(
      build({ origins: [server.origin] }),
      interceptors.redirect({ maxRedirections: 3 }),
    );
    expect((await get(agent, server.origin, { method: 'POST', body: 'x' })).text).toBe(
      'ERR_SIGNATURE_MISSING',
    );
    expect(verdicts(server)).toEqual(['accepted']);
    expect(String(evil.received[0]?.rawHeaders)).not.toMatch(/countersign|authorization/i);
  });

  it('tells of an interceptor that throws', async () => {
    const broken: Dispatcher.DispatcherComposeInterceptor = () => (_opts, _handler) => {
      throw new Error('broken interceptor');
    };
    expect((await failure(get(compose(broken, build()), api.origin))).message).toBe(
      'broken interceptor',
    );
  });
});

describe('signing() and epochs', () => {
  const refuseFirst =
    (times: number, epoch = 'epoch-1'): Answer =>
    ({ verdict }, res, count) => {
      if (count <= times) refuse(res, 'replay-unknown', { 'countersign-epoch': `${epoch}` });
      else res.end(verdict);
    };
  const epochs = (server: Loopback): unknown[] =>
    server.received.map(({ headers }) => headers['x-countersign-epoch']);

  it('signs again once with the epoch and a new nonce, and the handler never sees the first answer', async () => {
    const server = await open(refuseFirst(1));
    const statuses: number[] = [];
    const listening: Dispatcher.DispatcherComposeInterceptor = (dispatch) => (opts, handler) => {
      const onResponseStart: Dispatcher.DispatchHandler['onResponseStart'] = (
        controller,
        status,
        ...rest
      ) => {
        statuses.push(status);
        handler.onResponseStart?.(controller, status, ...rest);
      };
      return dispatch(opts, { ...forward(handler), onResponseStart });
    };
    const agent = compose(build({ origins: [server.origin] }), listening);
    expect((await get(agent, server.origin, { method: 'POST', body: 'x' })).text).toBe('accepted');
    expect(epochs(server)).toEqual([undefined, 'epoch-1']);
    expect(verdicts(server)).toEqual(['accepted', 'accepted']);
    expect(server.received.map(({ body }) => body.toString())).toEqual(['x', 'x']);
    expect(new Set(nonces(server)).size).toBe(2);
    expect(statuses).toEqual([200]);
  });

  it('does not wait for the end of an answer that asks for the epoch', async () => {
    const server = await open(({ verdict }, res, count) => {
      if (count > 1) return res.end(verdict);
      res.writeHead(401, {
        'www-authenticate': 'COUNTERSIGN1-HMAC-SHA256 realm="video-api", error="replay-unknown"',
      });
      return res.write('and so on');
    });
    const agent = compose(build({ origins: [server.origin] }));
    expect((await get(agent, server.origin, { method: 'POST', body: 'x' })).text).toBe('accepted');
    expect(server.received).toHaveLength(2);
  });

  it('signs again no more than once', async () => {
    const server = await open(refuseFirst(9));
    expect(await get(compose(build({ origins: [server.origin] })), server.origin)).toMatchObject({
      statusCode: 401,
      text: 'refused',
    });
    expect(server.received).toHaveLength(2);
  });

  it('does not send a stream again', async () => {
    const server = await open(refuseFirst(9));
    const init = {
      method: 'POST' as const,
      headers: { 'x-countersign-content-sha256': sha256Hex('x') },
    };
    for (const body of [Readable.from(['x']), ['x'].values()])
      await get(compose(build({ origins: [server.origin] })), server.origin, {
        ...init,
        body: body as Readable,
      });
    expect(server.received).toHaveLength(2);
  });

  it.each(['nonce-reused', 'clock-skew', 'signature-invalid'])(
    'does not try again by itself after %s',
    async (reason) => {
      const server = await open((_received, res) =>
        refuse(res, reason, { 'countersign-epoch': 'e' }),
      );
      expect(
        (await get(compose(build({ origins: [server.origin] })), server.origin)).statusCode,
      ).toBe(401);
      expect(server.received).toHaveLength(1);
    },
  );

  it('echoes the epoch from then on, to the origin that told it, unless it is none', async () => {
    const server = await open(
      ({ verdict }, res, count) =>
        void res
          .writeHead(200, { 'countersign-epoch': count === 2 ? 'no epoch' : `e${count}` })
          .end(verdict),
    );
    const agent = compose(build({ origins: [server.origin, api.origin] }));
    for (let call = 0; call < 3; call++) await get(agent, server.origin);
    await get(agent, api.origin);
    expect(epochs(server)).toEqual([undefined, 'e1', 'e1']);
    expect(epochs(api)).toEqual([undefined]);
  });

  it('takes the first of two epochs, and of two challenges', async () => {
    const server = await open(({ verdict }, res, count) => {
      if (count === 1)
        res.writeHead(401, {
          'www-authenticate': [
            'COUNTERSIGN1-HMAC-SHA256 realm="video-api", error="replay-unknown"',
            'Basic',
          ],
          'countersign-epoch': 'e1',
        });
      res.end(verdict);
    });
    expect((await get(compose(build({ origins: [server.origin] })), server.origin)).text).toBe(
      'accepted',
    );
  });

  it("succeeds in the first second of a store's life with two attempts, from then on with one", async () => {
    const store = new MemoryNonceStore({ clock, bornAt: NOW });
    const server = await open(
      ({ verdict }, res) => {
        if (verdict === 'ERR_NONCE_UNCERTAIN')
          refuse(res, 'replay-unknown', { 'countersign-epoch': store.epoch });
        else res.end(verdict);
      },
      buildVerifier({ nonces: store }),
    );
    const agent = compose(build({ origins: [server.origin] }));
    for (const expected of [2, 3, 4]) {
      expect((await get(agent, server.origin)).text).toBe('accepted');
      expect(server.received).toHaveLength(expected);
    }
  });

  it('fails if the second attempt cannot be signed', async () => {
    let asked = 0;
    const server = await open(refuseFirst(9));
    // Credentials are about to expire, so every attempt asks for new ones.
    const source = () => {
      if (++asked > 1) throw new Error('vault sealed');
      return { ...credentials, expiresAt: NOW };
    };
    expect(
      (
        await failure(
          get(compose(build({ origins: [server.origin], credentials: source })), server.origin),
        )
      ).message,
    ).toBe('vault sealed');
  });
});

/** Binds the methods of a handler, because a spread would lose those of its class. */
function forward(handler: Dispatcher.DispatchHandler): Dispatcher.DispatchHandler {
  return {
    onRequestStart: (...all) => handler.onRequestStart?.(...all),
    onResponseData: (...all) => handler.onResponseData?.(...all),
    onResponseEnd: (...all) => handler.onResponseEnd?.(...all),
    onResponseError: (...all) => handler.onResponseError?.(...all),
  };
}

describe('signing() and abort signals', () => {
  it('sends nothing if the signal is aborted', async () => {
    const error = await failure(
      get(compose(build()), api.origin, { signal: AbortSignal.abort(new Error('too late')) }),
    );
    expect(error.message).toBe('too late');
    expect(api.received).toHaveLength(0);
  });

  it('stops while credentials are asked for', async () => {
    const controller = new AbortController();
    const source = () => {
      controller.abort(new Error('changed my mind'));
      return credentials;
    };
    expect(
      (
        await failure(
          get(compose(build({ credentials: source })), api.origin, { signal: controller.signal }),
        )
      ).message,
    ).toBe('changed my mind');
    expect(api.received).toHaveLength(0);
  });

  it('stops between two attempts', async () => {
    const controller = new AbortController();
    const server = await open((_received, res) =>
      refuse(res, 'replay-unknown', { 'countersign-epoch': 'e' }),
    );
    let asked = 0;
    const source = () => {
      if (++asked === 2) controller.abort(new Error('changed my mind'));
      return { ...credentials, expiresAt: NOW };
    };
    const agent = compose(build({ origins: [server.origin], credentials: source }));
    expect((await failure(get(agent, server.origin, { signal: controller.signal }))).message).toBe(
      'changed my mind',
    );
    expect(server.received).toHaveLength(1);
  });

  it('stops while an answer is awaited', async () => {
    const controller = new AbortController();
    const server = await open(() => controller.abort(new Error('changed my mind')));
    expect(
      (
        await failure(
          get(compose(build({ origins: [server.origin] })), server.origin, {
            signal: controller.signal,
          }),
        )
      ).message,
    ).toBe('changed my mind');
  });

  it('fails as undici does if no server answers', async () => {
    const closed = await listen(buildVerifier());
    await closed.close();
    expect(
      await failure(get(compose(build({ origins: [closed.origin] })), closed.origin)),
    ).toMatchObject({ code: 'ECONNREFUSED' });
  });
});

describe('signing() and its options', () => {
  it.each<[string, unknown, string]>([
    ...wrongOrigins('signing'),
    [
      'origins',
      undefined,
      'Cannot build signing: option "origins" is undefined: expected a list such as ["https://api.example.com"]',
    ],
    ['otherOrigins', 'refuse', 'Cannot build signing: unknown option "otherOrigins"'],
    ['origin', 'https://api.test', 'Cannot build signing: unknown option "origin"'],
    ['audience', '', 'Cannot build signing: option "audience" is ""'],
    ['fetch', () => undefined, 'Cannot build signing: unknown option "fetch"'],
  ])('refuses the option %s with the value %j', (name, value, message) => {
    const make = (): unknown =>
      signing({
        credentials,
        audience,
        origins: ['https://api.test'],
        [name]: value,
      } as SigningOptions);
    expect(make).toThrow(
      expect.objectContaining({ name: 'TypeError', message: expect.stringContaining(message) }),
    );
  });

  it.each([undefined, null])('refuses %j for options', (options) => {
    expect(() => signing(options as unknown as SigningOptions)).toThrow(
      new TypeError(
        `Cannot build signing: expected { credentials, audience, origins }, got ${options}`,
      ),
    );
  });
});
