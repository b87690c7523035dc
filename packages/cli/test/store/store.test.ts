import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { generateMasterKey } from '@countersign/server';
import { Redis } from 'ioredis';
import { expect, it, onTestFinished } from 'vitest';
import { NOW } from '../../../../test/support/now.ts';
import { startRedis, startRedisCluster } from '../../../../test/support/redis.ts';
import { newFolder, run, runner } from '../support.ts';

const COUNTERSIGN_MASTER_KEY = generateMasterKey();
const BAD_PASSWORD = /^Cannot use store "redis:\/\/:\*\*\*@127\.0\.0\.1:\d+": .*WRONGPASS/;

it('a Redis with a password is reached through the environment, and the password is not shown', async () => {
  const server = await startRedis();
  onTestFinished(() => server.stop());
  const admin = new Redis(server.url);
  await admin.config('SET', 'requirepass', 'hunter2-hunter2');
  admin.disconnect();
  const url = `redis://:hunter2-hunter2@127.0.0.1:${server.port}`;
  const {
    run: here,
    json,
    count,
  } = runner({ COUNTERSIGN_STORE: url, COUNTERSIGN_MASTER_KEY }, NOW);
  await here('keys init');
  expect((await here('keys list')).stderr).toBe(
    `There are no such access keys in redis://:***@127.0.0.1:${server.port}\n`,
  );
  await json('keys create --subject alice');
  expect(await json('keys list')).toHaveLength(1);
  expect(count('hunter2')).toBe(0);

  const wrong = runner({ COUNTERSIGN_STORE: url.replace(/2@/, '3@'), COUNTERSIGN_MASTER_KEY }, NOW);
  const { code, stderr } = await wrong.run('keys list');
  expect(code).toBe(1);
  expect(stderr).toMatch(BAD_PASSWORD);
});

it('a Redis Cluster is a store like any other', async () => {
  const cluster = await startRedisCluster();
  onTestFinished(() => cluster.stop());
  const hosts = cluster.nodes.map(({ port }) => `127.0.0.1:${port}`).join(',');
  // The user `default` with a password that it does not need.
  const url = `redis-cluster://default:hunter2@${hosts}`;
  const env = { COUNTERSIGN_STORE: url, COUNTERSIGN_MASTER_KEY };
  const { json } = runner(env, NOW);
  const { accessKeyId } = await json('keys create --subject alice');
  await json(`keys revoke ${accessKeyId} --yes`);
  expect(await json('keys list')).toMatchObject([{ accessKeyId, status: 'revoked' }]);
});

it('a store that cannot be reached is named in the error', async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  taken.close();
  const env = { COUNTERSIGN_MASTER_KEY };
  for (const url of [`redis://127.0.0.1:${port}`, `redis-cluster://127.0.0.1:${port}`]) {
    const { code, stdout, stderr } = await run(['keys', 'list', '--json', '--store', url], { env });
    expect(code).toBe(1);
    expect(JSON.parse(stdout).error.code).toBe('ERR_STORE_FAILED');
    expect(stderr).toMatch(new RegExp(`^Cannot use store "${url}": connect ECONNREFUSED.*\n$`));
  }
});

it.each([
  ['redis-cluster', 'ERR This instance has cluster support disabled'],
  ['redis', 'it asks for a password; put the URL with it into COUNTERSIGN_STORE'],
])('a Redis that is not what %s:// says is an error', async (scheme, reason) => {
  const server = await startRedis();
  onTestFinished(() => server.stop());
  if (scheme === 'redis') {
    const admin = new Redis(server.url);
    await admin.config('SET', 'requirepass', 'hunter2-hunter2');
    admin.disconnect();
  }
  const url = server.url.replace('redis', scheme);
  const env = { COUNTERSIGN_MASTER_KEY };
  const { code, stderr } = await run(['keys', 'list', '--store', url], { env });
  expect([code, stderr]).toEqual([1, `Cannot use store "${url}": ${reason}\n`]);
});

it('a Redis that may forget keys is refused', async () => {
  const server = await startRedis({ args: ['--maxmemory-policy', 'allkeys-lru'] });
  onTestFinished(() => server.stop());
  const env = { COUNTERSIGN_STORE: server.url, COUNTERSIGN_MASTER_KEY };
  const { code, stderr } = await runner(env, NOW).run('keys create --subject alice');
  expect([code, stderr]).toEqual([1, expect.stringMatching(/^Redis is not fit .*noeviction\n$/)]);
});

it('a missing folder is named', async () => {
  const folder = join(await newFolder(), 'none');
  const { code, stderr } = await run(
    ['keys', 'create', '--subject', 'alice', '--store', `file:${folder}/keys.json`],
    { env: { COUNTERSIGN_MASTER_KEY } },
  );
  expect([code, stderr]).toEqual([
    1,
    `Cannot use store "file:${folder}/keys.json": there is no folder "${folder}"\n`,
  ]);
});

it('a file that holds no keys is refused', async () => {
  const path = join(await newFolder(), 'keys.json');
  await writeFile(path, '{}', { mode: 0o600 });
  const env = { COUNTERSIGN_MASTER_KEY };
  const { code, stderr } = await run(['keys', 'list', '--store', `file:${path}`], { env });
  expect([code, stderr]).toEqual([
    1,
    expect.stringMatching(/^Cannot read key store .*: it is not a file/),
  ]);
});

it('the prefix comes from --prefix, then from COUNTERSIGN_PREFIX, and messages name it', async () => {
  const server = await startRedis();
  onTestFinished(() => server.stop());
  const env = {
    COUNTERSIGN_STORE: server.url,
    COUNTERSIGN_MASTER_KEY,
    COUNTERSIGN_PREFIX: 'video-api:keys',
  };
  const { run: here, json } = runner(env, NOW);
  const { accessKeyId } = await json('keys create --subject alice');
  expect(await json('keys list --prefix video-api:keys')).toMatchObject([{ accessKeyId }]);
  for (const command of [
    'keys list',
    `keys show ${accessKeyId}`,
    `keys revoke ${accessKeyId}`,
    'keys revoke --subject alice',
    'keys revoke --signed-before now',
    'sessions revoke --subject alice',
    'sessions revoke --everybody',
    'sessions revoke CSSK7Q2M5X9R4T8W3Y6Z0ABC',
  ]) {
    const { code, stdout } = await here(`${command} --prefix video-api --json`);
    const { error } = JSON.parse(stdout);
    expect([code, error.code]).toEqual([1, 'ERR_STORE_EMPTY']);
    expect(error.message).toContain('The key store at "video-api" is empty');
  }
  expect((await here('keys revoke --subject bob --yes')).stderr).toBe(
    `Revoked nothing: there is no access key of "bob" in ${server.url} under prefix "video-api:keys", and no session was ever issued with it\n`,
  );
  expect(await json(`keys show ${accessKeyId}`)).toMatchObject({ status: 'active' });
});

it('COUNTERSIGN_PREFIX is ignored for a file, and if it is empty', async () => {
  const path = join(await newFolder(), 'keys.json');
  const file = { COUNTERSIGN_STORE: `file:${path}`, COUNTERSIGN_PREFIX: 'video-api:keys' };
  expect((await runner(file).run('keys create --subject alice')).code).toBe(0);
  const server = await startRedis();
  onTestFinished(() => server.stop());
  const redis = { COUNTERSIGN_STORE: server.url, COUNTERSIGN_MASTER_KEY, COUNTERSIGN_PREFIX: '' };
  const { json } = runner(redis, NOW);
  await json('keys create --subject alice');
  expect(await json('keys list --prefix countersign:keys')).toHaveLength(1);
});

it('a key whose record is lost can be revoked by its id', async () => {
  const server = await startRedis();
  onTestFinished(() => server.stop());
  const { run: here, json } = runner(
    { COUNTERSIGN_STORE: server.url, COUNTERSIGN_MASTER_KEY },
    NOW,
  );
  const { accessKeyId } = await json('keys create --subject alice');
  const admin = new Redis(server.url);
  await admin.del(`countersign:keys:key/${accessKeyId}`);
  admin.disconnect();
  expect((await here(`keys show ${accessKeyId}`)).code).toBe(1);
  expect(await here(`keys revoke ${accessKeyId} --yes`)).toMatchObject({
    code: 0,
    stderr: `Revoked access key ${accessKeyId}, whose record cannot be read, permanently\n`,
  });
  expect(await json(`keys show ${accessKeyId}`)).toMatchObject({ status: 'revoked' });
});
