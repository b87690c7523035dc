import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generate } from 'selfsigned';
import { onTestFinished } from 'vitest';
import { freePort } from '../../../../test/support/guarded-server.ts';
import { type RedisServer, startRedis } from '../../../../test/support/redis.ts';

/** The paths of a certificate and of its key. */
export interface Certified {
  readonly cert: string;
  readonly key: string;
}

/** Makes a self-signed certificate for a name, and perhaps for an address. */
export async function certify(folder: string, name: string, ip?: string): Promise<Certified> {
  const { private: key, cert } = await generate([{ name: 'commonName', value: name }], {
    keyType: 'ec',
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 2, value: name },
          ...(ip === undefined ? [] : [{ type: 7, ip } as const]),
        ],
      },
    ],
  });
  const files = { cert: join(folder, `${name}.crt`), key: join(folder, `${name}.key`) };
  await writeFile(files.cert, cert);
  await writeFile(files.key, key, { mode: 0o600 });
  return files;
}

/** Starts a Redis for the test. */
export async function start(args: string[] = [], config?: string): Promise<RedisServer> {
  const server = await startRedis({ args, ...(config === undefined ? {} : { config }) });
  onTestFinished(() => server.stop());
  return server;
}

/** A Redis that also answers over TLS, on another port. */
export async function startTls({ cert, key }: Certified, args: string[] = [], config?: string) {
  const port = await freePort();
  const server = await start(
    [
      ...['--tls-port', `${port}`, '--tls-cert-file', cert, '--tls-key-file', key],
      ...['--tls-ca-cert-file', cert, '--tls-auth-clients', 'no', ...args],
    ],
    config,
  );
  return { port, plain: server };
}
