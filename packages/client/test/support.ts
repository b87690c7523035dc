import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import type { SignedRequest } from '@countersign/client';
import {
  createVerifier,
  MemoryKeyStore,
  MemoryNonceStore,
  SignatureError,
  type Verifier,
  type VerifierOptions,
} from '@countersign/server';
import { request } from 'undici';
import { within } from '../../../test/support/deadline.ts';

export const audience = 'video-api';

export const credentials = {
  accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
  secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA',
};

/** 2026-11-21 22:25:26 UTC: the time of every test, unless the test moves its clock. */
export const NOW = 1_795_299_926;

export const clock = (): number => NOW;

/**
 * A verifier that knows the one key, and whose nonce store has always existed. It ignores epochs;
 * tests set those themselves.
 */
export function buildVerifier(options: Partial<VerifierOptions> = {}): Verifier {
  const time = options.clock ?? clock;
  const store = new MemoryNonceStore({ clock: time, bornAt: 0 });
  const key = { ...credentials, subject: 'alice', scopes: [], status: 'active' } as const;
  return createVerifier({
    audience,
    keys: new MemoryKeyStore([key], time),
    nonces: { claim: (claim) => store.claim({ ...claim, epoch: undefined }) },
    clock,
    ...options,
  });
}

/** A request as a server saw it, and the verdict of its verifier. */
export interface Received {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  readonly verdict: string;
}

export interface Loopback {
  readonly origin: string;
  readonly received: Received[];
  close(): Promise<void>;
}

/**
 * Starts a server that verifies every request. It answers with the verdict if no `answer` is given.
 */
export async function listen(
  verifier: Verifier,
  answer: (received: Received, res: ServerResponse, count: number) => void = ({ verdict }, res) =>
    void res.end(verdict),
): Promise<Loopback> {
  const received: Received[] = [];
  const server = createServer((req, res) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of req) chunks.push(chunk as Buffer);
      const body = Buffer.concat(chunks);
      const { method = '', url = '', rawHeaders, headers } = req;
      const verdict = await judge(verifier, { method, url, headers: rawHeaders, body });
      const entry = { method, url, rawHeaders, headers, body, verdict };
      received.push(entry);
      answer(entry, res, received.length);
    })();
  });
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
  return {
    origin: `http://127.0.0.1:${port}`,
    received,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Verifies a request: gives "accepted", or the code of the refusal. */
export async function judge(
  verifier: Verifier,
  received: Parameters<Verifier['verify']>[0],
): Promise<string> {
  try {
    await verifier.verify(received);
    return 'accepted';
  } catch (error) {
    if (error instanceof SignatureError) return error.code;
    throw error;
  }
}

/** Three ways to send a signed request, exactly as it is. Each gives the text of the answer. */
export const transports: Record<
  'fetch' | 'undici.request' | 'node:http',
  (signed: SignedRequest) => Promise<string>
> = {
  async fetch({ url, ...init }) {
    const response = await fetch(url, { ...init, duplex: 'half' } as RequestInit);
    return response.text();
  },
  async 'undici.request'({ url, method, headers, body }) {
    const response = await request(url, {
      method,
      headers,
      body: (body ?? null) as Uint8Array | null,
    });
    return response.body.text();
  },
  'node:http'({ url, method, headers, body }) {
    return new Promise((resolve, reject) => {
      const req = httpRequest(url, { method, headers }, (res) => {
        let text = '';
        res.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        res.on('end', () => resolve(text));
      });
      req.on('error', reject);
      if (body === undefined || body instanceof Uint8Array) req.end(body);
      else
        Readable.from(
          (body instanceof Blob ? body.stream() : body) as AsyncIterable<Uint8Array>,
        ).pipe(req);
    });
  },
};

/** Waits for a promise that must reject, and gives the error. */
export async function failure(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  const nothing = Symbol('nothing');
  const settled = promise.then(
    () => nothing,
    (error: unknown) => error,
  );
  const outcome = await within(settled, 'the failure that a test expects');
  if (outcome === nothing) throw new Error('Expected a failure');
  return outcome as Error & { code?: string };
}

/** Values of the option `origins` that are refused: name, value, message. */
export function wrongOrigins(what: 'fetch' | 'signing'): [string, unknown, string][] {
  const is = (name: string, value: string, expected: string): string =>
    `Cannot build ${what}: option "${name}" is ${value}: expected ${expected}`;
  const list = 'a list such as ["https://api.example.com"]';
  const plain = (origin: string): string => `scheme, host and port only, such as "${origin}"`;
  const example = plain('https://api.example.com');
  const first = (value: unknown, shown: string, expected = example): [string, unknown, string] => [
    'origins',
    [value],
    is('origins.0', shown, expected),
  ];
  return [
    ['origins', null, is('origins', 'null', list)],
    ['origins', 'https://api.test', is('origins', '"https://api.test"', list)],
    ['origins', [], is('origins', 'an empty list', list)],
    ['origins', ['https://api.test', undefined], is('origins.1', 'undefined', example)],
    // A list with a hole.
    ['origins', new Array(1), is('origins.0', 'undefined', example)],
    first(undefined, 'undefined'),
    first(null, 'null'),
    first('', '""'),
    first(5, '5'),
    first('null', '"null"'),
    first('*', '"*"'),
    first('api.test', '"api.test"'),
    first('//api.test', '"//api.test"'),
    first('https://*.api.test', '"https://*.api.test"'),
    first('https://a.test,b.test', '"https://a.test,b.test"'),
    first('https://api.test https://b.test', '"https://api.test https://b.test"'),
    first('ftp://api.test', '"ftp://api.test"'),
    first('wss://api.test', '"wss://api.test"'),
    first('data:,x', '"data:,x"'),
    first('https://api.test/', '"https://api.test/"', plain('https://api.test')),
    first('https://api.test/v1?x#y', '"https://api.test/v1?x#y"', plain('https://api.test')),
    first('https://API.test', '"https://API.test"', plain('https://api.test')),
    first('https://api.test:443', '"https://api.test:443"', plain('https://api.test')),
    first(' https://api.test', '" https://api.test"', plain('https://api.test')),
    first('https://a:hunter2@api.test', 'a URL with a user name', plain('https://api.test')),
    first(new URL('https://api.test'), 'of type object'),
    first(['https://api.test'], 'of type array'),
  ];
}
