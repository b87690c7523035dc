import { once } from 'node:events';
import { type AddressInfo, connect as connectTo, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { generateMasterKey, type NonceClaim } from '@countersign/server';
import { BullmqCallbackQueue } from '@countersign/server/bullmq';
import { RedisKeyStore, RedisNonceStore, RedisOnceStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type RedisServer, startRedis } from '../../../../../test/support/redis.ts';
import { OperatorWarnings } from '../../../src/lib/operator-warning.ts';
import { CheckedRedis } from '../../../src/lib/redis/checked-redis.ts';
import { duplicate } from '../../../src/lib/redis/own-connection.ts';
import { noAnswer, rememberFailures } from '../../../src/lib/redis/reachable.ts';
import { startProxy } from './redis-faults.ts';

const masterKey = generateMasterKey();

function connect(url: string): Redis {
  const redis = new Redis(url);
  redis.on('error', () => undefined);
  onTestFinished(() => redis.disconnect());
  return redis;
}

async function startOwn(): Promise<RedisServer & { readonly admin: Redis }> {
  const server = await startRedis();
  onTestFinished(() => server.stop());
  return { ...server, admin: connect(server.url) };
}

/**
 * A way to Redis on which a connection breaks, `left` times, when it is tested: at its second INFO.
 */
async function breakTests(target: number, left: number): Promise<{ port: number; left: number }> {
  const broken = { port: 0, left };
  const server = createServer((client) => {
    const redis = connectTo(target, '127.0.0.1');
    let looks = 0;
    client.on('data', (data) => {
      looks += data.toString('latin1').match(/\binfo\b/gi)?.length ?? 0;
      if (looks < 2 || broken.left === 0) return void redis.write(data);
      broken.left -= 1;
      client.destroy();
    });
    redis.on('data', (data) => client.write(data));
    for (const [one, other] of [
      [client, redis],
      [redis, client],
    ] as const)
      one.on('error', () => undefined).on('close', () => other.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  broken.port = (server.address() as AddressInfo).port;
  return broken;
}

interface Opened {
  readonly store: { ready(seconds?: number): Promise<void>; close(): unknown };
  readonly ask: () => Promise<unknown>;
}

/** Each store that relies on a Redis, and a question to it. */
const STORES: [name: string, open: (redis: Redis, timeout: number) => Opened][] = [
  [
    'RedisNonceStore',
    (redis, timeout) => {
      const store = new RedisNonceStore({ redis, timeout });
      const now = Date.now() / 1000;
      const claim: NonceClaim = {
        accessKeyId: 'CSAK1',
        audience: 'video-api',
        nonce: 'n'.repeat(22),
        signedAt: now,
        acceptableFrom: now,
        acceptableUntil: now + 120,
      };
      return { store, ask: () => store.claim(claim) };
    },
  ],
  [
    'RedisKeyStore',
    (redis, timeout) => {
      const store = new RedisKeyStore({ redis, masterKey, timeout });
      return { store, ask: () => store.find('CSAK1') };
    },
  ],
  [
    'RedisOnceStore',
    (redis, timeout) => {
      const store = new RedisOnceStore({ redis, timeout });
      return { store, ask: () => store.begin('k'.repeat(22), 'token', 60) };
    },
  ],
  [
    'BullmqCallbackQueue',
    (redis, timeout) => {
      const store = new BullmqCallbackQueue({ redis, timeout });
      const callback = { id: 'one', endpoint: 'one', type: 'a.b', body: new Uint8Array() };
      const ask = () => store.add({ ...callback, createdAt: 0 } as never);
      return { store, ask };
    },
  ],
];

it('a client that copies the data for a backup is no replica that claims and changes wait for', async () => {
  const { admin, port, url } = await startOwn();
  const backup = connectTo(port, '127.0.0.1');
  onTestFinished(() => void backup.destroy());
  backup.resume().write('SYNC\r\n');
  while (!(await admin.info('replication')).includes('port=0,state=online'));
  const nonces = new RedisNonceStore({ redis: connect(url) });
  const keys = new RedisKeyStore({ redis: connect(url), masterKey });
  onTestFinished(async () => void (await Promise.all([nonces.close(), keys.close()])));
  await Promise.all([nonces.ready(), keys.ready()]);
  backup.destroy();
  const signedAt = Date.now() / 1000;
  const claim = {
    accessKeyId: 'CSAK1',
    audience: 'video-api',
    nonce: 'n'.repeat(22),
    signedAt,
    acceptableFrom: signedAt - 5,
    acceptableUntil: signedAt + 120,
  };
  const { epoch } = await nonces.claim(claim);
  expect(await nonces.claim({ ...claim, epoch })).toMatchObject({ outcome: 'claimed' });
  expect(await keys.create({ subject: 'alice' })).toMatchObject({ subject: 'alice' });
});

describe.each(STORES)('%s', (_, open) => {
  const opened = (redis: Redis, timeout = 10): Opened => {
    const it = open(redis, timeout);
    onTestFinished(async () => void (await it.store.close()));
    return it;
  };

  beforeEach(() => void vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined));
  afterEach(() => void vi.restoreAllMocks());

  it('ready() waits for Redis, and says why it is not fit', async () => {
    const { url, admin } = await startOwn();
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const { store } = opened(connect(url));
    await expect(store.ready()).rejects.toThrow('its maxmemory-policy is "allkeys-lru"');
    await admin.config('SET', 'maxmemory-policy', 'noeviction');
    await vi.waitFor(() => store.ready(), 10_000);
  });

  it.each([Number.NaN, -1, 3_601])('ready() refuses to wait for %d s', async (seconds) => {
    const { url } = await startOwn();
    const { store } = opened(connect(url));
    await expect(store.ready(seconds)).rejects.toThrow(
      `Cannot wait for Redis: expected 0 to 3,600 seconds, got "${seconds}"`,
    );
  });

  it('ready() waits through connections that break while they are tested', async () => {
    const { port } = await startOwn();
    const broken = await breakTests(port, 2);
    const { store } = opened(connect(`redis://127.0.0.1:${broken.port}`), 0.4);
    await expect(store.ready()).resolves.toBeUndefined();
    expect(broken.left).toBe(0);
  });

  it('ready() waits for the Redis that comes after one that was not fit', async () => {
    const { port, url, admin, stop } = await startOwn();
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const { store } = opened(connect(url), 0.4);
    await expect(store.ready()).rejects.toThrow('its maxmemory-policy is "allkeys-lru"');
    await stop();
    // Nothing is known of what comes next once the connection is gone.
    await vi.waitFor(() => expect(store.ready(0)).rejects.toThrow('Cannot reach Redis'), 10_000);
    const waiting = store.ready();
    const next = await startRedis({ port });
    onTestFinished(() => next.stop());
    await expect(waiting).resolves.toBeUndefined();
  });

  it('ready() ends if the store is closed meanwhile', async () => {
    const silent = createServer((socket) => void socket.on('error', () => undefined).resume());
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    onTestFinished(() => void silent.close());
    const { port } = silent.address() as AddressInfo;
    const { store } = opened(connect(`redis://127.0.0.1:${port}`));
    const waiting = store.ready(3_600);
    await once(silent, 'connection');
    void store.close();
    // Long before the 10 s for which a question waits for a connection.
    const late = sleep(5_000, 'not yet', { ref: false });
    await expect(Promise.race([waiting, late])).rejects.toThrow(/the store is closed$/);
  });

  it('says that Redis cannot be reached, not that it was slow', async () => {
    const { store, ask } = opened(connect('redis://127.0.0.1:1'), 0.2);
    await expect(store.ready(0.2)).rejects.toThrow('Cannot reach Redis: connect ECONNREFUSED');
    // Long enough that none of the attempts to connect falls into the time of some questions.
    for (let asked = 0; asked < 8; asked++)
      await expect(ask()).rejects.toThrow(/Cannot reach Redis: connect ECONNREFUSED/);
  });

  it('says that it is closed', async () => {
    const { url } = await startOwn();
    const { store, ask } = opened(connect(url));
    await store.ready();
    await ask().catch(() => undefined);
    await store.close();
    await expect(ask()).rejects.toThrow(/(?:store|it) is closed$/);
    await expect(store.ready()).rejects.toThrow(/(?:store|it) is closed$/);
  });
});

it('RedisKeyStore finds nothing once it is closed, not even what it knew', async () => {
  const { url } = await startOwn();
  const keys = new RedisKeyStore({ redis: connect(url), masterKey, timeout: 10 });
  const { accessKeyId } = await keys.create();
  // The subscription stands: nothing is forgotten meanwhile.
  await sleep(300);
  await keys.find(accessKeyId);
  await keys.close();
  await expect(async () => keys.find(accessKeyId)).rejects.toThrow(
    'Cannot use the key store: it is closed',
  );
});

describe('noAnswer()', () => {
  it('says why Redis cannot be reached, if it cannot', async () => {
    const redis = duplicate(connect('redis://127.0.0.1:1'), 100);
    onTestFinished(() => redis.disconnect());
    expect(noAnswer(redis, 100).message).toBe('Cannot reach Redis: no answer within 100 ms');
    rememberFailures(redis);
    await vi.waitFor(() =>
      expect(noAnswer(redis, 100).message).toBe(
        'Cannot reach Redis: connect ECONNREFUSED 127.0.0.1:1',
      ),
    );
  });

  it('says that Redis is slow, if it is reached', async () => {
    const redis = connect((await startOwn()).url);
    await vi.waitFor(() => expect(redis.status).toBe('ready'), 10_000);
    expect(noAnswer(redis, 100).message).toBe('Redis did not answer within 100 ms');
  });
});

describe('CheckedRedis', () => {
  it('finds that the policy of a Redis was changed while it is connected to', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => warn.mockRestore());
    const { url, admin } = await startOwn();
    const tested = new CheckedRedis(duplicate(connect(url), 10_000), {
      what: 'tests',
      store: 'ONCE_STORE',
      warnings: new OperatorWarnings(),
      consequence: 'Tests fail',
      timeout: 10_000,
      testEvery: 5,
      permissions: async () => undefined,
    });
    onTestFinished(() => tested.close());
    let connections = 0;
    tested.redis.on('ready', () => connections++);
    await tested.ready(10);
    const before = connections;
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const unfit = 'Redis is not fit for tests: its maxmemory-policy is "allkeys-lru"';
    await vi.waitFor(() => expect(tested.connected()).rejects.toThrow(unfit), 10_000);
    expect(warn).toHaveBeenCalledExactlyOnceWith(expect.stringContaining(unfit), {
      code: 'COUNTERSIGN_ONCE_STORE_UNFIT',
    });
    await admin.config('SET', 'maxmemory-policy', 'noeviction');
    await vi.waitFor(() => tested.connected(), 10_000);
    expect(connections).toBe(before);
  });
});

it('a connection that stays with a demoted master is made again, and leads to the new master', async () => {
  const [old, next] = [await startOwn(), await startOwn()];
  const proxy = await startProxy(old.port);
  const tested = new CheckedRedis(duplicate(connect(`redis://127.0.0.1:${proxy.port}`), 10_000), {
    what: 'tests',
    store: 'ONCE_STORE',
    warnings: new OperatorWarnings(() => undefined),
    consequence: 'Tests fail',
    timeout: 10_000,
    testEvery: 20,
    permissions: async () => undefined,
  });
  onTestFinished(() => tested.close());
  await tested.ready(10);
  // As behind a name that a failover moves: new connections lead to the new master, and the old
  // master keeps those that it has.
  proxy.target = next.port;
  await old.admin.replicaof('127.0.0.1', next.port);
  const portOf = async () =>
    /^tcp_port:(\d+)/m.exec(await (tested.redis as Redis).info('server'))?.[1];
  await vi.waitFor(async () => {
    await tested.connected();
    expect(await portOf()).toBe(String(next.port));
  }, 10_000);
});
