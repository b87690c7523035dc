import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { within } from '../../../../../test/support/deadline.ts';

export const SECRET = 'whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH';
export const OTHER_SECRET = 'whsec_bm90IGEgc2VjcmV0IGF0IGFsbCwgYnV0IGxvbmc=';

/** The options for receivers on loopback. */
export const LOOPBACK = {
  http: 'allow-plain-http',
  privateAddresses: 'allow-private-addresses',
} as const;

/** A promise, and a function that resolves it from outside. */
export function deferred<T = void>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const settled = new Promise<T>((it) => {
    resolve = it;
  });
  const promise = within(settled, 'what the test waits for happens');
  // A test does not have to wait for it.
  promise.catch(() => undefined);
  return { promise, resolve };
}

export interface Received {
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  readonly target: string;
}

export interface Receiver {
  readonly url: string;
  readonly port: number;
  readonly received: Received[];
  /** Resolves when the given number of requests has arrived in all. */
  got(count: number): Promise<void>;
}

/** A receiver that runs until the test is over, and answers 204 if the test says nothing else. */
export async function startReceiver(
  answer: (request: Received, res: ServerResponse, count: number) => unknown = (_request, res) =>
    res.writeHead(204).end(),
  host = '127.0.0.1',
  onPort = 0,
): Promise<Receiver> {
  const received: Received[] = [];
  const waiting: { count: number; resolve: (value: undefined) => void }[] = [];
  const server = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    const request = {
      headers: req.headers,
      body: Buffer.concat(chunks),
      target: req.url as string,
    };
    received.push(request);
    answer(request, res, received.length);
    for (const { count, resolve } of waiting) if (received.length >= count) resolve(undefined);
  }).listen(onPort, host);
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${host}:${port}/callbacks`,
    port,
    received,
    got(count) {
      const { promise, resolve } = deferred();
      if (received.length >= count) resolve(undefined);
      else waiting.push({ count, resolve });
      return promise;
    },
  };
}
