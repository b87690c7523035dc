import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http';
import {
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from 'node:http2';
import type { Server } from 'node:net';
import { requireCallback, requireSignature } from '@countersign/server/express';
import { withSignature as withFetchSignature } from '@countersign/server/fetch';
import { withCallback, withSignature } from '@countersign/server/node';
import { createAdaptorServer } from '@hono/node-server';
import express, {
  type ErrorRequestHandler,
  type Request as ExpressRequest,
  type RequestHandler,
} from 'express';
import express4 from 'express4';
import type { HandlerRun, HandlerRuns } from './handler-runs.ts';
import type { Message, Size } from './messages.ts';
import {
  callbackParty,
  type Delay,
  type Party,
  type SlowStore,
  signatureParty,
} from './parties.ts';
import {
  type ExpressReader,
  express4Readers,
  express5Readers,
  fetchReaders,
  type Reader,
  streamReaders,
} from './readers.ts';

export type BodyMode = 'buffer' | 'stream';

/**
 * `none` lets every request through at once. `naive` waits for the slow store, and does not look at
 * the request again.
 */
export type Guard = 'ours' | 'none' | 'naive';

/** How one server is set up. */
interface Setup {
  readonly guard: Guard;
  readonly body: BodyMode;
  readonly delay: Delay;
}

/** An adapter whose handler reads in one way. */
export interface Service {
  readonly adapter: string;
  readonly reader: string;
  /** The stores that the adapter asks. */
  readonly stores: readonly [first: Delay['store'], second: Delay['store']];
  /** Whether the reader is also tested with `body: 'stream'`. */
  readonly streams: boolean;
  readonly message: (size: Size) => Message;
  readonly open: (
    setup: Setup,
    slow: SlowStore,
    runs: HandlerRuns,
  ) => { readonly server: Server; readonly party: Party };
}

function expressServices(
  adapter: string,
  create: typeof express,
  readers: readonly ExpressReader[],
  what: 'signature' | 'callback',
): Service[] {
  return readers.map((reader) => ({
    adapter,
    reader: reader.name,
    stores: what === 'signature' ? ['nonces', 'keys'] : ['secrets', 'nonces'],
    streams: what === 'signature' && reader.streams,
    message: reader.message,
    open({ guard, body, delay }, slow, runs) {
      const [party, ours] = expressGuard(what, body, delay, slow);
      const guards: Record<Guard, RequestHandler> = {
        ours,
        none: (_req, _res, next) => next(),
        naive: (_req, _res, next) => void slow.answer(() => next()),
      };
      const app = create().use(guards[guard], expressHandler(reader, runs));
      return { party, server: createServer(app) };
    },
  }));
}

function expressGuard(
  what: 'signature' | 'callback',
  body: BodyMode,
  delay: Delay,
  slow: SlowStore,
): [Party, RequestHandler] {
  if (what === 'signature') {
    const party = signatureParty(delay, slow);
    return [party, requireSignature(party.verifier, { body })];
  }
  const party = callbackParty(delay, slow);
  return [party, requireCallback(party.verifier)];
}

function expressHandler(
  { parser, read }: ExpressReader,
  runs: HandlerRuns,
): (RequestHandler | ErrorRequestHandler)[] {
  const known = new WeakMap<ExpressRequest, HandlerRun>();
  const begin: RequestHandler = (req, _res, next) => {
    known.set(req, runs.begin());
    next();
  };
  const handle: RequestHandler = (req, res, next) => {
    Promise.resolve(read(req)).then((seen) => {
      known.get(req)?.read(seen);
      answer(res, 200, seen);
    }, next);
  };
  // Express tells an error handler by its four parameters.
  const fail: ErrorRequestHandler = (_error, req, res, _next) => {
    known.get(req)?.fail();
    answer(res, 500, '');
  };
  return [begin, ...(parser === undefined ? [] : [parser]), handle, fail];
}

type NodeRequest = IncomingMessage | Http2ServerRequest;
type NodeResponse = ServerResponse | Http2ServerResponse;
type NodeListener = (req: NodeRequest, res: NodeResponse) => void;

function nodeServices(
  adapter: string,
  what: 'signature' | 'callback',
  protocol: 'http1' | 'http2',
): Service[] {
  return streamReaders.map((reader) => ({
    adapter,
    reader: reader.name,
    stores: what === 'signature' ? ['nonces', 'keys'] : ['secrets', 'nonces'],
    streams: what === 'signature',
    message: reader.message,
    open({ guard, body, delay }, slow, runs) {
      const listener: NodeListener = (req, res) => {
        const run = runs.begin();
        Promise.resolve(reader.read(req)).then(
          (seen) => {
            run.read(seen);
            answer(res, 200, seen);
          },
          () => {
            run.fail();
            answer(res, 500, '');
          },
        );
      };
      const [party, ours] = nodeGuard(what, listener, body, delay, slow);
      const guards: Record<Guard, NodeListener> = {
        ours,
        none: listener,
        naive: (req, res) => void slow.answer(() => listener(req, res)),
      };
      const guarded = guards[guard];
      const server =
        protocol === 'http1'
          ? createServer(guarded as RequestListener)
          : createHttp2Server(guarded);
      return { party, server };
    },
  }));
}

function nodeGuard(
  what: 'signature' | 'callback',
  listener: NodeListener,
  body: BodyMode,
  delay: Delay,
  slow: SlowStore,
): [Party, NodeListener] {
  if (what === 'signature') {
    const party = signatureParty(delay, slow);
    return [party, withSignature<NodeRequest, NodeResponse>(listener, party.verifier, { body })];
  }
  const party = callbackParty(delay, slow);
  return [party, withCallback<NodeRequest, NodeResponse>(listener, party.verifier)];
}

function fetchServices(adapter: string): Service[] {
  return fetchReaders.map((reader: Reader<Request>) => ({
    adapter,
    reader: reader.name,
    stores: ['nonces', 'keys'],
    streams: true,
    message: reader.message,
    open({ guard, body, delay }, slow, runs) {
      const party = signatureParty(delay, slow);
      const handler = async (request: Request): Promise<Response> => {
        const run = runs.begin();
        try {
          const seen = await reader.read(request);
          run.read(seen);
          return new Response(seen, { headers: { 'content-length': String(seen.length) } });
        } catch {
          run.fail();
          return new Response(null, { status: 500 });
        }
      };
      const guards: Record<Guard, (request: Request) => Promise<Response>> = {
        ours: withFetchSignature(handler, party.verifier, { body }),
        none: handler,
        naive: async (request) => {
          await slow.answer(() => undefined);
          return handler(request);
        },
      };
      return { party, server: createAdaptorServer({ fetch: guards[guard] }) as Server };
    },
  }));
}

function answer(res: NodeResponse, status: number, text: string): void {
  // The guard may have answered already, because a streamed body was not the signed one.
  if (res.headersSent) return;
  res.statusCode = status;
  res.setHeader('content-length', Buffer.byteLength(text));
  res.end(text);
}

/** All adapters, each with all of its readers. */
export const services = {
  express5: expressServices('Express 5', express, express5Readers, 'signature'),
  express4: expressServices('Express 4', express4, express4Readers, 'signature'),
  callback5: expressServices('requireCallback()', express, express5Readers, 'callback'),
  node: nodeServices('node:http', 'signature', 'http1'),
  nodeCallback: nodeServices('withCallback()', 'callback', 'http1'),
  http2: nodeServices('node:http2', 'signature', 'http2'),
  fetch: fetchServices('fetch'),
} as const;
