import { openAsBlob } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import {
  createFetch,
  createSigner,
  type SignableBody,
  SignatureError,
  type SignerOptions,
  sessionCredentials,
  type UnsignedRequest,
} from '@countersign/client';
import { countersign, sha256Hex } from '@countersign/shared';
import { FormData as UndiciFormData } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  audience,
  buildVerifier,
  clock,
  credentials,
  failure,
  judge,
  type Loopback,
  listen,
  NOW,
  transports,
} from '../support.ts';

const signer = createSigner({ credentials, audience, clock });
const encoder = new TextEncoder();
let server: Loopback;

beforeAll(async () => {
  server = await listen(buildVerifier());
});
afterAll(() => server.close());

const form = <F extends FormData | UndiciFormData>(empty: F): F => {
  empty.append('title', 'Ünï');
  empty.append('file', new File(['\u0000\u0001'], 'cat.bin', { type: 'application/x-cat' }));
  return empty;
};

/** Bodies, the Content-Type that each gets, and the bytes that must arrive, if they are known. */
const bodies: Record<
  string,
  { body: SignableBody; type?: string | RegExp; bytes?: string | Uint8Array }
> = {
  'a string': { body: 'hällo', type: 'text/plain;charset=UTF-8', bytes: 'hällo' },
  'an empty string': { body: '', type: 'text/plain;charset=UTF-8', bytes: '' },
  'a lone surrogate': { body: 'a\ud800', type: 'text/plain;charset=UTF-8', bytes: 'a\ufffd' },
  'a Uint8Array': { body: Uint8Array.of(0xff, 0, 0xfe), bytes: Uint8Array.of(0xff, 0, 0xfe) },
  'a view into a larger buffer': {
    body: new Uint8Array(Uint8Array.of(1, 2, 3, 4).buffer, 1, 2),
    bytes: Uint8Array.of(2, 3),
  },
  'a Buffer': { body: Buffer.from('a buffer'), bytes: 'a buffer' },
  'an ArrayBuffer': { body: Uint8Array.of(9, 8).buffer, bytes: Uint8Array.of(9, 8) },
  'a DataView': {
    body: new DataView(Uint8Array.of(1, 2, 3).buffer, 1),
    bytes: Uint8Array.of(2, 3),
  },
  'a Uint16Array': {
    body: Uint16Array.of(0x0102),
    bytes: new Uint8Array(Uint16Array.of(0x0102).buffer),
  },
  URLSearchParams: {
    body: new URLSearchParams({ q: 'a b+c' }),
    type: 'application/x-www-form-urlencoded;charset=UTF-8',
    bytes: 'q=a+b%2Bc',
  },
  FormData: { body: form(new FormData()), type: /^multipart\/form-data; boundary=/ },
  'the FormData of undici': {
    body: form(new UndiciFormData()) as unknown as FormData,
    type: /^multipart\/form-data; boundary=/,
  },
  'a Blob': {
    body: new Blob(['blob'], { type: 'image/x-icon' }),
    type: 'image/x-icon',
    bytes: 'blob',
  },
  'a Blob without a type': { body: new Blob(['blob']), bytes: 'blob' },
  'a File': {
    body: new File(['file'], 'a.txt', { type: 'text/plain' }),
    type: 'text/plain',
    bytes: 'file',
  },
  'a plain object': {
    body: { videoUrl: 'https://videos.test/1' },
    type: 'application/json',
    bytes: '{"videoUrl":"https://videos.test/1"}',
  },
  'an object without a prototype': {
    body: Object.assign(Object.create(null), { a: 1 }),
    type: 'application/json',
    bytes: '{"a":1}',
  },
  'an array': { body: [1, null, 'x'], type: 'application/json', bytes: '[1,null,"x"]' },
  'an object with names such as next and pipe': {
    body: { next: 'page2', pipe: 1, getReader: null },
    type: 'application/json',
    bytes: '{"next":"page2","pipe":1,"getReader":null}',
  },
  null: { body: null, bytes: '' },
  undefined: { body: undefined, bytes: '' },
};

describe.each(Object.entries(transports))('sign() for %s', (transport, send) => {
  it.each(Object.entries(bodies))(
    'signs %s, which arrives as it was and is accepted',
    async (_kind, { body, type, bytes }) => {
      const signed = await signer.sign({
        method: 'POST',
        url: `${server.origin}/upload?x=1`,
        body,
      });
      expect(await send(signed)).toBe('accepted');
      const received = server.received.at(-1);
      if (type === undefined) expect(received?.headers['content-type']).toBeUndefined();
      else if (typeof type === 'string') expect(received?.headers['content-type']).toBe(type);
      else {
        expect(received?.headers['content-type']).toMatch(type);
        const read = await new Response(received?.body, {
          headers: { 'content-type': String(received?.headers['content-type']) },
        }).formData();
        expect(read.get('title')).toBe('Ünï');
        expect((read.get('file') as File).name).toBe('cat.bin');
        expect(await (read.get('file') as File).text()).toBe('\u0000\u0001');
      }
      if (bytes !== undefined) expect(received?.body).toEqual(Buffer.from(bytes as string));
    },
  );

  it.each(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'PATCH', 'PUT'])(
    'signs %s without a body',
    async (method) => {
      const before = server.received.length;
      await send(await signer.sign({ method, url: `${server.origin}/a%20b/?q=%C3%A9&q=2&&c` }));
      expect(server.received.slice(before)).toMatchObject([
        { method, url: '/a%20b/?q=%C3%A9&q=2&&c', verdict: 'accepted' },
      ]);
    },
  );

  it('signs a host that the caller chose, which fetch does not send', async () => {
    const verdict = await send(
      await signer.sign({ method: 'POST', url: server.origin, headers: { Host: 'API.test:8443' } }),
    );
    expect(verdict).toBe(transport === 'fetch' ? 'ERR_SIGNATURE_MISMATCH' : 'accepted');
    expect(server.received.at(-1)?.headers.host === 'API.test:8443').toBe(transport !== 'fetch');
  });

  it('signs a file without reading it whole', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'countersign-client-'));
    await writeFile(join(folder, 'video.bin'), Buffer.alloc(300_000, 7));
    const body = await openAsBlob(join(folder, 'video.bin'));
    expect(await send(await signer.sign({ method: 'PUT', url: server.origin, body }))).toBe(
      'accepted',
    );
    expect(server.received.at(-1)?.body).toHaveLength(300_000);
    await rm(folder, { recursive: true });
  });

  it.each(['', 'no-store, \tno-cache', ' \t padded\t '])(
    'signs a header with the value %j',
    async (value) => {
      const further = createSigner({
        credentials,
        audience,
        clock,
        signedHeaders: ['Cache-Control'],
      });
      const signed = await further.sign({
        method: 'POST',
        url: server.origin,
        headers: { 'Cache-Control': value },
      });
      expect(signed.headers['authorization']).toContain('SignedHeaders=cache-control;host;');
      expect(await send(signed)).toBe('accepted');
    },
  );

  it('signs a body with a hash that the caller declares', async () => {
    const body = Buffer.from('known before');
    const signed = await signer.sign({
      method: 'POST',
      url: server.origin,
      headers: { 'X-Countersign-Content-Sha256': sha256Hex(body) },
      body,
    });
    expect(await send(signed)).toBe('accepted');
  });
});

const text = ['one', 'two'].map((it) => encoder.encode(it));
const declared = { 'x-countersign-content-sha256': sha256Hex('onetwo') };
const streams: Record<string, () => unknown> = {
  'a ReadableStream': () => ReadableStream.from(text),
  'a ReadableStream that is no iterable, as Safari has it': () => ({ getReader: () => undefined }),
  'a Node Readable': () => Readable.from(text),
  'an async generator': async function* () {
    yield* text;
  },
  'a generator': function* () {
    yield* text;
  },
  'an array iterator': () => text.values(),
  'an object that can be piped': () => ({ pipe: () => undefined }),
};

describe('sign() and streams', () => {
  it.each(Object.entries(streams))('refuses %s, saying what to do', async (_kind, open) => {
    const error = await failure(
      signer.sign({ method: 'POST', url: server.origin, body: open() as SignableBody }),
    );
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(
      'Cannot sign a one-shot stream: its hash must be known before its first byte is sent. Pass bytes, a Blob ' +
        '(fs.openAsBlob() for a file), or the SHA-256 of the stream in the header X-Countersign-Content-Sha256. ' +
        'A fetch() with a dispatcher makes a stream of every body: use createFetch() in its place',
    );
  });

  it.each(Object.entries(streams))(
    'gives %s back untouched if its hash is declared',
    async (_kind, open) => {
      const body = open() as SignableBody;
      const signed = await signer.sign({
        method: 'POST',
        url: server.origin,
        headers: declared,
        body,
      });
      expect(signed.body).toBe(body);
      expect(signed.headers['x-countersign-content-sha256']).toBe(
        declared['x-countersign-content-sha256'],
      );
    },
  );

  it.each([
    ['a ReadableStream', 'fetch'],
    ['a Node Readable', 'fetch'],
    ['an async generator', 'fetch'],
    ['a Node Readable', 'undici.request'],
    ['an async generator', 'undici.request'],
    ['a generator', 'undici.request'],
    ['a ReadableStream', 'node:http'],
    ['a Node Readable', 'node:http'],
    ['an async generator', 'node:http'],
    ['a generator', 'node:http'],
  ] as const)(
    'signs %s of a declared hash, which %s sends and the server accepts',
    async (kind, transport) => {
      const body = streams[kind]?.() as SignableBody;
      const signed = await signer.sign({
        method: 'POST',
        url: server.origin,
        headers: declared,
        body,
      });
      expect(await transports[transport](signed)).toBe('accepted');
      expect(server.received.at(-1)?.body.toString()).toBe('onetwo');
    },
  );

  it('signs what the caller declares, so that a server refuses a stream of other bytes', async () => {
    const signed = await signer.sign({
      method: 'POST',
      url: server.origin,
      headers: declared,
      body: Readable.from(text.slice(1)),
    });
    expect(await transports.fetch(signed)).toBe('ERR_BODY_MISMATCH');
  });

  it('signs a stream with UNSIGNED-PAYLOAD, for servers that accept that', async () => {
    const signed = await signer.sign({
      method: 'POST',
      url: 'https://api.test/',
      headers: { 'x-countersign-content-sha256': 'UNSIGNED-PAYLOAD' },
      body: Readable.from(text),
    });
    const received = {
      method: 'POST',
      url: '/',
      headers: { ...signed.headers, host: 'api.test' },
      body: 'whatever',
    };
    expect(await judge(buildVerifier(), received)).toBe('ERR_COMPONENT_NOT_COVERED');
    expect(
      await judge(buildVerifier({ unsignedPayload: 'accept-unsigned-bodies' }), received),
    ).toBe('accepted');
  });

  it.each(['abc', 'UNSIGNED', declared['x-countersign-content-sha256'].toUpperCase(), ''])(
    'refuses the declared hash %j',
    async (hash) => {
      const error = await failure(
        signer.sign({
          method: 'POST',
          url: server.origin,
          headers: { 'x-countersign-content-sha256': hash },
          body: 'x',
        }),
      );
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(
        /^Cannot sign body hash ".*": expected 64 characters of lower-case hex, or UNSIGNED-PAYLOAD$/,
      );
    },
  );
});

const circular: Record<string, unknown> = {};
circular['self'] = circular;

describe('sign() and bodies that are none', () => {
  it.each<[string, unknown, string]>([
    [
      'an instance of a class',
      new (class Video {
        url = 'secret-in-body';
      })(),
      'Cannot sign an instance of Video as a body',
    ],
    ['a Map', new Map(), 'Cannot sign an instance of Map as a body'],
    ['a Set', new Set(), 'Cannot sign an instance of Set as a body'],
    ['a Date', new Date(0), 'Cannot sign an instance of Date as a body'],
    ['a Promise', Promise.resolve('x'), 'Cannot sign an instance of Promise as a body'],
    ['a number', 5, 'Cannot sign a number as a body'],
    ['a boolean', false, 'Cannot sign a boolean as a body'],
    ['a bigint', 5n, 'Cannot sign a bigint as a body'],
    ['a symbol', Symbol('x'), 'Cannot sign a symbol as a body'],
    ['a function', () => 'x', 'Cannot sign a function as a body'],
    [
      'a circular object',
      circular,
      'Cannot sign this object as a body: it cannot be written as JSON',
    ],
    [
      'an object with a bigint',
      { size: 5n },
      'Cannot sign this object as a body: it cannot be written as JSON',
    ],
    [
      'a circular object without a prototype',
      Object.assign(Object.create(null), { circular }),
      'Cannot sign this object as a body: it cannot be written as JSON',
    ],
    [
      'an object whose toJSON() gives nothing',
      { toJSON: () => undefined },
      'Cannot sign this object as a body: its toJSON() gives nothing',
    ],
  ])('refuses %s with a TypeError, also if a hash is declared', async (_kind, body, message) => {
    for (const headers of [{}, declared]) {
      const error = await failure(
        signer.sign({ method: 'POST', url: server.origin, headers, body: body as SignableBody }),
      );
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toContain(message);
      expect(inspect(error, { depth: 9 })).not.toContain('secret-in-body');
    }
  });
});

/** Signs a request, and verifies it as a server at `host`. */
async function verdictOf(
  request: UnsignedRequest,
  host: string,
  options: Partial<SignerOptions> = {},
): Promise<string> {
  const { method, url, headers, body } = await createSigner({
    credentials,
    audience,
    clock,
    ...options,
  }).sign(request);
  const { pathname, search } = new URL(url);
  expect(url.endsWith(pathname + search)).toBe(true);
  return judge(buildVerifier(), {
    method,
    url: pathname + search,
    headers: [...Object.entries(headers), ['Host', host]],
    body: body as Uint8Array,
  });
}

describe('sign() and methods', () => {
  it.each([
    ['post', 'POST'],
    ['PoSt', 'POST'],
    ['patch', 'PATCH'],
    ['m-search', 'M-SEARCH'],
  ])('writes %s as %s, as all transports do or must', async (given, sent) => {
    expect((await signer.sign({ method: given, url: 'https://api.test/' })).method).toBe(sent);
    expect(await verdictOf({ method: given, url: 'https://api.test/' }, 'api.test')).toBe(
      'accepted',
    );
  });

  it.each([
    undefined,
    null,
    5,
    '',
    'GE T',
    'GET\n/admin',
    'gé',
    'ß',
    'GET '.repeat(9),
    'A'.repeat(33),
  ])('refuses the method %j', async (method) => {
    const error = await failure(
      signer.sign({ method: method as string, url: 'https://api.test/' }),
    );
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^Cannot sign method ".*": expected one such as "POST"$/);
  });
});

describe('sign() and URLs', () => {
  it.each([
    ['https://api.test', 'api.test', 'https://api.test/'],
    ['https://api.test/a?', 'api.test', 'https://api.test/a'],
    ['https://api.test/a??', 'api.test', 'https://api.test/a??'],
    ['https://api.test/a?b=1#fragment', 'api.test', 'https://api.test/a?b=1'],
    ['https://api.test/a#', 'api.test', 'https://api.test/a'],
    ['https://api.test/a/./b/../c', 'api.test', 'https://api.test/a/c'],
    ['https://api.test/a/%2e%2E/c', 'api.test', 'https://api.test/c'],
    ['https://api.test\\a\\b', 'api.test', 'https://api.test/a/b'],
    [
      'https://api.test/a b/é?q=ü ö&q=[1]|^',
      'api.test',
      'https://api.test/a%20b/%C3%A9?q=%C3%BC%20%C3%B6&q=[1]|^',
    ],
    ['https://api.test/e\u0301', 'api.test', 'https://api.test/e%CC%81'],
    ['https://API.Test:443/A', 'api.test', 'https://api.test/A'],
    ['http://api.test:80/', 'api.test', 'http://api.test/'],
    ['https://api.test:8443/', 'api.test:8443', 'https://api.test:8443/'],
    ['https://bücher.test/', 'xn--bcher-kva.test', 'https://xn--bcher-kva.test/'],
    ['http://[::1]:8080/', '[::1]:8080', 'http://[::1]:8080/'],
    ['http://[0:0:0:0:0:0:0:1]/', '[::1]', 'http://[::1]/'],
    ['http://127.1/', '127.0.0.1', 'http://127.0.0.1/'],
    ['  https://api.test/\t', 'api.test', 'https://api.test/'],
    ['https://api.test/a//b', 'api.test', 'https://api.test/a//b'],
    ['https://api.test/%7Euser/a+b?x=%2B+', 'api.test', 'https://api.test/%7Euser/a+b?x=%2B+'],
  ])('signs %j as every transport sends it', async (url, host, sent) => {
    for (const form of [url, new URL(url)]) {
      expect((await signer.sign({ method: 'GET', url: form })).url).toBe(sent);
      expect(await verdictOf({ method: 'GET', url: form }, host)).toBe('accepted');
    }
  });

  it.each([
    ['https://api.test//evil.test/', /starts with "\/\/"/],
    ['https://api.test/%zz', /malformed/],
    ['https://api.test/%', /malformed/],
    ['https://api.test/?q=%ff', /not UTF-8/],
    ['https://api.test/a%00', /NUL/],
    [`https://api.test/${'a'.repeat(16_384)}`, /16384 are allowed/],
    ['https://api.test./', /Cannot sign host "api.test."/],
  ])('refuses %.60s, as every server does', async (url, message) => {
    const error = await failure(signer.sign({ method: 'GET', url }));
    expect(error).toBeInstanceOf(SignatureError);
    expect(error.code).toBe('ERR_TARGET_AMBIGUOUS');
    expect(error.message).toMatch(message);
  });

  it.each([
    undefined,
    null,
    5,
    '',
    '/relative',
    'api.test/x',
    'ftp://api.test/',
    'data:,x',
    'blob:https://api.test/1',
    'https://',
  ])('refuses the URL %j', async (url) => {
    const error = await failure(signer.sign({ method: 'GET', url: url as string }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(
      `Cannot sign URL ${JSON.stringify(String(url))}: expected an absolute http or https URL`,
    );
  });

  it.each([
    'https://user:p4ssw0rd@api.test/',
    'https://user@api.test/',
    'ftp://:p4ssw0rd@api.test/',
  ])('refuses credentials in %s without telling them', async (url) => {
    const error = await failure(signer.sign({ method: 'GET', url }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(
      'Cannot sign a URL with credentials in it, for "api.test": an Authorization header cannot hold both',
    );
  });
});

describe('sign() and headers', () => {
  it.each([
    ['a Headers', new Headers({ 'Content-Type': 'text/x', 'X-Other': 'o' })],
    [
      'pairs',
      [
        ['Content-Type', 'text/x'],
        ['X-Other', 'o'],
      ] as const,
    ],
    ['a record', { 'Content-Type': 'text/x', 'X-Other': 'o', 'X-Absent': undefined }],
    ['a record of lists', { 'Content-Type': ['text/x'], 'X-Other': ['o'], 'X-None': [] }],
    ['a flat list', ['Content-Type', 'text/x', 'X-Other', 'o']],
    [
      'a Map',
      new Map([
        ['Content-Type', 'text/x'],
        ['X-Other', 'o'],
      ]),
    ],
  ])('takes %s', async (_form, headers) => {
    const signed = await signer.sign({
      method: 'POST',
      url: 'https://api.test/',
      headers,
      body: 'x',
    });
    expect(signed.headers).toMatchObject({ 'content-type': 'text/x', 'x-other': 'o' });
    expect(
      await verdictOf({ method: 'POST', url: 'https://api.test/', headers, body: 'x' }, 'api.test'),
    ).toBe('accepted');
  });

  it('gives back what was given, by lower-case name, and its own', async () => {
    const headers = { Accept: 'x', Authorization: 'Bearer old', ['__proto__']: 'y' };
    const signed = await signer.sign({
      method: 'GET',
      url: 'https://api.test/',
      headers,
      epoch: 'e1',
    });
    expect(Object.keys(signed.headers)).toEqual([
      'accept',
      'authorization',
      '__proto__',
      'x-countersign-date',
      'x-countersign-nonce',
      'x-countersign-content-sha256',
      'x-countersign-epoch',
    ]);
    expect(signed.headers['accept']).toBe('x');
    expect(signed.headers['authorization']).toMatch(/^COUNTERSIGN1-HMAC-SHA256 Credential=/);
  });

  it('signs content-type, content-encoding, a method override, and all that are its own', async () => {
    const headers = {
      'content-encoding': 'gzip',
      'x-http-method-override': 'PUT',
      'x-countersign-note': 'n',
      'x-other': 'o',
    };
    const signed = await signer.sign({
      method: 'POST',
      url: 'https://api.test/',
      headers,
      body: 'x',
    });
    expect(signed.headers['authorization']).toContain(
      'SignedHeaders=content-encoding;content-type;host;x-countersign-content-sha256;x-countersign-date;x-countersign-nonce;x-countersign-note;x-http-method-override,',
    );
    expect(
      await verdictOf({ method: 'POST', url: 'https://api.test/', headers, body: 'x' }, 'api.test'),
    ).toBe('accepted');
  });

  it.each([
    [
      'pairs',
      [
        ['X-A', '1'],
        ['x-a', '2'],
      ] as const,
    ],
    ['a list of values', { 'X-A': ['1', '2'] }],
    ['two cases', { 'X-A': '1', 'x-a': '2' }],
  ])('refuses a header given twice, in %s', async (_form, headers) => {
    const error = await failure(signer.sign({ method: 'GET', url: 'https://api.test/', headers }));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(
      'Cannot sign header "x-a": it is given more than once, join its values',
    );
  });

  it.each(['a\r\nx-evil: 1', 'a\nb', 'a\rb', 'a\0b'])(
    'refuses the value %j of any header',
    async (value) => {
      for (const name of ['x-other', 'content-type']) {
        const error = await failure(
          signer.sign({ method: 'GET', url: 'https://api.test/', headers: { [name]: value } }),
        );
        expect(error).toBeInstanceOf(TypeError);
        expect(error.message).toBe(`Cannot sign header "${name}": its value holds a line break`);
      }
    },
  );

  it.each(['é', '\u00a0', '\u2028', 'a\u0007'])('refuses to sign the value %j', async (value) => {
    const error = await failure(
      signer.sign({ method: 'GET', url: 'https://api.test/', headers: { 'content-type': value } }),
    );
    expect(error).toMatchObject({ name: 'SignatureError', code: 'ERR_SIGNATURE_MALFORMED' });
    expect(error.message).toContain('Cannot sign header "content-type"');
  });

  it('passes on a value beyond ASCII that is not signed', async () => {
    expect(
      await verdictOf(
        { method: 'GET', url: 'https://api.test/', headers: { 'x-other': 'é' } },
        'api.test',
      ),
    ).toBe('accepted');
  });

  it.each(['x y', 'x:', '', 'é', 'x\ny'].map((name) => [name]))(
    'refuses the header name %j',
    async (name) => {
      const error = await failure(
        signer.sign({ method: 'GET', url: 'https://api.test/', headers: { [name]: 'x' } }),
      );
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe(
        `Cannot sign header ${JSON.stringify(name)}: its name is not a token`,
      );
    },
  );

  it.each([5, 'a: b', null, true])('refuses %j for headers', async (headers) => {
    const error = await failure(
      signer.sign({
        method: 'GET',
        url: 'https://api.test/',
        headers: headers as unknown as Headers,
      }),
    );
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toBe(
      `Cannot sign headers "${headers}": expected a Headers, pairs or a record`,
    );
  });

  it('refuses a header value that is not text', async () => {
    const error = await failure(
      signer.sign({
        method: 'GET',
        url: 'https://api.test/',
        headers: { 'x-a': 5 as unknown as string },
      }),
    );
    expect(error.message).toBe('Cannot read header "x-a": expected text, got number');
  });

  it.each(['a/b', 'a.test:0', 'a.test.', '', 'a b', 'a.test:080'])(
    'refuses the host %j',
    async (host) => {
      const error = await failure(
        signer.sign({ method: 'GET', url: 'https://api.test/', headers: { host } }),
      );
      expect(error).toMatchObject({ code: 'ERR_TARGET_AMBIGUOUS' });
    },
  );
});

describe('sign()', () => {
  it('gives the same for the same clock, nonce and credentials', async () => {
    const fixed = createSigner({
      credentials,
      audience,
      clock,
      nonce: () => 'q83vASNFZ4mrze8BI0VniQ',
    });
    const signed = await fixed.sign({
      method: 'POST',
      url: 'https://api.example.com/VideoParser/?lang=en',
      body: { videoUrl: 'https://videos.example.net/cats.mp4' },
    });
    // The worked example of docs/wire-format.md.
    expect(signed.headers['authorization']).toMatch(
      /, Signature=5b4310c27dc58598184be292bd81144bfb8b142992d8f1708025ec77bba6510f$/,
    );
  });

  it('never gives one signature twice, and mutates nothing', async () => {
    const request = Object.freeze({
      method: 'POST',
      url: 'https://api.test/',
      headers: Object.freeze({ a: 'b' }),
      body: Object.freeze({ c: 1 }),
    });
    const signed = await Promise.all(Array.from({ length: 600 }, () => signer.sign(request)));
    expect(new Set(signed.map(({ headers }) => headers['x-countersign-nonce'])).size).toBe(600);
    expect(new Set(signed.map(({ headers }) => headers['authorization'])).size).toBe(600);
  });

  it('dates with the whole second of the clock that it was given', async () => {
    const early = createSigner({ credentials, audience, clock: () => NOW + 0.999 });
    expect(
      (await early.sign({ method: 'GET', url: 'https://api.test/' })).headers['x-countersign-date'],
    ).toBe('20261121T222526Z');
  });

  it('dates with the clock of the system if none is given', async () => {
    const verifier = buildVerifier({ clock: () => Date.now() / 1000 });
    const { headers } = await createSigner({ credentials, audience }).sign({
      method: 'GET',
      url: 'https://api.test/',
    });
    expect(
      await judge(verifier, { method: 'GET', url: '/', headers: { ...headers, host: 'api.test' } }),
    ).toBe('accepted');
  });

  it.each([Number.NaN, -1, Number.POSITIVE_INFINITY, NOW * 1000, undefined])(
    'refuses a clock that says %j',
    async (wrong) => {
      let now = wrong as number;
      const build = () => createSigner({ credentials, audience, clock: () => now });
      expect(build).toThrow(
        new TypeError(
          `Cannot build signer: option "clock" is of type function: expected a function that returns Unix seconds; what it returned is ${wrong}`,
        ),
      );
      now = NOW;
      const signer = build();
      now = wrong as number;
      const signed = signer.sign({ method: 'GET', url: 'https://api.test/' });
      expect(await failure(signed)).toEqual(
        new TypeError(
          `Cannot tell the time: what the clock returned is ${wrong}, expected Unix seconds`,
        ),
      );
    },
  );

  it.each(['', 'short', 'q83vASNFZ4mrze8BI0Vni\n', `${'q'.repeat(22)}q`, undefined, 5])(
    'refuses the nonce %j',
    async (nonce) => {
      const error = await failure(
        createSigner({ credentials, audience, clock, nonce: () => nonce as string }).sign({
          method: 'GET',
          url: 'https://api.test/',
        }),
      );
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(
        /^Cannot sign with nonce ".*": expected 22 characters of base64url$/,
      );
    },
  );

  it.each(['', 'a b', 'é', 'a'.repeat(65), 5, null])('refuses the epoch %j', async (epoch) => {
    const error = await failure(
      signer.sign({ method: 'GET', url: 'https://api.test/', epoch: epoch as string }),
    );
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(
      /^Cannot sign with epoch ".*": expected 1 to 64 characters of base64url$/,
    );
  });

  it('fails with what the scheme throws', async () => {
    const scheme = {
      ...countersign(),
      prepare: () => {
        throw new Error('no such scheme');
      },
    };
    const broken = createSigner({
      credentials,
      audience,
      clock,
      scheme: scheme as unknown as NonNullable<SignerOptions['scheme']>,
    });
    expect((await failure(broken.sign({ method: 'GET', url: 'https://api.test/' }))).message).toBe(
      'no such scheme',
    );
  });
});

describe('createSigner()', () => {
  it.each([
    [undefined, 'undefined'],
    [null, 'null'],
    ['mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA', 'string'],
    [5, 'number'],
    [[], 'array'],
  ])('refuses %j for options, and does not show it', async (options, kind) => {
    const given = options as never;
    const expected = `expected { credentials, audience }, got ${kind}`;
    expect(() => createSigner(given)).toThrow(new TypeError(`Cannot build signer: ${expected}`));
    expect(() => createFetch(given)).toThrow(new TypeError(`Cannot build fetch: ${expected}`));
    expect(() => sessionCredentials(given)).toThrow(
      new TypeError(
        `Cannot build session credentials: expected { url, credentials, audience }, got ${kind}`,
      ),
    );
    const signer = createSigner({ credentials, audience });
    expect(await failure(signer.sign(given))).toEqual(
      new TypeError(`Cannot sign: expected { method, url }, got ${kind}`),
    );
    expect(await failure(signer.presign(given))).toEqual(
      new TypeError(`Cannot presign: expected { url, expiresIn }, got ${kind}`),
    );
  });

  it.each<[string, unknown, string]>([
    ['url', undefined, 'option "url" is undefined: expected an absolute URL'],
    ['url', '/session', 'option "url" is "/session": expected an absolute URL'],
    ['scopes', 'admin', 'option "scopes" is "admin": expected a list of names'],
    ['scopes', [5], 'option "scopes" is of type array: expected a list of names'],
    ['ttl', '60', 'option "ttl" is "60": expected seconds, at least 1'],
    ['ttl', 0, 'option "ttl" is 0: expected seconds, at least 1'],
    ['timeout', Number.NaN, 'option "timeout" is NaN: expected up to 600 seconds'],
    ['transport', true, 'option "transport" is true: expected "tls" or "allow-plain-http"'],
    ['origins', ['https://api.test'], 'unknown option "origins"'],
    ['otherOrigins', 'send-unsigned', 'unknown option "otherOrigins"'],
  ])('of session credentials refuses the option %s with the value %j', (name, value, message) =>
    expect(() =>
      sessionCredentials({
        credentials,
        audience,
        url: 'https://api.test/',
        [name]: value,
      } as never),
    ).toThrow(new TypeError(`Cannot build session credentials: ${message}`)),
  );

  it.each<[keyof SignerOptions | 'origin', unknown, string]>([
    ['audience', undefined, 'option "audience" is undefined: expected the name of a service'],
    ['audience', 'a/b', 'option "audience" is "a/b"'],
    ['audience', '', 'option "audience" is ""'],
    ['audience', 5, 'option "audience" is 5'],
    [
      'scheme',
      'countersign',
      'option "scheme" is "countersign": expected a scheme such as countersign()',
    ],
    ['scheme', null, 'option "scheme" is null'],
    ['clock', 5, 'option "clock" is 5: expected a function that returns Unix seconds'],
    ['nonce', 'x', 'option "nonce" is "x": expected a function that returns a new nonce'],
    ['signedHeaders', 'date', 'option "signedHeaders" is "date": expected names of headers'],
    ['signedHeaders', [5], 'option "signedHeaders.0" is 5: expected the name of a header'],
    ['origin', ['https://api.test'], 'unknown option "origin"'],
  ])('refuses the option %s with the value %j', (name, value, message) => {
    const build = (): unknown =>
      createSigner({ credentials, audience, [name]: value } as SignerOptions);
    expect(build).toThrow(
      expect.objectContaining({
        name: 'TypeError',
        message: expect.stringContaining(`Cannot build signer: ${message}`),
      }),
    );
  });
});
