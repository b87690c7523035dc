import { once } from 'node:events';
import { Agent, createServer, type RequestListener, request, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { createSigner, type SignedRequest, type Signer } from '@countersign/client';
import {
  type AccessKey,
  createVerifier,
  type Explanation,
  generateAccessKey,
  type Identity,
  MemoryKeyStore,
  MemoryNonceStore,
  SignatureError,
  type Verifier,
  type VerifierOptions,
} from '@countersign/server';
import { onTestFinished } from 'vitest';
import { within } from '../../../../test/support/deadline.ts';

/** The time of every test. No test here depends on the system's clock. */
export const NOW = 1_795_300_000;
export const AUDIENCE = 'video-api';

/** A verifier, a signer whose requests it accepts, and the refusals so far. */
export interface Parties {
  readonly key: AccessKey;
  readonly keys: MemoryKeyStore;
  readonly nonces: MemoryNonceStore;
  readonly verifier: Verifier;
  readonly signer: Signer;
  readonly refused: Explanation[];
}

export function parties(options: Partial<VerifierOptions> = {}): Parties {
  const clock = () => NOW;
  const key = generateAccessKey({ subject: 'alice', scopes: ['videos:parse', 'videos:list'] });
  const keys = new MemoryKeyStore([key], clock);
  // The store began long ago, so it can always rule out a replay.
  const nonces = new MemoryNonceStore({ clock, bornAt: 0 });
  const refused: Explanation[] = [];
  const onRefused = (explanation: Explanation) => void refused.push(explanation);
  const verifier = createVerifier({
    audience: AUDIENCE,
    keys,
    nonces,
    clock,
    onRefused,
    ...options,
  });
  const signer = createSigner({ credentials: key, audience: AUDIENCE, clock });
  return { key, keys, nonces, verifier, signer, refused };
}

/** A signer whose key the verifier does not know. */
export function stranger(): Signer {
  return createSigner({ credentials: generateAccessKey(), audience: AUDIENCE, clock: () => NOW });
}

export interface Listening {
  readonly origin: string;
  readonly port: number;
}

/** Starts a server on a free loopback port, until the test is over. */
export async function listen(
  given: RequestListener | Server,
): Promise<Listening & { readonly server: Server }> {
  const server = typeof given === 'function' ? createServer(given) : given;
  return { server, ...(await listenOn(server, () => server.closeAllConnections())) };
}

/** Does the same for other servers that can listen. */
export async function listenOn(
  server: { listen(port: number, host: string): unknown; address(): unknown; close(): unknown },
  closeAll: () => void,
) {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1');
    (server as Server).once('listening', resolve);
  });
  onTestFinished(() => {
    server.close();
    closeAll();
  });
  const { port } = server.address() as AddressInfo;
  return { port, origin: `http://127.0.0.1:${port}` };
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

export interface Sending {
  /** In bytes. The body is sent in pieces of this length; in one piece if not given. */
  readonly pieces?: number;
  readonly chunked?: boolean;
  readonly agent?: Agent;
  /** Sent in place of the signed body. */
  readonly body?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Sends a signed request with `node:http`. */
export async function send(
  signed: SignedRequest,
  { pieces, chunked, agent, body, headers }: Sending = {},
): Promise<Answer> {
  const bytes = Buffer.from(body ?? bodyOf(signed));
  const framing = chunked
    ? { 'transfer-encoding': 'chunked' }
    : { 'content-length': String(bytes.length) };
  const req = request(signed.url, {
    method: signed.method,
    agent: agent ?? false,
    headers: { ...signed.headers, ...framing, ...headers },
  });
  req.setNoDelay(true);
  const answered = once(req, 'response');
  // After an answer, the rest of the body does not matter.
  req.on('error', () => undefined);
  const piece = pieces ?? bytes.length;
  for (let at = 0; at < bytes.length; at += piece) {
    if (!req.write(bytes.subarray(at, at + piece)))
      await Promise.race([once(req, 'drain'), answered]);
  }
  req.end();
  const [res] = await answered;
  const parts: Buffer[] = [];
  for await (const part of res) parts.push(part as Buffer);
  return { status: res.statusCode, headers: res.headers, body: Buffer.concat(parts).toString() };
}

export function bodyOf(signed: SignedRequest): Uint8Array {
  return (signed.body as Uint8Array | undefined) ?? new Uint8Array();
}

/** An agent that keeps one connection. */
export function oneConnection(): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  return agent;
}

/** Everything before the body of a signed request, for sockets. */
export function headOf(
  signed: SignedRequest,
  further: Readonly<Record<string, string | number>> = {},
): string {
  const { host, pathname, search } = new URL(signed.url);
  const lines = Object.entries({ host, ...signed.headers, ...further }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  return `${signed.method} ${pathname}${search} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

/** A client that can write any bytes, and reads answers that have a `Content-Length`. */
export class RawClient {
  readonly socket: Socket;
  readonly #closed: Promise<void>;
  received = '';
  #wake: () => void = () => undefined;

  /** @param to a port of this machine, or a connection to one */
  constructor(to: number | Socket) {
    this.socket =
      typeof to === 'number' ? connect({ port: to, host: '127.0.0.1', noDelay: true }) : to;
    this.socket.setEncoding('latin1').on('data', (text: string) => {
      this.received += text;
      this.#wake();
    });
    this.socket.on('error', () => undefined);
    this.#closed = new Promise((resolve) => {
      this.socket.once('close', () => {
        this.#wake();
        resolve();
      });
    });
    onTestFinished(() => void this.socket.destroy());
  }

  /** Settles when the connection is closed or reset. */
  get closed(): Promise<void> {
    return within(this.#closed, 'the connection closes');
  }

  write(data: string | Uint8Array): boolean {
    return this.socket.write(data);
  }

  /** The next answer, interim ones included. */
  async answer(method = 'GET'): Promise<Answer> {
    for (;;) {
      const end = this.received.indexOf('\r\n\r\n');
      const [statusLine = '', ...lines] = this.received.slice(0, Math.max(0, end)).split('\r\n');
      const headers = Object.fromEntries(
        lines.map((line) => [
          line.slice(0, line.indexOf(':')).toLowerCase(),
          line.slice(line.indexOf(':') + 1).trim(),
        ]),
      );
      const length = method === 'HEAD' ? 0 : Number(headers['content-length'] ?? 0);
      if (end !== -1 && this.received.length >= end + 4 + length) {
        const body = this.received.slice(end + 4, end + 4 + length);
        this.received = this.received.slice(end + 4 + length);
        return { status: Number(statusLine.split(' ')[1]), headers, body };
      }
      if (this.socket.closed)
        throw new Error(
          `Cannot read an answer: the connection closed after ${JSON.stringify(this.received.slice(0, 200))}`,
        );
      const more = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await within(more, `an answer, after ${JSON.stringify(this.received.slice(0, 200))}`);
    }
  }
}

/** The answer of a broken verifier: no header can hold its epoch. */
export function unholdable(outcome: 'claimed' | 'replayed'): Identity {
  const epoch = 'a\nb';
  if (outcome === 'replayed') throw new SignatureError('ERR_NONCE_REUSED', 'again', { epoch });
  return {
    accessKeyId: 'x',
    subject: 'x',
    scopes: [],
    scheme: 'x',
    audience: AUDIENCE,
    signedAt: NOW,
    nonce: 'x',
    signedHeaders: [],
    host: 'x',
    bodySigned: true,
    reusable: false,
    epoch,
  };
}
