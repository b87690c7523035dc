import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { generateAccessKey, generateMasterKey } from '@countersign/server';
import { RedisKeyStore } from '@countersign/server/redis';
import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished, vi } from 'vitest';
import { NOW } from '../../../../../test/support/now.ts';
import {
  type RedisCluster,
  startRedis,
  startRedisCluster,
} from '../../../../../test/support/redis.ts';
import { RedisWriter } from '../../../src/keys/redis/redis-writer.ts';
import { startProxy } from '../../lib/redis/redis-faults.ts';
import { AUDIENCE, createTestSessions, judge, keyStoreContract } from '../key-store-contract.ts';
import { sealedStoreContract } from '../sealed-store-contract.ts';

/** Answers are waited for until they come: what is slow here is the machine. */
const PATIENT = 10;
/** What ioredis says where Redis is gone. */
const GONE = /ECONNREFUSED|Connection is closed/;
const masterKey = generateMasterKey();

let prefixes = 0;
const newPrefix = (): string => `test:keys:${process.pid}:${++prefixes}`;

type Options = Partial<ConstructorParameters<typeof RedisKeyStore>[0]>;

function storeOn(redis: Redis | Cluster, options: Options = {}): RedisKeyStore {
  const keys = new RedisKeyStore({ redis, masterKey, timeout: PATIENT, ...options });
  onTestFinished(() => keys.close());
  return keys;
}

function connect(url: string): Redis {
  const redis = new Redis(url);
  redis.on('error', () => undefined);
  onTestFinished(() => redis.disconnect());
  return redis;
}

/** All hashes below a prefix, on some nodes. */
async function hashesOf(nodes: readonly Redis[], prefix: string) {
  const found: { node: Redis; key: string; fields: Record<string, string> }[] = [];
  for (const node of nodes) {
    for (const key of await node.keys(`${prefix}:*`)) {
      if ((await node.type(key)) !== 'hash') continue;
      found.push({ node, key, fields: (await node.hgetall(key)) as Record<string, string> });
    }
  }
  return found;
}

function contracts(name: string, open: () => Promise<{ redis: Redis | Cluster; nodes: Redis[] }>) {
  keyStoreContract(name, async () => {
    const prefix = newPrefix();
    const { redis } = await open();
    return { isShared: true, open: (clock = () => NOW) => storeOn(redis, { prefix, clock }) };
  });

  sealedStoreContract(name, async () => {
    const prefix = newPrefix();
    const { redis, nodes } = await open();
    return {
      open: (provider, clock) => storeOn(redis, { prefix, masterKey: provider, clock }),
      async dump() {
        const hashes = await hashesOf(nodes, prefix);
        return JSON.stringify(hashes.map(({ key, fields }) => [key, fields]));
      },
      async change(edit) {
        const hashes = await hashesOf(nodes, prefix);
        const nameOf = (key: string) => key.slice(prefix.length + 1);
        const records = Object.fromEntries(
          hashes.map(({ key, fields }) => [
            nameOf(key),
            { policy: fields['policy'] as string, sealed: fields['sealed'] as string },
          ]),
        );
        edit(records);
        for (const { node, key } of hashes) await node.hset(key, records[nameOf(key)] as object);
      },
    };
  });
}

contracts('RedisKeyStore', async () => {
  const redis = connect(inject('redisUrl'));
  return { redis, nodes: [redis] };
});

describe('on a cluster of three masters', () => {
  let cluster: RedisCluster;
  beforeAll(async () => {
    cluster = await startRedisCluster({ masters: 3 });
  });
  afterAll(() => cluster?.stop());

  contracts('RedisKeyStore on a cluster', async () => {
    const redis = new Cluster(cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port })));
    redis.on('error', () => undefined);
    onTestFinished(() => redis.disconnect());
    return { redis, nodes: cluster.nodes.map(({ url }) => connect(url)) };
  });
});

describe('RedisKeyStore', () => {
  it('answers from memory what it was asked a moment ago, also that there is no such key', async () => {
    const server = await startRedis();
    onTestFinished(() => server.stop());
    const redis = connect(server.url);
    const keys = storeOn(redis);
    const key = await keys.create();
    // The subscription stands, and what was read before it is read again.
    await sleep(300);
    await keys.find(key.accessKeyId);
    await keys.find('CSAK-unknown');
    const asked = async () =>
      /cmdstat_hmget:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1];
    const before = await asked();
    const since = performance.now();
    for (let round = 0; round < 100; round++) {
      expect(await keys.find(key.accessKeyId)).toEqual(key);
      expect(await keys.find('CSAK-unknown')).toBeUndefined();
    }
    if (performance.now() - since < 2_000) expect(await asked()).toBe(before);
  });

  it('fails quickly where Redis is gone, and is back with it', async () => {
    const server = await startRedis();
    const keys = storeOn(connect(server.url), { timeout: 0.4 });
    await keys.create();
    await server.stop();
    await vi.waitFor(() => expect(keys.find('CSAK1')).rejects.toThrow(GONE), 10_000);
    const since = performance.now();
    await expect(keys.find('CSAK2')).rejects.toThrow(GONE);
    // 0.4 s, and what the machine takes.
    expect(performance.now() - since).toBeLessThan(2_000);
    const again = await startRedis({ port: server.port });
    onTestFinished(() => again.stop());
    // It keeps nothing on disk.
    await vi.waitFor(() => keys.createEmpty(), 10_000);
    expect(await keys.find('CSAK3')).toBeUndefined();
  });

  it('forgets what it knew while nobody told it of changes', async () => {
    const url = inject('redisUrl');
    const proxy = await startProxy(Number(new URL(url).port));
    const prefix = newPrefix();
    const admin = storeOn(connect(url), { prefix, clock: () => NOW });
    const edge = storeOn(connect(`redis://127.0.0.1:${proxy.port}`), {
      prefix,
      clock: () => NOW,
      timeout: 0.4,
    });
    const key = await admin.create();
    expect(await judge(edge, key)).toBe('accepted');
    // Open connections carry nothing any more, and nobody notices: new ones are made when an answer
    // is missed.
    proxy.mode = 'swallow';
    const since = performance.now();
    await admin.disable(key.accessKeyId);
    const refused = /^(?:ERR_KEY_STORE_FAILED: |ERR_KEY_INACTIVE: it is not active$)/;
    await vi.waitFor(async () => expect(await judge(edge, key)).toMatch(refused), 10_000);
    expect(performance.now() - since).toBeLessThan(5_000);
  });

  it('lends a session at once where another server has begun the first, and no message comes', async () => {
    const server = await startRedis();
    onTestFinished(() => server.stop());
    const admin = connect(server.url);
    await admin.acl('SETUSER', 'app', 'on', '>pw', '~*', '&*', '+@all', '-subscribe');
    const prefix = newPrefix();
    const deaf = storeOn(connect(server.url.replace('//', '//app:pw@')), { prefix });
    const key = await deaf.create({ subject: 'alice' });
    const session = { accessKeyId: 'CSSK1', parent: key.accessKeyId, subject: 'alice' };
    const none = { ...session, issuedAt: 0, versions: { subject: 0, all: 0 } };
    expect(await deaf.isSessionRevoked(none), 'nothing is known of sessions').toBe(true);
    await storeOn(admin, { prefix }).beginSession('bob');
    const begun = await deaf.beginSession('alice');
    expect(await deaf.isSessionRevoked({ ...session, ...begun })).toBe(false);
  });

  it.each(['allkeys-lru', 'volatile-ttl'])('refuses a Redis that evicts: %s', async (policy) => {
    const server = await startRedis({ args: ['--maxmemory-policy', policy] });
    onTestFinished(() => server.stop());
    const keys = storeOn(connect(server.url));
    for (const act of [() => keys.create(), () => keys.find('CSAK1')])
      await expect(act()).rejects.toMatchObject({ code: 'ERR_STORE_UNFIT' });
  });

  describe('with a replica', () => {
    /** Once the next change in the queue is made, and before anybody knows. */
    function afterNextChange(then: () => unknown): void {
      enqueue.mockImplementationOnce(async function (this: RedisWriter, ...args) {
        const made = await original.apply(this, args);
        await then();
        return made;
      });
    }
    const original = RedisWriter.prototype.enqueue;
    const enqueue = vi.spyOn(RedisWriter.prototype, 'enqueue');
    afterAll(() => enqueue.mockRestore());

    async function startTwo() {
      const [server, replica] = await Promise.all([
        startRedis({ args: ['--repl-diskless-sync-delay', '0'] }),
        startRedis(),
      ]);
      onTestFinished(() => Promise.all([server.stop(), replica.stop()]).then(() => undefined));
      const [master, follower] = [connect(server.url), connect(replica.url)];
      const join = async () => {
        await follower.replicaof('127.0.0.1', server.port);
        // Online is not enough: it is in step when it acknowledges.
        await vi.waitFor(async () => {
          await master.set('written', 'before');
          expect(await master.wait(1, 200)).toBe(1);
        }, 10_000);
      };
      return { server, master, follower, replica, join };
    }

    async function replicated() {
      const { join, ...all } = await startTwo();
      await join();
      return all;
    }

    async function clustered() {
      const { nodes, stop } = await startRedisCluster({ masters: 3, replicas: 1 });
      onTestFinished(stop);
      const redis = new Cluster([{ host: '127.0.0.1', port: nodes[0]?.port }]);
      onTestFinished(() => redis.disconnect());
      return { redis, masters: nodes.slice(0, 3), replicas: nodes.slice(3) };
    }

    it('makes no change without it, so that none is lost where it takes over', async () => {
      const { server, master, follower, replica } = await replicated();
      const prefix = newPrefix();
      const keys = storeOn(master, { prefix, clock: () => NOW, timeout: 1 });
      const key = await keys.create({ subject: 'alice' });
      process.kill(replica.pid, 'SIGSTOP');
      const lost = keys.revoke({ accessKeyId: key.accessKeyId });
      await expect(lost).rejects.toMatchObject({
        code: 'ERR_NOT_REPLICATED',
        message: `0 replicas of Redis acknowledged the change of "key/${key.accessKeyId}"; 1 is required; do it again, or a failover may lose it`,
      });
      expect(await judge(keys, key), 'on the master').toBe('ERR_KEY_INACTIVE: it is revoked');

      process.kill(replica.pid, 'SIGCONT');
      await vi.waitFor(() => keys.revoke({ accessKeyId: key.accessKeyId }), 10_000);
      await server.stop();
      await follower.replicaof('NO', 'ONE');
      const after = storeOn(follower, { prefix, clock: () => NOW });
      expect(await judge(after, key)).toBe('ERR_KEY_INACTIVE: it is revoked');
      expect(await after.show(key.accessKeyId)).toMatchObject({ status: 'revoked' });
    });

    it('waits for none where it is told so, and for more than there are in vain', async () => {
      const { master, replica } = await replicated();
      const prefix = newPrefix();
      const [none, two] = [0, 2].map((waitForReplicas) =>
        storeOn(master, { prefix, timeout: 1, waitForReplicas }),
      ) as [RedisKeyStore, RedisKeyStore];
      await expect(two.create()).rejects.toThrow(
        /^1 replica of Redis acknowledged .* 2 are required/,
      );
      expect(await two.list(), 'a key that nobody holds').toEqual([]);
      process.kill(replica.pid, 'SIGSTOP');
      const key = await none.create();
      await none.revoke({ accessKeyId: key.accessKeyId });
      expect(await none.show(key.accessKeyId)).toMatchObject({ status: 'revoked' });
    });

    it('waits for those of the node that has the record, in a cluster', async () => {
      const { redis } = await clustered();
      const prefix = newPrefix();
      const [one, two] = [1, 2].map((waitForReplicas) =>
        storeOn(redis, { prefix, waitForReplicas, timeout: waitForReplicas === 1 ? PATIENT : 1 }),
      ) as [RedisKeyStore, RedisKeyStore];
      for (let made = 0; made < 12; made++) {
        const key = await one.create();
        await one.revoke({ accessKeyId: key.accessKeyId });
        expect(await one.show(key.accessKeyId)).toMatchObject({ status: 'revoked' });
      }
      await expect(two.create()).rejects.toThrow(
        /^1 replica of Redis acknowledged .* 2 are required/,
      );
    });

    it('adds a key again that was not stored for want of a replica', async () => {
      const { master, replica } = await replicated();
      const keys = storeOn(master, { timeout: 1 });
      const key = generateAccessKey({ subject: 'alice' });
      process.kill(replica.pid, 'SIGSTOP');
      await expect(keys.add(key)).rejects.toMatchObject({ code: 'ERR_NOT_REPLICATED' });
      expect(await keys.find(key.accessKeyId)).toBeUndefined();
      process.kill(replica.pid, 'SIGCONT');
      await vi.waitFor(() => keys.add(key), 10_000);
      expect(await keys.find(key.accessKeyId)).toMatchObject({ subject: 'alice' });
    });

    it('rotates a key again as if nothing had been, where its end was not acknowledged', async () => {
      const { master, replica } = await replicated();
      const keys = storeOn(master, { timeout: 1, clock: () => NOW });
      const old = await keys.create({ subject: 'alice' });
      // The new key is stored, and then its replica hangs.
      afterNextChange(() => void process.kill(replica.pid, 'SIGSTOP'));
      const failed = keys.rotate(old.accessKeyId, { overlap: 600 });
      await expect(failed).rejects.toMatchObject({ code: 'ERR_NOT_REPLICATED' });
      const left = await keys.list();
      expect(left).toMatchObject([{ accessKeyId: old.accessKeyId, status: 'active' }]);
      expect(left[0]).not.toHaveProperty('expiresAt', expect.anything());

      process.kill(replica.pid, 'SIGCONT');
      const fresh = await vi.waitFor(() => keys.rotate(old.accessKeyId, { overlap: 600 }), 10_000);
      expect(fresh.expiresAt).toBeUndefined();
      expect(await keys.show(old.accessKeyId)).toMatchObject({ expiresAt: NOW + 600 });
    });

    it('does not take back what somebody else has done to a key meanwhile', async () => {
      const { master, replica } = await replicated();
      const prefix = newPrefix();
      const [keys, others] = [1, 0].map((waitForReplicas) =>
        storeOn(master, { prefix, timeout: 1, waitForReplicas, clock: () => NOW }),
      ) as [RedisKeyStore, RedisKeyStore];
      const old = await keys.create();
      const added = generateAccessKey();
      process.kill(replica.pid, 'SIGSTOP');
      onTestFinished(() => void process.kill(replica.pid, 'SIGCONT'));

      // A revocation is not undone where the key was not added for want of a replica.
      afterNextChange(() => others.revoke({ accessKeyId: added.accessKeyId }));
      await expect(keys.add(added)).rejects.toMatchObject({ code: 'ERR_NOT_REPLICATED' });
      expect(await others.show(added.accessKeyId)).toMatchObject({ status: 'revoked' });
      await expect(keys.add(added)).rejects.toMatchObject({ code: 'ERR_KEY_EXISTS' });

      // And an end is not that another rotation has set, and told of.
      process.kill(replica.pid, 'SIGCONT');
      afterNextChange(() => void process.kill(replica.pid, 'SIGSTOP'));
      afterNextChange(() => others.rotate(old.accessKeyId, { overlap: 600 }));
      await expect(keys.rotate(old.accessKeyId, { overlap: 600 })).rejects.toMatchObject({
        code: 'ERR_NOT_REPLICATED',
      });
      expect(await others.show(old.accessKeyId)).toMatchObject({ expiresAt: NOW + 600 });
      // The one of the other rotation.
      expect((await others.list()).filter(({ status }) => status === 'active')).toHaveLength(2);
    });

    it('waits as long as before once the replica is back', async () => {
      const { master, replica } = await replicated();
      const keys = storeOn(master, { timeout: 1 });
      const { accessKeyId } = await keys.create();
      process.kill(replica.pid, 'SIGSTOP');
      await expect(keys.disable(accessKeyId)).rejects.toMatchObject({ code: 'ERR_NOT_REPLICATED' });
      const wait = vi.spyOn(Redis.prototype, 'pipeline');
      onTestFinished(() => wait.mockRestore());
      process.kill(replica.pid, 'SIGCONT');
      await keys.disable(accessKeyId);
      expect(wait.mock.lastCall?.[0]?.[1]).toEqual(['wait', 1, 1_000]);
    });

    it('finds the master again where its connection leads to a replica now', async () => {
      const { server, master, follower, replica } = await replicated();
      const proxy = await startProxy(server.port);
      const prefix = newPrefix();
      const keys = storeOn(connect(`redis://127.0.0.1:${proxy.port}`), { prefix, timeout: 1 });
      const { accessKeyId } = await keys.create();
      await follower.replicaof('NO', 'ONE');
      await master.replicaof('127.0.0.1', replica.port);
      proxy.target = replica.port;
      await vi.waitFor(() => keys.disable(accessKeyId), { timeout: 30_000, interval: 200 });
      const there = storeOn(follower, { prefix });
      expect(await there.show(accessKeyId)).toMatchObject({ status: 'disabled' });
    });

    it('looks keys up while changes wait for a replica that hangs, and makes them soon', async () => {
      const { master, replica } = await replicated();
      const prefix = newPrefix();
      const keys = storeOn(master, { prefix, timeout: 2 });
      const made = await Promise.all(Array.from({ length: 8 }, () => keys.create()));
      process.kill(replica.pid, 'SIGSTOP');
      onTestFinished(() => void process.kill(replica.pid, 'SIGCONT'));
      const changes = made.map(({ accessKeyId }) => keys.revoke({ accessKeyId }));
      const ended = Promise.allSettled(changes).then(() => 'ended');
      const elsewhere = storeOn(master, { prefix });
      // As many look-ups, none of which is known already.
      for (let asked = 0; asked < 20; asked++) {
        expect(await elsewhere.find(`CSAK${asked}`)).toBeUndefined();
        expect(await keys.find(`CSAK${asked}`)).toBeUndefined();
      }
      expect(await Promise.race([ended, 'waiting'])).toBe('waiting');
      await ended;
      for (const change of changes)
        await expect(change).rejects.toMatchObject({ code: 'ERR_NOT_REPLICATED' });
      for (const { accessKeyId } of made)
        expect(await keys.show(accessKeyId)).toMatchObject({ status: 'revoked' });
    });

    it('opens no connection for a change whose turn comes when it is closed', async () => {
      const { master } = await replicated();
      const keys = storeOn(master, { waitForReplicas: 1 });
      const other = storeOn(master);
      await other.createEmpty();
      await other.close();
      await keys.find('CSAK1');
      enqueue.mockImplementationOnce(async function (this: RedisWriter, ...args) {
        await keys.close();
        return original.apply(this, args);
      });
      await expect(keys.create()).rejects.toThrow('the key store is closed');
      await vi.waitFor(async () => {
        const clients = (await master.client('LIST')) as string;
        // This one, and the replica.
        expect(clients.trim().split('\n')).toHaveLength(2);
      }, 10_000);
    });

    it('waits for a replica that came later', async () => {
      const { master, replica, join } = await startTwo();
      const keys = storeOn(master, { timeout: 1 });
      const { accessKeyId } = await keys.create();
      await join();
      process.kill(replica.pid, 'SIGSTOP');
      await expect(keys.revoke({ accessKeyId })).rejects.toMatchObject({
        code: 'ERR_NOT_REPLICATED',
      });
    });

    it('says what became of a change where it may not ask for replicas', async () => {
      const { server, master } = await replicated();
      const prefix = newPrefix();
      const { accessKeyId } = await storeOn(master, { prefix }).create();
      await master.acl('SETUSER', 'app', 'on', '>pw', '~*', '&*', '+@all', '-wait');
      const keys = storeOn(connect(server.url.replace('//', '//app:pw@')), { prefix });
      await expect(keys.revoke({ accessKeyId })).rejects.toMatchObject({
        code: 'ERR_NOT_REPLICATED',
        message: expect.stringMatching(
          /^0 replicas of Redis acknowledged .* 1 is required: NOPERM .*wait/,
        ),
      });
      expect(await keys.show(accessKeyId)).toMatchObject({ status: 'revoked' });
    });

    it('waits wherever a cluster has a replica, whichever master that follows', async () => {
      const { redis, replicas } = await clustered();
      for (const { pid } of replicas.slice(1)) process.kill(pid, 'SIGKILL');
      const alone = await vi.waitFor(async () => {
        const nodes = redis.nodes('master');
        const infos = await Promise.all(nodes.map((node) => node.info('replication')));
        const found = nodes.filter((_, index) => infos[index]?.includes('connected_slaves:0'));
        expect(found).toHaveLength(2);
        return found[0] as Redis;
      }, 10_000);
      // A name that lies there: the others answer MOVED.
      let prefix = newPrefix();
      while (!(await alone.exists(`{${prefix}}`).then(String, () => false))) prefix = newPrefix();
      // Each is the first change of its store.
      for (let stores = 0; stores < 3; stores++) {
        const keys = storeOn(redis, { prefix: `{${prefix}}`, timeout: 1 });
        await expect(keys.create()).rejects.toMatchObject({ code: 'ERR_NOT_REPLICATED' });
      }
    });

    it('revokes on the master where another shard lacks its replica, in a cluster', async () => {
      const { redis, replicas } = await clustered();
      const prefix = newPrefix();
      const keys = storeOn(redis, { prefix, timeout: 1 });
      const key = await vi.waitFor(() => keys.create({ subject: 'alice' }), 10_000);
      for (const { pid } of replicas) process.kill(pid, 'SIGSTOP');
      // Its record is there for the first time, and so is its name.
      await expect(keys.revoke({ subject: 'alice' })).rejects.toMatchObject({
        code: 'ERR_NOT_REPLICATED',
      });
      expect(await keys.show(key.accessKeyId)).toMatchObject({ status: 'revoked' });
    });

    it('makes changes while a slot is moved, in a cluster', async () => {
      const { redis, masters: nodes } = await clustered();
      const prefix = newPrefix();
      const keys = storeOn(redis, { prefix });
      const { accessKeyId } = await keys.create();
      const record = `${prefix}:key/${accessKeyId}`;
      const masters = await Promise.all(
        nodes.map(async ({ url, port }) => {
          const admin = connect(url);
          const has = (await admin.exists(record).catch(() => 0)) === 1;
          return { admin, port, has, id: (await admin.cluster('MYID')) as string };
        }),
      );
      const from = masters.find(({ has }) => has) as (typeof masters)[number];
      const to = masters.find(({ has }) => !has) as (typeof masters)[number];
      const slot = Number(await from.admin.cluster('KEYSLOT', record));
      await to.admin.cluster('SETSLOT', slot, 'IMPORTING', from.id);
      await from.admin.cluster('SETSLOT', slot, 'MIGRATING', to.id);
      await from.admin.migrate('127.0.0.1', to.port, record, 0, 5_000);
      // ASK, of a key that is somewhere else already.
      await expect(from.admin.exists(record)).rejects.toThrow('ASK');

      await keys.revoke({ accessKeyId });

      expect(await keys.show(accessKeyId)).toMatchObject({ status: 'revoked' });
    });
  });

  describe('whose Redis has lost records', () => {
    const FAILED = /^ERR_KEY_STORE_FAILED: /;

    /** A store with keys, a session and revocations, and a copy of all of it. */
    async function begin() {
      const server = await startRedis();
      const running = { stop: () => server.stop() };
      onTestFinished(() => running.stop());
      const redis = connect(server.url);
      const warnings: Error[] = [];
      const record = (warning: Error) => void warnings.push(warning);
      process.on('warning', record);
      onTestFinished(() => void process.off('warning', record));

      const prefix = newPrefix();
      const keys = storeOn(redis, { prefix, clock: () => NOW });
      const sessions = createTestSessions(keys);
      const [key, revoked] = [await keys.create({ subject: 'alice' }), await keys.create()];
      await keys.revoke({ accessKeyId: revoked.accessKeyId });
      await keys.revoke({ subject: 'bob', only: 'sessions' });
      const session = await sessions.issue({ subject: 'bob', scopes: [], audience: AUDIENCE });
      const ended = await sessions.issue({ subject: 'bob', scopes: [], audience: AUDIENCE });
      await keys.revoke({ accessKeyId: ended.accessKeyId });
      const copy = await Promise.all(
        (await redis.keys('*')).map(async (it) => ({ it, dump: await redis.dumpBuffer(it) })),
      );
      const restore = async (to = redis) => {
        for (const { it, dump } of copy) await to.restore(it, 0, dump as Buffer);
      };
      const restart = async () => {
        await server.stop();
        const again = await startRedis({ port: server.port });
        running.stop = () => again.stop();
      };
      const answers = async (store = keys) => ({
        key: await judge(store, key, { sessions }),
        revoked: await judge(store, revoked, { sessions }),
        session: await judge(store, session, { sessions: createTestSessions(store) }),
        ended: await judge(store, ended, { sessions: createTestSessions(store) }),
        unknown: await judge(store, unknown, { sessions }),
      });
      const unknown = generateAccessKey();
      const healthy = {
        key: 'accepted',
        revoked: 'ERR_KEY_INACTIVE: it is revoked',
        session: 'accepted',
        ended: 'ERR_KEY_INACTIVE: it is revoked',
        unknown: 'ERR_KEY_UNKNOWN: there is no such key',
      };
      expect(await answers()).toEqual(healthy);
      const all = (what: unknown) =>
        Object.fromEntries(Object.keys(healthy).map((it) => [it, what]));
      return { redis, prefix, keys, sessions, warnings, restore, restart, answers, healthy, all };
    }

    it.each(['FLUSHALL', 'a restart without a copy'])(
      'says so after %s, until they are restored: 503 and not 401',
      async (how) => {
        const it = await begin();
        const { redis, prefix, keys, sessions, warnings } = it;
        if (how === 'FLUSHALL') await redis.flushall();
        else await it.restart();
        const since = performance.now();
        // What was read a moment ago goes for a while. Nothing that was accepted is refused as
        // wrong.
        for (;;) {
          const answers = await it.answers();
          expect(answers.key).toMatch(/^accepted$|^ERR_KEY_STORE_FAILED/);
          expect(answers.session).toMatch(/^accepted$|^ERR_KEY_STORE_FAILED/);
          if (Object.values(answers).every((answer) => FAILED.test(answer))) break;
          expect(performance.now() - since).toBeLessThan(10_000);
          await sleep(50);
        }
        const message = `The key store at "${prefix}" is empty: Redis has lost its records. Restore the records, or create an empty store by name: createEmpty(), or countersign keys init`;
        expect(warnings).toMatchObject([{ code: 'COUNTERSIGN_KEY_STORE_EMPTY', message }]);

        // Nothing that a server does by itself makes it look like a new store.
        for (const act of [
          () => keys.create(),
          () => keys.list(),
          () => keys.rewrap(),
          () => keys.revoke({ subject: 'alice' }),
          () => keys.revoke({ accessKeyId: 'CSSK7Q2M5X9R4T8W3Y6Z0ABC' }),
        ])
          await expect(act()).rejects.toMatchObject({ code: 'ERR_STORE_EMPTY', message });
        await expect(
          sessions.issue({ subject: 'bob', scopes: [], audience: AUDIENCE }),
        ).rejects.toMatchObject({ code: 'ERR_KEY_STORE_FAILED' });
        expect(await redis.dbsize()).toBe(0);

        await it.restore();
        expect(await it.answers()).toEqual(it.healthy);
        expect(warnings).toHaveLength(1);
      },
    );

    it('says so to a server that starts then, until an empty store is made by name', async () => {
      const { redis, prefix, answers, all, warnings, healthy } = await begin();
      await redis.flushall();
      const keys = storeOn(redis, { prefix, clock: () => NOW });
      expect(await answers(keys)).toMatchObject({
        key: expect.stringMatching(FAILED),
        session: expect.stringMatching(FAILED),
      });
      expect(warnings.map(({ message }) => message)).toContain(
        `The key store at "${prefix}" is empty: Redis has lost its records, or no key was ever added. Restore the records, add the first key, or create an empty store by name: createEmpty(), or countersign keys init`,
      );
      await keys.createEmpty();
      await keys.createEmpty();
      expect(await keys.list()).toEqual([]);
      // Whoever has a key is told the truth: it is gone for good. No session outlives what was
      // revoked of it.
      expect(await answers(keys)).toEqual({
        ...all('ERR_KEY_UNKNOWN: there is no such key'),
        session: healthy.ended,
        ended: healthy.ended,
      });
    });

    it.each([
      ['a key', 'key/', 'key'],
      ['what was revoked of a session', 'session/', 'ended'],
      ['what was revoked of a subject', 'subject/', 'session'],
      ['what was revoked of everybody', 'everybody', 'session'],
    ] as const)(
      'says so of %s alone, as if a node of a cluster came back empty',
      async (_, what, whose) => {
        const { redis, prefix, answers, warnings } = await begin();
        for (const name of await redis.keys(`${prefix}:${what}*`)) await redis.del(name);
        const keys = storeOn(redis, { prefix, clock: () => NOW });
        expect((await answers(keys))[whose]).toMatch(
          /^ERR_KEY_STORE_FAILED: .*has lost the record/,
        );
        expect(warnings.map(({ message }) => message)).toContainEqual(
          expect.stringContaining(`has lost the record "${what}`),
        );
        expect((await answers(keys)).unknown).toMatch(
          what === 'everybody' ? FAILED : /^ERR_KEY_UNKNOWN: /,
        );
      },
    );

    it('says so of all that lay on a node of a cluster that came back empty', async () => {
      const own = await startRedisCluster({ masters: 3 });
      onTestFinished(() => own.stop());
      const redis = new Cluster([{ host: '127.0.0.1', port: own.nodes[0]?.port }]);
      redis.on('error', () => undefined);
      onTestFinished(() => redis.disconnect());
      const prefix = newPrefix();
      const keys = storeOn(redis, { prefix, clock: () => NOW, timeout: 2 });
      const made = await Promise.all(Array.from({ length: 12 }, () => keys.create()));
      const record = `${prefix}:key/${made[0]?.accessKeyId}`;
      const has = await Promise.all(
        own.nodes.map(({ url }) =>
          connect(url)
            .exists(record)
            .catch(() => 0),
        ),
      );
      await own.nodes[has.indexOf(1)]?.stop();
      await own.restart(has.indexOf(1));

      const lost = vi.waitFor(
        async () =>
          expect(await judge(keys, made[0] as (typeof made)[number])).toMatch(
            /^ERR_KEY_STORE_FAILED: .*(has lost the record|is empty)/,
          ),
        20_000,
      );
      await lost;
      for (const key of made)
        expect(await judge(keys, key)).toMatch(/^accepted$|^ERR_KEY_STORE_FAILED: /);
    });

    it('lets a key go that was lost alone: it is listed, and can be revoked or added again', async () => {
      const { redis, prefix } = await begin();
      const keys = storeOn(redis, { prefix, clock: () => NOW });
      const [lost, again] = [await keys.create(), await keys.create()];
      for (const { accessKeyId } of [lost, again]) await redis.del(`${prefix}:key/${accessKeyId}`);
      const other = storeOn(redis, { prefix, clock: () => NOW });
      const unreadable = { accessKeyId: lost.accessKeyId, status: 'unreadable' };
      expect(await other.list()).toContainEqual(unreadable);
      await expect(other.rewrap()).rejects.toMatchObject({ code: 'ERR_RECORD_LOST' });
      await other.revoke({ accessKeyId: lost.accessKeyId });
      await other.add(again);
      expect(await judge(other, lost)).toBe('ERR_KEY_INACTIVE: it is revoked');
      expect(await judge(other, again)).toBe('accepted');
      await other.rewrap();
    });

    it('takes a store without a marker for one that is there, as long as it has names', async () => {
      const { redis, prefix, answers, healthy } = await begin();
      expect(await redis.zrem(`${prefix}:names`, 'store')).toBe(1);
      expect(await answers(storeOn(redis, { prefix, clock: () => NOW }))).toEqual(healthy);
    });

    it('makes no store where nothing can be sealed', async () => {
      const redis = connect(inject('redisUrl'));
      const prefix = newPrefix();
      const locked = () => Promise.reject(new Error('The vault is locked'));
      const keys = storeOn(redis, { prefix, masterKey: locked });
      await expect(keys.create()).rejects.toThrow('The vault is locked');
      expect(await redis.keys(`${prefix}*`)).toEqual([]);
    });
  });

  it('keeps no name of a session that was revoked and is over', async () => {
    const redis = connect(inject('redisUrl'));
    const prefix = newPrefix();
    const keys = storeOn(redis, { prefix, clock: () => Date.now() / 1000 });
    // A week ago, and now.
    const before = storeOn(redis, { prefix, clock: () => Date.now() / 1000 - 7 * 86_400 - 10 });
    const revoke = (store: RedisKeyStore, ids: string[]) =>
      Promise.all(ids.map((accessKeyId) => store.revoke({ accessKeyId })));
    const [over, ...others] = ['A', 'B', 'C', 'D'].map((letter) => `CSSK${letter.repeat(20)}`);
    const key = await keys.create();
    await revoke(keys, others);
    await revoke(before, [over as string]);
    await revoke(keys, others.slice(1));
    const names = await redis.zrange(`${prefix}:names`, '0', '-1');
    expect(names.filter((name) => !name.startsWith('store/')).sort()).toEqual(
      [`key/${key.accessKeyId}`, ...others.map((id) => `session/${id}`), 'store'].sort(),
    );
  });

  it('is not deceived by names of what is over: no key of another master key comes in', async () => {
    const redis = connect(inject('redisUrl'));
    const prefix = newPrefix();
    await storeOn(redis, { prefix }).create();
    const over = Math.floor(Date.now() / 1000) - 10;
    for (let name = 0; name < 200; name++)
      await redis.zadd(`${prefix}:names`, String(over), `session/${name}`);
    const other = storeOn(redis, { prefix, masterKey: generateMasterKey() });
    await expect(other.create()).rejects.toMatchObject({ code: 'ERR_MASTER_KEY' });
  });

  it('lists a key that somebody adds just as another takes its name for a leftover', async () => {
    const redis = connect(inject('redisUrl'));
    const prefix = newPrefix();
    const key = generateAccessKey();
    const [tidy, other] = [storeOn(redis, { prefix }), storeOn(redis, { prefix })];
    // Of a record that has had its time.
    await tidy.createEmpty();
    const over = String(Math.floor(Date.now() / 1000) - 10);
    await redis.zadd(`${prefix}:names`, over, `key/${key.accessKeyId}`);
    const { zrem } = Redis.prototype;
    const remove = vi.spyOn(Redis.prototype, 'zrem').mockImplementationOnce(async function (
      this: Redis,
      ...args: unknown[]
    ) {
      await other.add(key);
      return zrem.apply(this, args as Parameters<typeof zrem>);
    } as typeof zrem);
    onTestFinished(() => remove.mockRestore());

    await tidy.rewrap();

    expect(remove).toHaveBeenCalledOnce();
    expect(await other.list()).toMatchObject([{ accessKeyId: key.accessKeyId }]);
  });

  it('is closed once and for all', async () => {
    const keys = storeOn(connect(inject('redisUrl')), { prefix: newPrefix() });
    await keys.createEmpty();
    await keys.find('CSAK1');
    await keys.close();
    await expect(keys.find('CSAK2')).rejects.toThrow('Cannot use the key store: it is closed');
    await expect(keys.create()).rejects.toThrow('it is closed');
  });

  it('says why Redis cannot be reached', async () => {
    const server = await startRedis();
    onTestFinished(() => server.stop());
    await connect(server.url).config('SET', 'requirepass', 'mT0pQ7vYx2Zr');
    const keys = storeOn(connect(server.url.replace('//', '//:mT0pQ7wrong@')), { timeout: 0.4 });
    await vi.waitFor(
      () => expect(keys.find('CSAK1')).rejects.toThrow(/NOAUTH|WRONGPASS|invalid/),
      10_000,
    );
    const thrown = [
      await keys.find('CSAK1').catch((error: unknown) => error),
      await judge(keys, generateAccessKey()).catch((error: unknown) => error),
    ];
    expect(inspect(thrown, { depth: 12, showHidden: true })).not.toContain('mT0pQ7wrong');
  });

  it('says what it needs', () => {
    const redis = connect(inject('redisUrl'));
    expect(() => new RedisKeyStore({} as never)).toThrow('option "redis"');
    expect(() => new RedisKeyStore({ redis } as never)).toThrow('option "masterKey"');
    expect(() => new RedisKeyStore({ redis, masterKey: '' })).toThrow(
      '<id>:<32 bytes in base64url>',
    );
    expect(() => new RedisKeyStore({ redis, masterKey: [] })).toThrow(
      '<id>:<32 bytes in base64url>',
    );
    expect(() => new RedisKeyStore({ redis, masterKey, timeout: Number.NaN })).toThrow('"timeout"');
    expect(() => new RedisKeyStore({ redis, masterKey, waitForReplicas: -1 })).toThrow(
      '"waitForReplicas"',
    );
  });
});
