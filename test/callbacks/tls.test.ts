// Callbacks only go to a server that proves its name, even though the connection is made to the
// address that was checked.

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createCallbackVerifier } from '@countersign/server/callbacks';
import { generate } from 'selfsigned';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const SECRET = 'whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH';
const SENDER = fileURLToPath(new URL('tls-sender.mjs', import.meta.url));

let folder: string;
let certificate: string;
let port: number;
let received: { servername: unknown; host: unknown; id: string }[] = [];
const verifier = createCallbackVerifier({ secrets: [SECRET] });

const { private: key, cert } = await generate([{ name: 'commonName', value: 'hooks.test' }], {
  keyType: 'ec',
  algorithm: 'sha256',
  extensions: [
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'subjectAltName', altNames: [{ type: 2, value: 'hooks.test' }] },
  ],
});
const server = createServer({ key, cert }, async (req, res) => {
  const body = Buffer.concat((await req.toArray()) as Buffer[]);
  const { id } = await verifier.verify({ headers: req.rawHeaders, body });
  const { servername } = req.socket as TLSSocket & { servername?: unknown };
  received.push({ servername, host: req.headers.host, id });
  res.writeHead(204).end();
});

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'countersign-tls-'));
  certificate = join(folder, 'cert.pem');
  await writeFile(certificate, cert);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ({ port } = server.address() as AddressInfo);
});
afterAll(async () => {
  server.close();
  await rm(folder, { recursive: true });
});

/** Returns the outcome of a callback, from the process that sent it. */
async function send(host: string, trusted: string | undefined): Promise<string> {
  received = [];
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [SENDER, host, String(port), SECRET],
    { env: { ...env, ...(trusted === undefined ? {} : { NODE_EXTRA_CA_CERTS: trusted }) } },
  );
  return stdout.trim();
}

describe('a callback over TLS', () => {
  it('is delivered to the server that has the name, which the sender asks for', async () => {
    expect(await send('hooks.test', certificate)).toBe('delivered 204');
    const id = expect.stringMatching(/^msg_/);
    expect(received).toEqual([{ servername: 'hooks.test', host: `hooks.test:${port}`, id }]);
  });

  it.each([
    ['of another name', 'other.test', true, /does not match certificate's altnames/],
    ['for whom no authority vouches', 'hooks.test', false, /self-signed certificate/],
    [
      'asked for by its address, of which the certificate says nothing',
      '127.0.0.1',
      true,
      /does not match certificate's altnames/,
    ],
  ])('is not delivered to a receiver %s', async (_, host, isTrusted, why) => {
    expect(await send(host, isTrusted ? certificate : undefined)).toMatch(why);
    expect(received).toEqual([]);
  });
});
