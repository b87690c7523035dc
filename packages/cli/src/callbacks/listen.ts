import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CallbackVerifier, createCallbackVerifier } from '@countersign/server/callbacks';
import { quote, type SignatureError } from '@countersign/shared';
import type { Command } from 'commander';
import { OperationError } from '../lib/errors.ts';
import { examples } from '../lib/examples.ts';
import { parseWhole } from '../lib/options.ts';
import { formatTime } from '../lib/time.ts';
import { action } from '../store/action.ts';
import type { Io } from '../terminal/io.ts';
import { escapeLine } from '../terminal/terminal.ts';
import { callbackSecrets } from './callback-secrets.ts';

/** What is printed of a callback. If it was refused, nothing of it is verified. */
interface Arrival {
  /** Unix seconds. */
  readonly at: number;
  readonly id: string | undefined;
  readonly type: string | undefined;
  readonly verified: boolean;
  readonly status: number;
  /** Why it was refused. */
  readonly code?: string;
  readonly message?: string;
  /** The first characters. */
  readonly body: string;
}

type Judgement = Pick<Arrival, 'verified' | 'status' | 'code' | 'message'>;

/** Largest body, in bytes: the default limit of a receiver. */
const MOST_BYTES = 1_048_576;
/** Characters of a body that are shown. */
const MOST_SHOWN = 300;

export function addListen(callbacks: Command, io: Io): void {
  callbacks
    .command('listen')
    .description(
      'receive callbacks on this machine, verify them with COUNTERSIGN_CALLBACK_SECRET, and print them: for development',
    )
    .option('--port <number>', 'port to listen at; default 4000', parseWhole('port', 0, 65_535))
    .optionsGroup('Output:')
    .option('--json', 'print one line of JSON for each callback; times are Unix seconds')
    .action(
      action<{ port?: number }>(io, async ({ options: { port = 4_000 }, output }) => {
        const verifier = createCallbackVerifier({
          secrets: callbackSecrets(io, 'verify'),
          clock: io.clock,
        });
        const tally = { verified: 0, refused: 0 };
        const server = createServer();
        const unheard = new Promise<void>((resolve, reject) => {
          server.on('request', (req, res) => {
            receive(req, res, verifier, io.clock).then(
              (arrival) => {
                tally[arrival.verified ? 'verified' : 'refused'] += 1;
                const heard = output.line(arrival, arrivalText(arrival));
                heard.then((goOn) => goOn || resolve()).catch(reject);
              },
              // The sender broke off, so there is no answer to send.
              () => undefined,
            );
          });
        });
        const interrupted = io.untilInterrupted();
        const taken = await listen(server, port);
        output.note(`Listening at http://127.0.0.1:${taken}/ until Ctrl+C`);
        await Promise.race([interrupted, unheard]).finally(() => {
          server.close();
          server.closeAllConnections();
        });
        output.note(`Stopped: ${tally.verified} verified, ${tally.refused} refused`);
      }),
    )
    .addHelpText(
      'after',
      examples('countersign callbacks listen', 'countersign callbacks listen --port 8080 --json'),
    );
}

async function listen(server: Server, port: number): Promise<number> {
  server.listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why =
      code === 'EADDRINUSE' ? 'another program listens there; choose another --port' : message;
    throw new OperationError('ERR_LISTEN_FAILED', `Cannot listen at port ${port}: ${why}`, {
      cause: error,
    });
  }
  return (server.address() as AddressInfo).port;
}

async function receive(
  req: IncomingMessage,
  res: ServerResponse,
  verifier: CallbackVerifier,
  clock: () => number,
): Promise<Arrival> {
  const body = await readBody(req);
  const judgement = await judge(req, body, verifier);
  const { status, message } = judgement;
  if (message === undefined) res.writeHead(status).end();
  else res.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${message}\n`);
  const text = body.toString('utf8');
  const { 'webhook-id': id } = req.headers;
  return {
    at: clock(),
    id: id as string | undefined,
    type: typeOf(text),
    ...judgement,
    body: text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text,
  };
}

async function judge(
  { method, rawHeaders }: IncomingMessage,
  body: Buffer,
  verifier: CallbackVerifier,
): Promise<Judgement> {
  const refused = (status: number, code: string, message: string): Judgement => ({
    verified: false,
    status,
    code,
    message,
  });
  if (method !== 'POST')
    return refused(405, 'ERR_METHOD', `Callbacks are sent with POST, not with ${quote(method)}`);
  if (body.length > MOST_BYTES)
    return refused(413, 'ERR_BODY_TOO_LARGE', `The body is longer than ${MOST_BYTES} bytes`);
  try {
    await verifier.verify({ headers: rawHeaders, body });
    return { verified: true, status: 204 };
  } catch (error) {
    const { status, code, message } = error as SignatureError;
    return refused(status, code, message);
  }
}

/**
 * Reads to the end, because many senders read no answer before that. Of a body that is too long,
 * only enough is kept to show that.
 */
async function readBody(req: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    if (!(length > MOST_BYTES)) chunks.push(chunk);
    length += chunk.length;
  }
  return Buffer.concat(chunks);
}

/** The type of an event, if the body is JSON with a `type`, as most senders write it. */
function typeOf(text: string): string | undefined {
  try {
    const { type } = JSON.parse(text);
    return typeof type === 'string' ? type.slice(0, MOST_SHOWN) : undefined;
  } catch {
    return undefined;
  }
}

function arrivalText({ at, id = '-', type = '-', status, message, body }: Arrival): string {
  const verdict = message === undefined ? 'verified' : `refused: ${message}`;
  const line = `${formatTime(at)}  ${id}  ${type}  ${status} ${verdict}`;
  return `${escapeLine(line)}\n${body === '' ? '' : `  ${escapeLine(body)}\n`}`;
}
