import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { Cluster, type ClusterOptions, Redis } from 'ioredis';
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  it,
  onTestFinished,
  vi,
} from 'vitest';
import { type RedisCluster, startRedisCluster } from '../../../../../test/support/redis.ts';
import type { NonceClaim } from '../../../src/index.ts';
import {
  RedisNonceStore,
  type RedisNonceStoreOptions,
  RedisOnceStore,
} from '../../../src/redis.ts';
import { onceStoreContract } from '../../callbacks/once/once-store-contract.ts';
import { startProxy } from '../../lib/redis/redis-faults.ts';
import { nonceBudgetContract } from '../nonce-budget-contract.ts';
import { claimOf, epochOf, nonceStoreContract } from '../nonce-store-contract.ts';

/** Answers are waited for until they come: what is slow here is the machine. */
const PATIENT = 10;

let cluster: RedisCluster;
let prefixes = 0;
const newPrefix = (): string => `test:${++prefixes}`;

beforeAll(async () => {
  cluster = await startRedisCluster({ masters: 3 });
});
afterAll(() => cluster?.stop());

const printed = vi.spyOn(console, 'error');
beforeEach(() => void printed.mockClear());
// What ioredis prints if an error has no listener.
afterEach(() => expect(printed.mock.calls).toEqual([]));

/** A connection as a server has one, until the test is over. */
function connect(
  options: Pick<ClusterOptions, 'natMap'> & { redisOptions?: object } = {},
  of: RedisCluster = cluster,
): Cluster {
  const startup = of.nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
  const redis = new Cluster(startup, options);
  redis.on('error', () => undefined);
  onTestFinished(() => redis.disconnect());
  return redis;
}

function storeOn(redis: Cluster, options: Partial<RedisNonceStoreOptions> = {}): RedisNonceStore {
  const store = new RedisNonceStore({ redis, timeout: PATIENT, ...options });
  onTestFinished(() => store.close());
  return store;
}

/** Connections to the masters themselves, in their order. */
function admins(of: RedisCluster = cluster): Redis[] {
  return of.nodes.map(({ url }) => {
    const admin = new Redis(url);
    admin.on('error', () => undefined);
    onTestFinished(() => admin.disconnect());
    return admin;
  });
}

async function nowOf(admin: Redis | undefined): Promise<number> {
  return Number((await (admin as Redis).time())[0]);
}

async function keysOf(masters: readonly Redis[], prefix: string): Promise<string[][]> {
  return Promise.all(masters.map((admin) => admin.keys(`${prefix}:*`)));
}

nonceStoreContract('RedisNonceStore on a cluster', async () => {
  const prefix = newPrefix();
  const masters = admins();
  const options = { prefix, slack: 0.2 };
  const servers = [storeOn(connect(), options), storeOn(connect(), options)] as const;
  const lose = async () => {
    const keys = await keysOf(masters, prefix);
    await Promise.all(
      masters.flatMap((admin, index) => keys[index]?.map((key) => admin.del(key)) ?? []),
    );
    return servers[0];
  };
  const until = async (time: number) => {
    while ((await nowOf(masters[0])) < time) await sleep(20);
  };
  return { servers, now: () => nowOf(masters[0]), until, lose, slack: options.slack };
});

nonceBudgetContract('RedisNonceStore on a cluster', async (perSubject) => {
  const prefix = newPrefix();
  const masters = admins();
  const options = { prefix, perSubject };
  const servers = [storeOn(connect(), options), storeOn(connect(), options)] as const;
  const expire = async () => {
    const soon = (await nowOf(masters[0])) + 40;
    for (const admin of masters)
      for (const owner of await admin.keys(`${prefix}:*:*`))
        for (const end of await admin.hkeys(owner))
          if (Number(end) < soon) await admin.hdel(owner, end);
  };
  return { servers, now: () => nowOf(masters[0]), expire };
});

onceStoreContract('RedisOnceStore on a cluster', (perSender) => {
  const prefix = newPrefix();
  const makeStore = () => {
    const store = new RedisOnceStore({ redis: connect(), prefix, timeout: PATIENT, perSender });
    onTestFinished(() => store.close());
    return store;
  };
  return { servers: [makeStore(), makeStore()], pass: (seconds) => sleep(seconds * 1000) };
});

describe('RedisNonceStore on a cluster', () => {
  it('shows no password where that is wrong', async () => {
    const masters = admins();
    await Promise.all(masters.map((admin) => admin.config('SET', 'requirepass', 'mT0pQ7vYx2Zr')));
    onTestFinished(async () => {
      await Promise.all(masters.map((admin) => admin.config('SET', 'requirepass', '')));
    });
    const store = storeOn(connect({ redisOptions: { password: 'mT0pQ7wrong' } }), { timeout: 1 });
    const thrown = await Promise.all([
      store.claim(claimOf(0)).catch((error: unknown) => error),
      store.ready(0.1).catch((error: unknown) => error),
    ]);
    expect(thrown).toEqual([expect.any(Error), expect.any(Error)]);
    expect(inspect(thrown, { depth: 12, showHidden: true })).not.toContain('mT0pQ7wrong');
  });

  it('makes a connection of its own, which sends nothing again after a connection closed', () => {
    const redis = connect({ redisOptions: { stringNumbers: true, connectionName: 'api' } });
    const duplicate = vi.spyOn(redis, 'duplicate');
    const store = new RedisNonceStore({ redis });
    onTestFinished(() => store.close());
    const own = duplicate.mock.results[0]?.value as Cluster;
    expect(own).not.toBe(redis);
    expect(own.options).toMatchObject({
      retryDelayOnFailover: 0,
      enableAutoPipelining: false,
      redisOptions: {
        autoResendUnfulfilledCommands: false,
        maxRetriesPerRequest: 0,
        enableOfflineQueue: false,
        commandTimeout: 500,
        stringNumbers: false,
        connectionName: 'api',
      },
    });
    expect(redis.options.redisOptions).toEqual({ stringNumbers: true, connectionName: 'api' });
  });

  it('lets all partitions be born when a server starts, spread over all masters', async () => {
    const masters = admins();
    const prefix = newPrefix();
    const store = storeOn(connect(), { prefix });
    const sizes = async () => (await keysOf(masters, prefix)).map((keys) => keys.length);
    await vi.waitFor(
      async () => expect((await sizes()).reduce((sum, size) => sum + size)).toBe(16),
      { timeout: 10_000 },
    );
    expect(Math.min(...(await sizes()))).toBeGreaterThan(0);

    // And no access key has to wait for a birth that only comes with its first request.
    const now = await nowOf(masters[0]);
    const refused = await Promise.all(
      Array.from({ length: 500 }, (_, index) =>
        store.claim(claimOf(now, { accessKeyId: `CSAK${index}` })),
      ),
    );
    expect(new Set(refused.map(({ epoch }) => epoch)).size).toBe(16);
    const answers = await Promise.all(
      refused.map(({ epoch }, index) =>
        store.claim(claimOf(now, { accessKeyId: `CSAK${index}`, epoch })),
      ),
    );
    expect(new Set(answers.map(({ outcome }) => outcome))).toEqual(new Set(['claimed']));
  });

  it('answers a burst of first requests of 200 access keys, each at its second attempt', async () => {
    const [admin] = admins();
    const now = await nowOf(admin);
    for (let round = 0; round < 5; round++) {
      const store = storeOn(connect(), { prefix: newPrefix(), timeout: 2 });
      const claims = Array.from({ length: 200 }, (_, index) =>
        claimOf(now, { accessKeyId: `CSAK${index}` }),
      );
      const refused = await Promise.all(claims.map((claim) => store.claim(claim)));
      const again = claims.map((claim, index) => ({ ...claim, epoch: refused[index]?.epoch }));
      const answers = await Promise.all(again.map((claim) => store.claim(claim)));
      expect(new Set(answers.map(({ outcome }) => outcome))).toEqual(new Set(['claimed']));
    }
  });

  it('never takes the first use of a nonce for a replay where a reply is lost, in 50 of 50', async () => {
    const [admin] = admins();
    const proxies = await Promise.all(cluster.nodes.map(({ port }) => startProxy(port)));
    const natMap = Object.fromEntries(
      cluster.nodes.map(({ port }, index) => [
        `127.0.0.1:${port}`,
        { host: '127.0.0.1', port: proxies[index]?.port as number },
      ]),
    );
    const prefix = newPrefix();
    // Where what ioredis asks for itself is lost, it may wait until its time is over.
    const store = storeOn(connect({ natMap }), { prefix, timeout: 1 });
    const other = storeOn(connect(), { prefix });
    const now = await nowOf(admin);
    let executed = 0;
    for (let round = 1; executed < 50; round++) {
      const accessKeyId = `CSAK${round}`;
      const epoch = await vi.waitFor(() => epochOf(store, now, accessKeyId), { timeout: 10_000 });
      const claim = claimOf(now, { accessKeyId, epoch });
      for (const proxy of proxies) proxy.mode = 'lose the next reply';
      const answer = await store.claim(claim).catch(() => undefined);
      for (const proxy of proxies) proxy.mode = 'pass';
      expect(answer?.outcome).not.toBe('replayed');
      // Lost may be a redirection, or what the connection asks for itself: then nothing was
      // executed.
      const { outcome } = await other.claim(claim);
      if (answer === undefined && outcome === 'replayed') executed++;
      expect(round).toBeLessThan(200);
    }
  });

  it('accepts nothing twice while a slot moves, and after', async () => {
    const masters = admins();
    const prefix = newPrefix();
    const store = storeOn(connect(), { prefix });
    const now = await nowOf(masters[0]);
    let epoch = await epochOf(store, now);
    const claimed: NonceClaim[] = [];
    const claimSome = async () => {
      // Where the set lies on another node its epoch is another: clients are told.
      epoch = await epochOf(store, now);
      for (let count = 0; count < 20; count++) {
        const claim = claimOf(now, { epoch });
        expect(await store.claim(claim)).toEqual({ outcome: 'claimed', epoch });
        claimed.push(claim);
      }
      for (const claim of claimed)
        expect(await store.claim(claim)).toMatchObject({ outcome: 'replayed' });
    };
    await claimSome();

    const keys = (await keysOf(masters, prefix)).flatMap((names, master) =>
      names.filter((name) => /:\d+$/.test(name)).map((name) => ({ name, master })),
    );
    const sizes = await Promise.all(
      keys.map(({ name, master }) => (masters[master] as Redis).zcard(name)),
    );
    const { name, master } = keys[sizes.indexOf(23)] as (typeof keys)[number];
    const [source, target] = [masters[master], masters[(master + 1) % 3]] as [Redis, Redis];
    const slot = await source.cluster('KEYSLOT', name);
    const [sourceId, targetId] = [await source.cluster('MYID'), await target.cluster('MYID')] as [
      string,
      string,
    ];

    await target.cluster('SETSLOT', slot, 'IMPORTING', sourceId);
    await source.cluster('SETSLOT', slot, 'MIGRATING', targetId);
    await claimSome();
    await source.migrate('127.0.0.1', target.options.port as number, name, 0, 5_000);
    // Asked at its old place, sent on to the new one.
    await claimSome();
    for (const admin of [target, source, ...masters])
      await admin.cluster('SETSLOT', slot, 'NODE', targetId);
    await claimSome();
    expect(await target.zcard(name)).toBe(83);
  });
});

describe('RedisNonceStore on a cluster that loses a master', () => {
  it('rejects what the master was for, quickly, and goes on with the rest', async () => {
    const own = await startRedisCluster({ masters: 3 });
    onTestFinished(() => own.stop());
    const masters = admins(own);
    await Promise.all(
      masters.map((admin) => admin.config('SET', 'cluster-require-full-coverage', 'no')),
    );
    const prefix = newPrefix();
    const store = storeOn(connect({}, own), { prefix, timeout: 2 });
    const now = await nowOf(masters[0]);
    const epochs = new Map<number, string>();
    const claim = async (index: number) => {
      const epoch = epochs.get(index);
      const answer = await store.claim(claimOf(now, { accessKeyId: `CSAK${index}`, epoch }));
      epochs.set(index, answer.epoch);
      return answer;
    };
    const all = Array.from({ length: 100 }, (_, index) => index);
    await vi.waitFor(() => Promise.all(all.map(claim)), { timeout: 10_000 });
    await Promise.all(all.map(claim));

    await own.nodes[0]?.stop();
    const tried = await Promise.allSettled(all.map(claim));
    const served = all.filter((index) => tried[index]?.status === 'fulfilled');
    expect(served.length).toBeGreaterThan(20);
    expect(served.length).toBeLessThan(90);
    // Again and again: those that are served stay so, those that are not are told in time.
    for (let round = 0; round < 3; round++) {
      const start = performance.now();
      const results = await Promise.allSettled(all.map(claim));
      expect(performance.now() - start).toBeLessThan(5_000);
      for (const index of served)
        expect(results[index]).toMatchObject({ value: { outcome: 'claimed' } });
    }
  });
});
