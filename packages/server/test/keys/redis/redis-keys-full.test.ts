import { generateMasterKey } from '@countersign/server';
import { RedisKeyStore } from '@countersign/server/redis';
import { Cluster, Redis } from 'ioredis';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { NOW } from '../../../../../test/support/now.ts';
import { startRedis, startRedisCluster } from '../../../../../test/support/redis.ts';
import { AUDIENCE, createTestSessions, judge } from '../key-store-contract.ts';

const masterKey = generateMasterKey();
const FULL = { code: 'ERR_STORE_FULL', message: expect.stringContaining('Redis is full') };

interface Place {
  readonly redis: Redis | Cluster;
  readonly masters: readonly Redis[];
}

function connect(url: string): Redis {
  const redis = new Redis(url);
  redis.on('error', () => undefined);
  onTestFinished(() => redis.disconnect());
  return redis;
}

function storeOn({ redis }: Place): RedisKeyStore {
  const keys = new RedisKeyStore({ redis, masterKey, timeout: 10, clock: () => NOW });
  onTestFinished(() => keys.close());
  return keys;
}

/** Fills each master up to its `maxmemory`, which leaves little room. */
async function fill({ masters }: Place): Promise<void> {
  for (const master of masters) {
    const used = Number(/used_memory:(\d+)/.exec(await master.info('memory'))?.[1]);
    await master.config('SET', 'maxmemory', used + 100_000);
    // What is kept in a script needs no key that this node has.
    const grow = `for i = 1, 100 do redis.call('SETRANGE', KEYS[1], redis.call('STRLEN', KEYS[1]) + 10000, '.') end`;
    const [key] = await ownKeys(master);
    await expect(
      Promise.all(Array.from({ length: 10 }, () => master.eval(grow, 1, key as string))),
    ).rejects.toThrow('OOM command not allowed');
  }
}

/** The name of a key that lies on this node. */
async function ownKeys(master: Redis): Promise<string[]> {
  const tried = Array.from({ length: 200 }, (_, index) => `filler:${index}`);
  const found = await Promise.all(
    tried.map((key) =>
      master.set(key, '.').then(
        () => key,
        () => undefined,
      ),
    ),
  );
  return found.filter((key) => key !== undefined);
}

const PLACES: [name: string, open: () => Promise<Place>][] = [
  [
    'Redis',
    async () => {
      const server = await startRedis();
      onTestFinished(() => server.stop());
      const redis = connect(server.url);
      return { redis, masters: [redis] };
    },
  ],
  [
    'Redis with a replica',
    async () => {
      const [server, replica] = await Promise.all([
        startRedis({ args: ['--repl-diskless-sync-delay', '0'] }),
        startRedis(),
      ]);
      onTestFinished(() => Promise.all([server.stop(), replica.stop()]).then(() => undefined));
      const redis = connect(server.url);
      await connect(replica.url).replicaof('127.0.0.1', server.port);
      await vi.waitFor(async () => {
        await redis.set('written', 'before');
        expect(await redis.wait(1, 200)).toBe(1);
      }, 10_000);
      return { redis, masters: [redis] };
    },
  ],
  [
    'a Redis Cluster',
    async () => {
      const { nodes, stop } = await startRedisCluster({ masters: 3 });
      onTestFinished(stop);
      const redis = new Cluster(nodes.map(({ port }) => ({ host: '127.0.0.1', port })));
      redis.on('error', () => undefined);
      onTestFinished(() => redis.disconnect());
      return { redis, masters: nodes.map(({ url }) => connect(url)) };
    },
  ],
];

describe.each(PLACES)('RedisKeyStore on %s that is full', (_, open) => {
  it('K10: what there is is revoked, at once and on all servers', async () => {
    const place = await open();
    const [admin, edge] = [storeOn(place), storeOn(place)];
    const sessions = createTestSessions(admin);
    const issue = () => sessions.issue({ subject: 'carol', scopes: [], audience: AUDIENCE });
    const byId = await admin.create({ subject: 'alice' });
    const bySubject = await admin.create({ subject: 'bob' });
    const disabled = await admin.create({ subject: 'dave' });
    const [one, another] = [await issue(), await issue()];
    for (const it of [byId, bySubject, disabled, one, another])
      for (const keys of [admin, edge]) expect(await judge(keys, it)).toBe('accepted');
    await fill(place);

    await admin.revoke({ accessKeyId: byId.accessKeyId });
    await admin.revoke({ subject: 'bob' });
    await admin.disable(disabled.accessKeyId);
    await admin.revoke({ accessKeyId: one.accessKeyId });
    const ended: [typeof byId | typeof one, RegExp][] = [
      [byId, /^ERR_KEY_INACTIVE: it is revoked$/],
      [bySubject, /^ERR_KEY_INACTIVE: it is revoked$/],
      [disabled, /^ERR_KEY_INACTIVE: it is not active$/],
      [one, /^ERR_KEY_INACTIVE: it is revoked$/],
    ];
    const fresh = storeOn(place);
    for (const [it, refusal] of ended) {
      for (const keys of [admin, fresh]) expect(await judge(keys, it)).toMatch(refusal);
      // The message may take a moment.
      await vi.waitFor(async () => expect(await judge(edge, it)).toMatch(refusal), 10_000);
    }
    expect(await judge(edge, another)).toBe('accepted');
    await admin.revoke({ everybody: 'sessions' });
    await vi.waitFor(async () => expect(await judge(edge, another)).toMatch(/INACTIVE/), 10_000);
  });

  it('adds nothing, says why, and leaves nothing behind', async () => {
    const place = await open();
    const keys = storeOn(place);
    const old = await keys.create({ subject: 'alice' });
    await fill(place);
    for (let made = 0; made < 6; made++)
      await expect(keys.create({ subject: 'alice' })).rejects.toMatchObject(FULL);
    await expect(keys.rotate(old.accessKeyId, { overlap: 60 })).rejects.toMatchObject(FULL);
    expect(await keys.list()).toMatchObject([{ accessKeyId: old.accessKeyId, status: 'active' }]);
    for (const master of place.masters) await master.config('SET', 'maxmemory', 0);
    expect(await judge(keys, await keys.create())).toBe('accepted');
  });
});

it('RedisKeyStore adds no key to a cluster of which only the node of the record is full', async () => {
  const place = await (PLACES[2] as (typeof PLACES)[number])[1]();
  const keys = storeOn(place);
  const old = await keys.create();
  const names = 'countersign:keys:names';
  const has = await Promise.all(place.masters.map((it) => it.exists(names).catch(() => 0)));
  await fill({ ...place, masters: place.masters.filter((_, index) => has[index] === 0) });
  const made = await Promise.allSettled(Array.from({ length: 24 }, () => keys.create()));
  const failures = made.filter((it) => it.status === 'rejected');
  expect(failures.length).toBeGreaterThan(0);
  for (const { reason } of failures) expect(reason).toMatchObject(FULL);
  const listed = await keys.list();
  expect(listed).toHaveLength(1 + made.length - failures.length);
  expect(new Set(listed.map(({ status }) => status))).toEqual(new Set(['active']));
  await keys.revoke({ accessKeyId: old.accessKeyId });
  expect(await judge(storeOn(place), old)).toBe('ERR_KEY_INACTIVE: it is revoked');
});
