import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { connect, createServer as createHttp2Server } from 'node:http2';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import type { Verifier, VerifierOptions } from '@countersign/server';
import { requireSignature } from '@countersign/server/express';
import { withSignature as withFetchSignature } from '@countersign/server/fetch';
import { withSignature } from '@countersign/server/node';
import {
  countersign,
  encodeUtf8,
  HeaderFields,
  type Scheme,
  signStreamedRequest,
} from '@countersign/shared';
import { createAdaptorServer } from '@hono/node-server';
import express from 'express';
import { plainScheme } from '../../../../../test/support/plain-scheme.ts';
import { turns } from '../hand-on-support.ts';
import { AUDIENCE, listenOn, NOW, type Parties, parties } from '../sockets.ts';

export const MODES = ['buffer', 'stream'] as const;
export type Mode = (typeof MODES)[number];

export const plain = plainScheme() as Scheme;

/** Verifies Countersign's own scheme and one that signs bodies in chunks. */
export function chunkParties(options: Partial<VerifierOptions> = {}): Parties {
  return parties({ schemes: [countersign(), plain], ...options });
}

/** A signed request whose body comes in chunks. */
export interface Sealed {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  /** Each chunk as it goes over the wire. The last one is the end. */
  readonly frames: Buffer[];
}

/** Signs a body. Each piece of it becomes a chunk. */
export async function seal(
  { key }: Pick<Parties, 'key'>,
  port: number,
  pieces: readonly (string | Uint8Array)[],
  { method = 'POST', path = '/videos', headers = {}, scheme = plain, signedAt = NOW } = {},
): Promise<Sealed> {
  const given = {
    host: `127.0.0.1:${port}`,
    'content-type': 'application/json',
    'content-encoding': 'plain-chunked',
    ...headers,
  };
  const raw = Object.entries(given).flat();
  const unsigned = { method, path, query: '', headers: new HeaderFields(raw) };
  const { accessKeyId, secretAccessKey } = key;
  const intent = { accessKeyId, audience: AUDIENCE, signedAt, nonce: 'AAAAAAAAAAAAAAAAAAAAAA' };
  async function* body() {
    for (const piece of pieces) yield typeof piece === 'string' ? encodeUtf8(piece) : piece;
  }
  const sign = (_: unknown, __: unknown, bytes: Uint8Array) =>
    createHmac('sha256', secretAccessKey).update(bytes).digest();
  const sealed = await signStreamedRequest(scheme, unsigned, intent, body(), sign);
  const frames: Buffer[] = [];
  for await (const frame of sealed.body) frames.push(Buffer.from(frame));
  return {
    method,
    path,
    headers: { ...given, ...Object.fromEntries(sealed.fields.headers) },
    frames,
  };
}

/** What a handler saw. */
interface Handled {
  /** All of the body, if it ended. */
  text: string | undefined;
  failure: unknown;
  readonly headers: IncomingHttpHeaders;
}

/** A server that reads each body to its end, and records what it saw. */
export interface ChunkServer {
  readonly port: number;
  readonly handled: Handled[];
}

type Handle = (headers: IncomingHttpHeaders, read: () => Promise<string>) => Promise<string>;
type Serve = (verifier: Verifier, options: object, handle: Handle) => unknown;

const readNode = (req: Readable) => (): Promise<string> => text(req);

/** Adapters by name. Each hands the body to the same handler. */
export const ADAPTERS: readonly [name: string, serve: Serve][] = [
  [
    'Express 5',
    (verifier, options, handle) => {
      const app = express();
      app.use(requireSignature(verifier, options), async (req, res) => {
        const answer = await handle(req.headers, readNode(req));
        res.send(answer);
      });
      app.use(((_error, _req, res, _next) => {
        if (!res.headersSent) res.sendStatus(500);
      }) as express.ErrorRequestHandler);
      return createServer(app);
    },
  ],
  [
    'node:http',
    (verifier, options, handle) =>
      createServer(
        withSignature(
          async (req, res) => {
            const answer = await handle(req.headers, readNode(req)).catch(() => undefined);
            if (answer !== undefined) res.end(answer);
          },
          verifier,
          options,
        ),
      ),
  ],
  [
    'node:http2',
    (verifier, options, handle) => {
      const listener = withSignature(
        async (req: IncomingMessage, res) => {
          const answer = await handle(req.headers, readNode(req)).catch(() => undefined);
          if (answer !== undefined) res.end(answer);
        },
        verifier,
        options,
      );
      return createHttp2Server(listener as never);
    },
  ],
  [
    'fetch',
    (verifier, options, handle) => {
      const fetch = withFetchSignature(
        async (request) => {
          const answer = handle(Object.fromEntries(request.headers), () => request.text());
          return new Response(await answer.catch(() => 'failed'));
        },
        verifier,
        options,
      );
      return createAdaptorServer({ fetch });
    },
  ],
];

export async function startServer(
  serve: Serve,
  verifier: Verifier,
  options: { readonly body?: Mode; readonly limit?: number } = {},
): Promise<ChunkServer> {
  const handled: Handled[] = [];
  const handle: Handle = async (headers, read) => {
    const note: Handled = { text: undefined, failure: undefined, headers };
    handled.push(note);
    try {
      note.text = await read();
      return `read ${note.text}`;
    } catch (error) {
      note.failure = error;
      throw error;
    }
  };
  const server = serve(verifier, options, handle) as ReturnType<typeof createServer>;
  const { port } = await listenOn(server, () => server.closeAllConnections?.());
  return { port, handled };
}

export type Delivery = 'at once' | 'in pieces';
export const DELIVERIES: readonly Delivery[] = ['at once', 'in pieces'];

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Sends frames, and returns the answer; `undefined` if there was none. */
export async function post(
  adapter: string,
  port: number,
  { method, path, headers, frames }: Sealed,
  { delivery = 'at once', length = true }: { delivery?: Delivery; length?: boolean } = {},
): Promise<Answer | undefined> {
  const total = Buffer.concat(frames);
  const further = length ? { 'content-length': String(total.length) } : {};
  if (adapter === 'node:http2') {
    const session = connect(`http://127.0.0.1:${port}`);
    session.on('error', () => undefined);
    const { host, ...rest } = headers;
    const pseudo = { ':method': method, ':path': path, ':authority': host };
    const stream = session.request({ ...pseudo, ...rest, ...further });
    stream.on('error', () => undefined);
    const answered = new Promise<Answer | undefined>((resolve) => {
      let answer: Answer | undefined;
      stream.once('response', ({ ':status': status = 0 }) => {
        answer = { status, body: '' };
      });
      stream.on('data', (chunk) => {
        if (answer !== undefined) answer = { ...answer, body: `${answer.body}${chunk}` };
      });
      stream.once('close', () => resolve(answer));
    });
    await deliver(stream, total, frames, delivery);
    const answer = await answered;
    session.destroy();
    return answer;
  }
  const req = request({
    port,
    host: '127.0.0.1',
    method,
    path,
    agent: false,
    headers: { ...headers, ...further },
  });
  req.setNoDelay(true);
  req.on('error', () => undefined);
  const answered = new Promise<Answer | undefined>((resolve) => {
    req.once('close', () => resolve(undefined));
    req.once('response', (res) => {
      const status = res.statusCode as number;
      text(res).then(
        (body) => resolve({ status, body }),
        () => resolve({ status, body: '' }),
      );
    });
  });
  await deliver(req, total, frames, delivery);
  return answered;
}

interface Sink {
  readonly destroyed: boolean;
  write(bytes: Uint8Array): boolean;
  end(bytes?: Uint8Array): unknown;
}

/** In pieces, the server sees each frame separately, and cut in two. */
async function deliver(
  sink: Sink,
  total: Buffer,
  frames: readonly Buffer[],
  delivery: Delivery,
): Promise<void> {
  if (delivery === 'at once') return void sink.end(total);
  for (const frame of frames) {
    const middle = frame.length >> 1;
    for (const piece of [frame.subarray(0, middle), frame.subarray(middle)]) {
      if (sink.destroyed) return;
      sink.write(piece);
      await turns(10);
    }
  }
  sink.end();
}
