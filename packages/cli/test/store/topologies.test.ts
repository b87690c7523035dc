import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateMasterKey } from '@countersign/server';
import { BullmqCallbackQueue } from '@countersign/server/bullmq';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../../../test/support/guarded-server.ts';
import { NOW } from '../../../../test/support/now.ts';
import { type RedisServer, startRedisCluster } from '../../../../test/support/redis.ts';
import { CHANGES_KEYS, ruleOf } from '../../../../test/support/redis-rules.ts';
import { newFolder, runner } from '../support.ts';
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

it('Sentinels and their master have different passwords, which are not shown', async () => {
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

it('--ca-file or COUNTERSIGN_REDIS_CA names the private authority of a Redis', async () => {
  const { port } = await startTls(address);
  const url = `rediss://127.0.0.1:${port}`;
  expect(await use(url)).toMatch(
    /^Cannot use store ".*": self-signed certificate; name the authority of its certificate with --ca-file or COUNTERSIGN_REDIS_CA\n$/,
  );
  expect(await use(url, { COUNTERSIGN_REDIS_CA: address.cert })).toBe('used');
  expect(await use(`${url}/1`, {}, ` --ca-file ${address.cert}`)).toBe('used');
  expect(await use(url, { COUNTERSIGN_REDIS_CA: named.cert })).toMatch(/self-signed certificate/);
  // The right authority, but the name of another server.
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

it('a cluster is reached over TLS, by the names in its certificates', async () => {
  const hostname = ['--tls-cluster', 'yes', '--cluster-announce-hostname', 'localhost'];
  const args = [...hostname, '--cluster-preferred-endpoint-type', 'hostname'];
  const { port, plain } = await startTls(named, await clusterNode(args));
  await giveAllSlots(plain);
  const url = `rediss-cluster://localhost:${port}`;
  expect(await use(url)).toMatch(/self-signed certificate; name the authority/);
  expect(await use(url, { COUNTERSIGN_REDIS_CA: named.cert })).toBe('used');
});

it('a node of a cluster that is named as a single Redis is an error', async () => {
  const { nodes, stop } = await startRedisCluster();
  onTestFinished(stop);
  for (const { url } of nodes)
    expect(await use(url)).toBe(
      `Cannot use store "${url}": it is a node of a Redis Cluster; write redis-cluster://HOST:PORT,HOST:PORT\n`,
    );
});

describe('a user with the rule in docs/keys.md', () => {
  const rule = ruleOf('keys', CHANGES_KEYS);

  async function startAs(given: readonly string[]): Promise<string> {
    const { url, port } = await start();
    const admin = new Redis(url);
    await admin.call('ACL', 'SETUSER', 'keeper', 'on', '>hush', ...given);
    admin.disconnect();
    return `redis://keeper:hush@127.0.0.1:${port}`;
  }

  it('runs each command that keeps keys', async () => {
    const url = await startAs(rule);
    const env = { COUNTERSIGN_STORE: url, COUNTERSIGN_MASTER_KEY };
    const { run, json } = runner(env, NOW);
    await json('keys init');
    const { accessKeyId } = await json('keys create --subject alice');
    const { accessKeyId: next } = await json(`keys rotate ${accessKeyId} --overlap 1h`);
    await json(`keys disable ${next}`);
    await json(`keys enable ${next}`);
    expect(await json(`keys show ${next}`)).toMatchObject({ status: 'active' });
    await json(`keys revoke ${next} --yes`);
    await json('keys revoke --subject alice --yes');
    await json('keys rewrap');
    await json('keys accept-restore --yes');
    await json('sessions issue --subject alice --audience video-api --issuer video-api');
    await json('sessions revoke --subject alice --yes');
    expect(await json('keys list')).toHaveLength(2);
    expect((await run('keys list')).stderr).toBe('');
  });

  it('gets an error that says what its rule lacks', async () => {
    const url = await startAs(rule.filter((it) => it !== '+zrandmember'));
    const env = { COUNTERSIGN_STORE: url, COUNTERSIGN_MASTER_KEY };
    const { code, stderr } = await runner(env, NOW).run('keys create --subject alice');
    expect(stderr).toBe(
      'Redis is not fit for changes of access keys: the rule of its user "keeper" lacks +zrandmember: run ACL SETUSER keeper +zrandmember\n',
    );
    expect(code).toBe(1);
  });
});

it('a user of Sentinels with the permissions in docs/replay.md finds the master', async () => {
  const master = await start();
  const sentinel = await startSentinel(master.port);
  const admin = new Redis(sentinel);
  onTestFinished(() => admin.disconnect());
  const [, rule = ''] =
    /theirs need `([^`]+)`/.exec(await readFile('docs/replay.md', 'utf8')) ?? [];
  const tokens = rule.split(' ');
  expect(tokens).toHaveLength(2);
  const allow = (given: string[]) =>
    admin.call('ACL', 'SETUSER', 'finder', 'reset', 'on', '>hush', ...given);
  const url = `redis-sentinel://127.0.0.1:${sentinel}/video-keys?sentinelUsername=finder&sentinelPassword=hush`;
  await allow(tokens);
  expect(await use(url)).toBe('used');
  for (const token of tokens) {
    await allow(tokens.filter((it) => it !== token));
    expect(await use(url), token).toContain(token.slice(1));
  }
});

it('a user with the rule in docs/callbacks-sending.md lists and redelivers callbacks', async () => {
  const { url, port } = await start();
  const admin = new Redis(url);
  const rule = ruleOf('callbacks-sending', 'BullmqCallbackQueue');
  await admin.call('ACL', 'SETUSER', 'keeper', 'on', '>hush', ...rule);
  admin.disconnect();
  const store = `redis://keeper:hush@127.0.0.1:${port}`;
  const redis = new Redis(store);
  const queue = new BullmqCallbackQueue({ redis });
  const id = `dlv_${'0'.repeat(32)}`;
  const callback = {
    endpointId: 'alice',
    eventId: 'one',
    contentType: 'text/plain',
    createdAt: NOW,
  };
  await queue.add({ id, body: Buffer.from('hi'), ...callback });
  const { json } = runner({ COUNTERSIGN_STORE: store }, NOW);
  expect(await json('callbacks list --state waiting')).toMatchObject([{ id }]);
  expect(await json(`callbacks show ${id}`)).toMatchObject({ id });
  await json(`callbacks redeliver ${id}`);
  await queue.close();
  redis.disconnect();
});
