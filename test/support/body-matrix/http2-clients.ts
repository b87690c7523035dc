import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { type Answer, type Client, piecesOf, turns } from './clients.ts';

/** What a client does after it has opened a stream. */
type Script = (
  stream: ClientHttp2Stream,
  session: ClientHttp2Session,
  body: Buffer,
  asked: Promise<void>,
) => Promise<void> | void;

function http2Client(
  name: string,
  mustBeAnswered: Client['mustBeAnswered'],
  script: Script,
  cutsShort = false,
): Client {
  return {
    name,
    mustBeAnswered,
    cutsShort,
    async contact({ port, message, party, asked }) {
      const origin = `http://127.0.0.1:${port}`;
      const headers = await party.headersFor(`${origin}/`, message);
      const session = connect(origin);
      session.on('error', () => undefined);
      const stream = session.request({
        ':method': 'POST',
        ':path': '/',
        ':authority': `127.0.0.1:${port}`,
        ...headers,
      });
      stream.on('error', () => undefined);
      const acted = (async () => script(stream, session, message.bytes, asked))();
      return { answered: readAnswer(stream), acted, leave: () => session.destroy() };
    },
  };
}

function readAnswer(stream: ClientHttp2Stream): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let status: number | undefined;
    stream.on('response', (headers) => {
      status = headers[':status'];
    });
    stream.on('data', (chunk: Buffer) => void chunks.push(chunk));
    stream.once('end', () => {
      if (status !== undefined && stream.rstCode === constants.NGHTTP2_NO_ERROR)
        resolve({ status, body: Buffer.concat(chunks).toString() });
    });
    stream.once('close', () => resolve(undefined));
  });
}

const half = (body: Buffer): Buffer => body.subarray(0, Math.ceil(body.length / 2));

function sent(stream: ClientHttp2Stream, body: Buffer): Promise<void> {
  return new Promise((resolve) => void stream.once('close', resolve).end(body, () => resolve()));
}

async function begun(stream: ClientHttp2Stream, body: Buffer): Promise<void> {
  await new Promise<void>((resolve) => {
    stream.write(half(body), () => resolve());
  });
  await turns(10);
}

export const http2Clients: readonly Client[] = [
  http2Client('all at once', 'always', (stream, _session, body) => void stream.end(body)),
  http2Client('in pieces', 'always', async (stream, _session, body) => {
    for (const piece of piecesOf(body, 4)) {
      await turns(5);
      stream.write(piece);
    }
    await turns(5);
    stream.end();
  }),
  http2Client('RST_STREAM behind the body', 'never', async (stream, _session, body) => {
    await sent(stream, body);
    stream.close(constants.NGHTTP2_CANCEL);
  }),
  http2Client('RST_STREAM while verifying', 'never', async (stream, _session, body, asked) => {
    stream.end(body);
    await asked;
    stream.close(constants.NGHTTP2_CANCEL);
  }),
  http2Client(
    'RST_STREAM before the end',
    'never',
    async (stream, _session, body) => {
      await begun(stream, body);
      stream.close(constants.NGHTTP2_CANCEL);
    },
    true,
  ),
  http2Client('session destroyed behind the body', 'never', async (stream, session, body) => {
    await sent(stream, body);
    session.destroy();
  }),
  http2Client(
    'session destroyed while verifying',
    'never',
    async (stream, session, body, asked) => {
      stream.end(body);
      await asked;
      session.destroy();
    },
  ),
  http2Client(
    'session destroyed before the end',
    'never',
    async (stream, session, body) => {
      await begun(stream, body);
      session.destroy();
    },
    true,
  ),
];
