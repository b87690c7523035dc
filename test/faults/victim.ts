import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { onTestFinished } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis.ts';

/**
 * A Redis of the test's own that can be started again where it was, and a connection to set it up
 * with.
 */
export interface Victim {
  readonly host: string;
  readonly port: number;
  readonly admin: Redis;
  readonly pid: () => number;
  /** SIGKILL: nothing is written any more. */
  kill(): Promise<void>;
  start(): Promise<void>;
}

/** Starts one, until the test is over. */
export async function startVictim(args: string[] = [], config?: string): Promise<Victim> {
  const options = { args, ...(config === undefined ? {} : { config }) };
  let server: RedisServer = await startRedis(options);
  onTestFinished(() => server.stop());
  const { port } = server;
  const admin = new Redis({ port, retryStrategy: () => 50 });
  admin.on('error', () => undefined);
  onTestFinished(() => admin.disconnect());
  return {
    host: '127.0.0.1',
    port,
    admin,
    pid: () => server.pid,
    kill: () => server.stop(),
    async start() {
      server = await startRedis({ ...options, port });
      await admin.ping();
    },
  };
}

/**
 * Milliseconds after which a Sentinel lets a replica take over: so many that it does not take a
 * busy machine for a fault.
 */
const PATIENT = 60_000;

/** Starts a Sentinel that watches over a master. */
export async function startSentinel(master: Victim): Promise<Victim> {
  const file = join(await makeFolder(), 'sentinel.conf');
  const lines = [
    `sentinel monitor nonces ${master.host} ${master.port} 1`,
    `sentinel down-after-milliseconds nonces ${PATIENT}`,
    'sentinel failover-timeout nonces 3000',
  ];
  await writeFile(file, `${lines.join('\n')}\n`);
  return startVictim(['--sentinel'], file);
}

/**
 * Has a Sentinel let a replica take over half a second after the master is gone; or not so soon
 * again.
 */
export async function makeHasty({ admin }: Victim, isHasty: boolean): Promise<void> {
  const milliseconds = String(isHasty ? 500 : PATIENT);
  await admin.call('SENTINEL', 'SET', 'nonces', 'down-after-milliseconds', milliseconds);
}

/** A folder, until the test is over. */
export async function makeFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'countersign-faults-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Where a victim is, as verifiers are told. */
export function at({ host, port }: { host: string; port: number }): { host: string; port: number } {
  return { host, port };
}
