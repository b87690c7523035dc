import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateMasterKey } from '@countersign/server';
import { Redis } from 'ioredis';
import { afterAll, expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../../test/support/guarded-server.ts';
import { NOW } from '../../../test/support/now.ts';
import { type RedisServer, startRedisCluster } from '../../../test/support/redis.ts';
import { newFolder, runner } from './support.ts';
import { type Certified, certify, start, startTls } from './tls-support.ts';

const COUNTERSIGN_MASTER_KEY = generateMasterKey();
const folder = await mkdtemp(join(tmpdir(), 'countersign-cli-tls-'));
afterAll(() => rm(folder, { recursive: true }));

const address = await certify(folder, 'redis.test', '127.0.0.1');
const named = await certify(folder, 'localhost');

async function startSentinel(monitored: number, tls?: Certified, settings: string[] = []) {
  const config = join(await newFolder(), 'sentinel.conf');
  const lines = [`sentinel monitor video-keys 127.0.0.1 ${monitored} 1`, ...settings];
  await writeFile(config, `${lines.join('\n')}\n`);
  return tls === undefined
    ? (await start(['--sentinel'], config)).port
    : (await startTls(tls, ['--tls-replication', 'yes', '--sentinel'], config)).port;
}

async function clusterNode(args: string[]): Promise<string[]> {
  const bus = ['--cluster-enabled', 'yes', '--cluster-port', `${await freePort()}`];
  const file = ['--cluster-config-file', join(await newFolder(), 'nodes.conf')];
  return [...bus, ...file, ...args];
}

async function giveAllSlots({ url }: RedisServer): Promise<void> {
  const admin = new Redis(url);
  await admin.cluster('ADDSLOTSRANGE', 0, 16_383);
  while (!String(await admin.cluster('INFO')).includes('cluster_state:ok'));
  admin.disconnect();
}

/** Whether keys can be made, listed and revoked there. */
async function use(url: string, env: Record<string, string> = {}, options = '') {
  const { run, json } = runner({ COUNTERSIGN_STORE: url, COUNTERSIGN_MASTER_KEY, ...env }, NOW);
  const made = await run(`keys create --subject alice --json${options}`);
  if (made.code !== 0) return made.stderr;
  const { accessKeyId } = JSON.parse(made.stdout);
  await json(`keys revoke ${accessKeyId} --yes${options}`);
  expect(await json(`keys list${options}`)).toMatchObject([{ accessKeyId, status: 'revoked' }]);
  return 'used';
}

it('a Sentinel leads to its master', async () => {
  const master = await start();
  const sentinel = await startSentinel(master.port);
  const gone = await freePort();
  const url = `redis-sentinel://127.0.0.1:${gone},127.0.0.1:${sentinel}/video-keys`;
  expect(await use(url)).toBe('used');
  expect(await use(`${url}/3`)).toBe('used');
  const admin = new Redis(master.url);
  expect(await admin.exists('countersign:keys:names')).toBe(1);
  await admin.select(3);
  expect(await admin.exists('countersign:keys:names')).toBe(1);
  admin.disconnect();

  const other = `redis-sentinel://127.0.0.1:${sentinel}/audio-keys`;
  expect(await use(other)).toBe(
    `Cannot use store "${other}": Sentinel knows no master "audio-keys"\n`,
  );
  expect(await use(`redis-sentinel://127.0.0.1:${gone}/video-keys`)).toMatch(
    /^Cannot use store "redis-sentinel:.*": connect ECONNREFUSED/,
  );
  expect(await use(`redis://127.0.0.1:${sentinel}`)).toBe(
    `Cannot use store "redis://127.0.0.1:${sentinel}": it is a Sentinel; write redis-sentinel://HOST:PORT,HOST:PORT/MASTER-NAME\n`,
  );
  expect(await use(`redis-sentinel://127.0.0.1:${master.port}/video-keys`)).toMatch(
    /unknown command 'SENTINEL'/i,
  );
});

it('Sentinels and their master have passwords of their own, which are not shown', async () => {
  const master = await start();
  const sentinel = await startSentinel(master.port);
  for (const [port, password] of [
    [sentinel, 'guard/1&'],
    [master.port, 'hunter2'],
  ] as const) {
    const admin = new Redis(port);
    await admin.call('ACL', 'SETUSER', 'default', `>${password}`);
    admin.disconnect();
  }
  const url = (password: string, guard: string) =>
    `redis-sentinel://default:${password}@127.0.0.1:${sentinel}/video-keys?sentinelPassword=${guard}`;
  expect(await use(url('hunter2', 'guard%2F1%26'))).toBe('used');
  for (const [password, guard] of [
    ['hunter3', 'guard%2F1%26'],
    ['hunter2', 'guard2'],
  ] as const)
    expect(await use(url(password, guard))).toMatch(
      /^Cannot use store "(?!.*(hunter|guard)).*": WRONGPASS/,
    );
});

it('a Redis whose certificate is of a private authority is reached with --ca-file or COUNTERSIGN_REDIS_CA', async () => {
  const { port } = await startTls(address);
  const url = `rediss://127.0.0.1:${port}`;
  expect(await use(url)).toMatch(
    /^Cannot use store ".*": self-signed certificate; name the authority of its certificate with --ca-file or COUNTERSIGN_REDIS_CA\n$/,
  );
  expect(await use(url, { COUNTERSIGN_REDIS_CA: address.cert })).toBe('used');
  expect(await use(`${url}/1`, {}, ` --ca-file ${address.cert}`)).toBe('used');
  expect(await use(url, { COUNTERSIGN_REDIS_CA: named.cert })).toMatch(/self-signed certificate/);
  // The right authority, and the name of another server.
  const local = `rediss://localhost:${port}`;
  expect(await use(local, { COUNTERSIGN_REDIS_CA: address.cert })).toMatch(
    /does not match certificate's altnames/,
  );
  expect(await use(`redis://127.0.0.1:${port}`)).toBe(
    `Cannot use store "redis://127.0.0.1:${port}": it closed the connection; if it expects TLS, write rediss in place of redis\n`,
  );
});

it('a Redis that asks for the certificate of its client gets it', async () => {
  const { port } = await startTls(address, ['--tls-auth-clients', 'yes']);
  const url = `rediss://127.0.0.1:${port}`;
  const env = { COUNTERSIGN_REDIS_CA: address.cert };
  expect(await use(url, env)).toMatch(/^Cannot use store/);
  const client = { COUNTERSIGN_REDIS_CERT: address.cert, COUNTERSIGN_REDIS_KEY: address.key };
  expect(await use(url, { ...env, ...client })).toBe('used');
});

it('a Sentinel and its master are reached over TLS', async () => {
  const { port } = await startTls(address);
  const sentinel = await startSentinel(port, address);
  const url = `rediss-sentinel://127.0.0.1:${sentinel}/video-keys`;
  expect(await use(url)).toMatch(/self-signed certificate; name the authority/);
  expect(await use(url, { COUNTERSIGN_REDIS_CA: address.cert })).toBe('used');
  const queue = runner({ COUNTERSIGN_STORE: url });
  const { code, stderr } = await queue.run(`callbacks list --ca-file ${address.cert}`);
  expect([code, stderr]).toEqual([0, expect.stringContaining('rediss-sentinel://')]);
});

it('a cluster is reached over TLS, and by the names that its certificates are for', async () => {
  const hostname = ['--tls-cluster', 'yes', '--cluster-announce-hostname', 'localhost'];
  const args = [...hostname, '--cluster-preferred-endpoint-type', 'hostname'];
  const { port, plain } = await startTls(named, await clusterNode(args));
  await giveAllSlots(plain);
  const url = `rediss-cluster://localhost:${port}`;
  expect(await use(url)).toMatch(/self-signed certificate; name the authority/);
  expect(await use(url, { COUNTERSIGN_REDIS_CA: named.cert })).toBe('used');
});

it('a node of a cluster that is taken for a single Redis is told about', async () => {
  const { nodes, stop } = await startRedisCluster();
  onTestFinished(stop);
  for (const { url } of nodes)
    expect(await use(url)).toBe(
      `Cannot use store "${url}": it is a node of a Redis Cluster; write redis-cluster://HOST:PORT,HOST:PORT\n`,
    );
});
