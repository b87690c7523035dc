import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Agent } from 'undici';
import { type Answer, type Call, type Client, type Contact, piecesOf, turns } from './clients.ts';
import type { SenderName } from './parties.ts';

/** What a client writes after it has connected. */
type Script = (
  socket: Socket,
  head: string,
  body: Buffer,
  asked: Promise<void>,
) => Promise<void> | void;

const LENGTH = (body: Buffer): string => `content-length: ${body.length}`;
const CHUNKED = (): string => 'transfer-encoding: chunked';

function rawClient(
  name: string,
  mustBeAnswered: Client['mustBeAnswered'],
  script: Script,
  {
    cutsShort = false,
    framing = LENGTH,
  }: { cutsShort?: boolean; framing?: (body: Buffer) => string } = {},
): Client {
  return {
    name,
    mustBeAnswered,
    cutsShort,
    async contact({ port, message, party, asked }) {
      const headers = await party.headersFor(`http://127.0.0.1:${port}/`, message);
      const lines = Object.entries({ host: `127.0.0.1:${port}`, ...headers }).map(
        ([field, value]) => `${field}: ${value}\r\n`,
      );
      const head = `POST / HTTP/1.1\r\n${lines.join('')}${framing(message.bytes)}\r\n\r\n`;
      // `allowHalfOpen`: the client can close its own side, and still read.
      const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
      socket.on('error', () => undefined);
      const acted = once(socket, 'connect').then(() => script(socket, head, message.bytes, asked));
      return { answered: readAnswer(socket), acted, leave: () => void socket.destroy() };
    },
  };
}

function readAnswer(socket: Socket): Promise<Answer | undefined> {
  let received = '';
  return new Promise((resolve) => {
    const read = (): void => {
      const end = received.indexOf('\r\n\r\n');
      if (end === -1) return;
      const status = Number(received.split(' ', 2)[1]);
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(received.slice(0, end))?.[1] ?? 0);
      const body = received.slice(end + 4);
      if (body.length >= length) resolve({ status, body: body.slice(0, length) });
    };
    socket.setEncoding('latin1').on('data', (text: string) => {
      received += text;
      read();
    });
    // The server has closed its side, so no answer can come.
    socket.once('end', () => resolve(undefined));
    socket.once('close', () => resolve(undefined));
  });
}

/** One of our own clients. It is aborted while its request is being verified. */
function abortingClient(name: string, sender: SenderName): Client {
  return {
    name,
    mustBeAnswered: 'never',
    cutsShort: false,
    async contact({ port, message, party, asked }: Call): Promise<Contact> {
      const agent = new Agent();
      const abort = new AbortController();
      void asked.then(() => abort.abort());
      const sent = party.senders[sender](`http://127.0.0.1:${port}/`, message, agent, abort.signal);
      const answered = sent.catch(() => undefined);
      return { answered, acted: answered.then(() => undefined), leave: () => void agent.destroy() };
    },
  };
}

const half = (body: Buffer): Buffer => body.subarray(0, Math.ceil(body.length / 2));

/**
 * Writes bytes, and waits until the operating system has them. A reset would discard bytes that it
 * does not have.
 */
function flush(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve) => void socket.write(bytes, () => resolve()));
}

async function writePieces(socket: Socket, head: string, body: Buffer): Promise<void> {
  socket.write(head);
  for (const piece of piecesOf(body, 4)) {
    await turns(5);
    socket.write(piece);
  }
}

const plainClients: readonly Client[] = [
  rawClient('all at once', 'always', (socket, head, body) => {
    socket.write(Buffer.concat([Buffer.from(head), body]));
  }),
  rawClient('in pieces', 'always', writePieces),
  rawClient(
    'chunked',
    'always',
    async (socket, head, body) => {
      socket.write(head);
      for (const piece of piecesOf(body, 3)) {
        await turns(5);
        socket.write(`${piece.length.toString(16)}\r\n`);
        socket.write(piece);
        socket.write('\r\n');
      }
      await turns(5);
      socket.write('0\r\n\r\n');
    },
    { framing: CHUNKED },
  ),
  rawClient('RST behind the body', 'never', async (socket, head, body) => {
    await flush(socket, Buffer.concat([Buffer.from(head), body]));
    socket.resetAndDestroy();
  }),
  rawClient('RST while verifying', 'never', async (socket, head, body, asked) => {
    socket.write(Buffer.concat([Buffer.from(head), body]));
    await asked;
    socket.resetAndDestroy();
  }),
  rawClient('one byte behind the body', 'never', (socket, head, body) => {
    socket.write(Buffer.concat([Buffer.from(head), body, Buffer.from('!')]));
  }),
  rawClient('a line of garbage behind the body', 'never', (socket, head, body) => {
    socket.write(Buffer.concat([Buffer.from(head), body, Buffer.from('GARBAGE\r\n\r\n')]));
  }),
  rawClient(
    'cut short, RST',
    'never',
    async (socket, head, body) => {
      await flush(socket, Buffer.concat([Buffer.from(head), half(body)]));
      socket.resetAndDestroy();
    },
    { cutsShort: true },
  ),
  abortingClient('aborted through fetch', 'fetch'),
  abortingClient('aborted through undici', 'request'),
];

/**
 * Clients that close their side of the connection. The server's `httpAllowHalfOpen` decides what
 * they get.
 */
export const finClients: readonly Client[] = [
  rawClient('FIN behind the body', 'if Node lets us', (socket, head, body) => {
    socket.end(Buffer.concat([Buffer.from(head), body]));
  }),
  rawClient('FIN behind the last piece', 'if Node lets us', async (socket, head, body) => {
    await writePieces(socket, head, body);
    socket.end();
  }),
  rawClient('FIN while verifying', 'if Node lets us', async (socket, head, body, asked) => {
    socket.write(Buffer.concat([Buffer.from(head), body]));
    await asked;
    socket.end();
  }),
  rawClient(
    'cut short, FIN',
    'never',
    (socket, head, body) => {
      socket.end(Buffer.concat([Buffer.from(head), half(body)]));
    },
    { cutsShort: true },
  ),
];

export const http1Clients: readonly Client[] = [...plainClients, ...finClients];
