import { createRequire } from 'node:module';
import {
  generateMasterKey,
  type ManagedKeyStore,
  type NonceClaim,
  type SessionFacts,
} from '@countersign/server';
import { BullmqCallbackQueue } from '@countersign/server/bullmq';
import type { QueuedCallback, Verdict } from '@countersign/server/callbacks';
import { createFailureLimit } from '@countersign/server/failures';
import { RedisKeyStore, RedisNonceStore, RedisOnceStore } from '@countersign/server/redis';
import { Cluster, Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { until } from '../../../../../test/support/deadline.ts';
import {
  type RedisCluster,
  type RedisServer,
  startRedis,
  startRedisCluster,
} from '../../../../../test/support/redis.ts';
import { CHANGES_KEYS, ruleOf } from '../../../../../test/support/redis-rules.ts';
import {
  BULLMQ_COMMANDS,
  BULLMQ_SCRIPTS,
} from '../../../src/callbacks/send/queue/bullmq-commands.ts';
import { RedisChanges } from '../../../src/keys/redis/redis-changes.ts';
import { SESSION_PREFIX } from '../../../src/keys/session-revocations.ts';
import { OperatorWarnings } from '../../../src/lib/operator-warning.ts';
import { CheckedRedis } from '../../../src/lib/redis/checked-redis.ts';
import { duplicate } from '../../../src/lib/redis/own-connection.ts';
import { commandsOf, FORMS } from '../../../src/lib/redis/redis-commands.ts';
import { findRefusals, refusalOf, TRY_SCRIPT } from '../../../src/lib/redis/redis-permissions.ts';

const masterKey = generateMasterKey();
const PASSWORD = 'hush';

let server: RedisServer;
let admin: Redis;
let users = 0;
const opened: (() => unknown)[] = [];
const warnings: string[] = [];

beforeAll(async () => {
  server = await startRedis();
  admin = new Redis(server.url);
});
afterAll(async () => {
  admin.disconnect();
  await server.stop();
});
beforeEach(() => {
  vi.spyOn(process, 'emitWarning').mockImplementation((text, options) => {
    const { code } = options as unknown as { readonly code: string };
    // Each Redis is a new one.
    if (code !== 'COUNTERSIGN_NONCE_EPOCH') warnings.push(`${text}`);
  });
  // ioredis says so if INFO is refused.
  vi.spyOn(console, 'warn').mockImplementation(() => undefined);
});
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
  vi.restoreAllMocks();
  warnings.length = 0;
  await admin.flushall();
});

/** A connection of a user of its own. */
async function connectAs(rule: readonly string[], url = server.url): Promise<Redis> {
  const user = `edge-${users++}`;
  await admin.call('ACL', 'SETUSER', user, 'reset', 'on', `>${PASSWORD}`, ...rule);
  const redis = new Redis(url, { username: user, password: PASSWORD });
  redis.on('error', () => undefined);
  opened.push(() => redis.disconnect());
  return redis;
}

function closing<T extends { close(): unknown }>(store: T): T {
  opened.push(() => store.close());
  return store;
}

const without = (rule: readonly string[], token: string) => rule.filter((it) => it !== token);

/** What is called before a store is relied on. */
interface Opened {
  /** Resolves if the store may do all that it must; otherwise it throws why not. */
  ready(): Promise<unknown>;
  /** Does all that there is to be done with the store. */
  use(): Promise<void>;
}

interface Case {
  readonly page: string;
  readonly of: string;
  readonly more?: readonly string[];
  readonly open: (redis: Redis) => Promise<Opened> | Opened;
}

function claimOf(nonce: string, times: Partial<NonceClaim> = {}): NonceClaim {
  const now = Date.now() / 1000;
  return {
    accessKeyId: 'CSAK1',
    audience: 'video-api',
    nonce: nonce.padEnd(22, '0'),
    signedAt: now,
    acceptableFrom: now,
    acceptableUntil: now + 120,
    window: 120,
    ahead: 5,
    ...times,
  } as NonceClaim;
}

/** Claims, refuses, counts and forgets. */
async function useNonces(store: RedisNonceStore): Promise<void> {
  const now = Date.now() / 1000;
  // The store has just begun: it vouches for what echoes its epoch.
  const { epoch } = await store.claim(claimOf('a'));
  const claim = (nonce: string, times?: Partial<NonceClaim>) =>
    store.claim(claimOf(nonce, { epoch, ...times } as Partial<NonceClaim>));
  expect(await claim('b')).toMatchObject({ outcome: 'claimed' });
  expect(await claim('b')).toMatchObject({ outcome: 'replayed' });
  expect(await claim('c', { signedAt: now - 200, acceptableUntil: now - 80 })).toMatchObject({
    outcome: 'stale',
  });
  // The owner has room for three.
  const outcomes = [];
  for (const nonce of ['d', 'e', 'f']) outcomes.push((await claim(nonce)).outcome);
  expect(outcomes).toContain('exhausted');
  // What lies there and is expired is removed.
  const key = 'countersign:nonces:0';
  await admin.zadd(key, 1, 'expired');
  await until(async () => {
    await claim('b');
    return (await admin.zscore(key, 'expired')) === null;
  }, 'the expired nonce is removed');
  // What is no state of the store is removed, too.
  await admin.zadd(key, 8e15, 'not a state');
  await store.claim(claimOf('g'));
  expect(await admin.zscore(key, 'not a state')).toBeNull();
}

function openNonces(redis: Redis, waitForReplicas?: number): Opened {
  const store = closing(
    new RedisNonceStore({ redis, timeout: 10, perSubject: 3, waitForReplicas, slack: 10 }),
  );
  return { ready: () => store.ready(), use: () => useNonces(store) };
}

/** From the first key to the last: as servers and the command do. */
async function useKeys(keys: RedisKeyStore): Promise<void> {
  const other = closing(new RedisKeyStore({ redis: admin, masterKey, timeout: 10 }));
  await keys.createEmpty();
  const key = await keys.create({ subject: 'alice' });
  expect((await other.find(key.accessKeyId))?.status).toBe('active');
  await keys.add({ ...key, accessKeyId: 'CSAKMADE', expiresAt: Math.ceil(Date.now() / 1000) + 60 });
  const next = await keys.rotate(key.accessKeyId, { overlap: 60 });
  await keys.disable(next.accessKeyId);
  await keys.enable(next.accessKeyId);
  keys.recordUse(next.accessKeyId, 1_000);
  const session = await begin(keys);
  expect(await keys.isSessionRevoked(session)).toBe(false);
  await keys.revoke({ accessKeyId: session.accessKeyId });
  expect(await keys.isSessionRevoked(session)).toBe(true);
  await keys.revoke({ subject: 'alice', only: 'sessions' });
  await keys.revoke({ signedBefore: Date.now() / 1000 });
  await keys.rewrap();
  await keys.acceptRestore();
  expect(await keys.list()).toHaveLength(3);
  // What one changes the other hears of.
  await other.find(next.accessKeyId);
  await keys.revoke({ accessKeyId: next.accessKeyId });
  await until(
    async () => (await other.find(next.accessKeyId))?.status === 'revoked',
    'the other store hears of it',
  );
  await other.revoke({ accessKeyId: 'CSAKMADE' });
  await until(
    async () => (await keys.find('CSAKMADE'))?.status === 'revoked',
    'the store hears of it',
  );
  await keys.close();
  expect(await admin.hget(`countersign:keys:key/${next.accessKeyId}`, 'used')).toBe('1000');
}

async function begin(keys: ManagedKeyStore): Promise<SessionFacts> {
  const { issuedAt, versions } = await keys.beginSession('alice');
  return {
    accessKeyId: SESSION_PREFIX + '0'.repeat(20),
    subject: 'alice',
    issuedAt,
    versions,
  } as SessionFacts;
}

function openKeys(redis: Redis, waitForReplicas?: number): Opened {
  const store = closing(new RedisKeyStore({ redis, masterKey, timeout: 10, waitForReplicas }));
  return { ready: () => store.ready(), use: () => useKeys(store) };
}

/** What a server does that only verifies. */
async function useVerifying(keys: RedisKeyStore): Promise<void> {
  const other = closing(new RedisKeyStore({ redis: admin, masterKey, timeout: 10 }));
  const key = await other.create({ subject: 'alice' });
  await begin(other);
  expect((await keys.find(key.accessKeyId))?.subject).toBe('alice');
  expect(await keys.find('CSAKNONE')).toBeUndefined();
  const session = await begin(keys);
  expect(await keys.isSessionRevoked(session)).toBe(false);
  const unfit = {
    code: 'ERR_STORE_UNFIT',
    message: expect.stringMatching(/^Redis is not fit for changes of access keys: .* \+hset/),
  };
  await expect(keys.create()).rejects.toMatchObject(unfit);
  await expect(keys.createEmpty()).rejects.toMatchObject(unfit);
  await expect(keys.revoke({ accessKeyId: key.accessKeyId })).rejects.toMatchObject(unfit);
  await expect(keys.list()).rejects.toMatchObject(unfit);
  await other.revoke({ accessKeyId: key.accessKeyId });
  await until(
    async () => (await keys.find(key.accessKeyId))?.status === 'revoked',
    'the store hears of it',
  );
  await other.revoke({ subject: 'alice' });
  await until(() => keys.isSessionRevoked(session), 'the store hears of it');
  keys.recordUse(key.accessKeyId, 1_000);
  await keys.close();
}

function openVerifying(redis: Redis): Opened {
  const store = closing(new RedisKeyStore({ redis, masterKey, timeout: 10 }));
  return { ready: () => store.ready(), use: () => useVerifying(store) };
}

function openOnce(redis: Redis | Cluster): Opened {
  const store = closing(new RedisOnceStore({ redis, timeout: 10, perSender: 2 }));
  const key = (text: string) => text.padEnd(22, '0');
  const scope = { id: key('s'), countsFor: key('s') };
  const use = async () => {
    expect(await store.begin(key('a'), 'one', 60, scope)).toEqual({ state: 'begun' });
    expect(await store.begin(key('a'), 'two', 60, scope)).toMatchObject({ state: 'in-progress' });
    expect(await store.goOn(key('a'), 'one', 60, scope)).toBe(true);
    await store.finish(key('a'), 60, scope);
    expect(await store.begin(key('a'), 'two', 60, scope)).toEqual({ state: 'done' });
    await store.begin(key('b'), 'one', 0.001, scope);
    await until(
      async () => (await store.begin(key('b'), 'two', 60, scope)).state === 'begun',
      'the lease is over',
    );
    expect(await store.begin(key('c'), 'one', 60, scope)).toMatchObject({ state: 'full' });
    await store.release(key('b'), 'two', scope);
    expect(await store.begin(key('c'), 'one', 60, scope)).toEqual({ state: 'begun' });
  };
  return { ready: () => store.ready(), use };
}

function openFailures(redis: Redis): Opened {
  const limit = createFailureLimit({ redis, perClientAddress: 1_000, maxEntries: 2, per: 60 });
  closing(limit);
  const isOfRule = (warning: string) => warning.includes('ACL SETUSER');
  let tries = 0;
  const counted = async (clientAddress: string) =>
    Object.keys(await admin.hgetall('countersign:failures:headers:sources')).includes(
      clientAddress,
    );
  const ready = async () => {
    await until(async () => {
      limit.record('192.0.2.1', `CSAK${tries++}`);
      return warnings.some(isOfRule) || (await counted('192.0.2.1'));
    }, 'a failure is counted, or it is said why not');
    const warning = warnings.find(isOfRule);
    // That it is not connected yet is no matter.
    warnings.length = 0;
    if (warning !== undefined) throw new Error(warning);
  };
  const use = async () => {
    for (let host = 2; host < 9; host++) limit.record(`192.0.2.${host}`, 'CSAK1');
    await until(() => counted('192.0.2.8'), 'all are counted');
  };
  return { ready, use };
}

const delivered: Verdict = { outcome: 'delivered', progress: { attempts: [], tried: 1 } };

function callbackOf(id: string, lane?: string): QueuedCallback {
  return {
    id: `dlv_${id}`,
    endpointId: 'alice',
    eventId: id,
    contentType: 'application/json',
    body: Buffer.from('{}'),
    createdAt: 0,
    ...(lane === undefined ? {} : { lane }),
  };
}

function openQueue(redis: Redis | Cluster): Opened {
  const queue = closing(
    new BullmqCallbackQueue({
      redis,
      timeout: 10,
      takeOverAfter: 0.2,
      maxWaitingPerOwner: 4,
      keepDead: { count: 1 },
      keepDelivered: { count: 1 },
    }),
  );
  const use = async () => {
    for (const id of ['a', 'b', 'dead', 'dead-too']) await queue.add(callbackOf(id, 'lane'));
    await expect(queue.add(callbackOf('full'))).rejects.toThrow('4 wait already');
    expect(await queue.list('waiting', 10)).toHaveLength(4);
    let tries = 0;
    queue.start(async ({ eventId }) => {
      tries += 1;
      const { progress } = delivered;
      if (eventId.startsWith('dead')) return { outcome: 'dead', progress };
      // One more time, and later; and longer than a lock lasts.
      if (tries === 1) return { outcome: 'again', progress, at: Date.now() / 1000 + 0.05 };
      if (tries === 2) await new Promise((done) => setTimeout(done, 300));
      return delivered;
    }, 2);
    const stateOf = async (id: string) => (await queue.find(`dlv_${id}`))?.state;
    await until(async () => (await stateOf('dead-too')) === 'dead', 'all are delivered or dead');
    await until(async () => (await stateOf('a')) === undefined, 'the oldest is forgotten');
    expect(await queue.redeliver('dlv_b')).toBe(true);
    await until(async () => (await queue.list('delivered', 9)).length === 1, 'it is redelivered');
    await queue.add(callbackOf('c'));
    await until(async () => (await stateOf('c')) === 'delivered', 'another is delivered');
  };
  return { ready: () => queue.ready(), use };
}

const CASES: Case[] = [
  { page: 'replay', of: 'RedisNonceStore', open: (redis) => openNonces(redis) },
  { page: 'replay', of: 'createFailureLimit({ redis })', open: openFailures },
  { page: 'keys', of: CHANGES_KEYS, open: (redis) => openKeys(redis) },
  { page: 'keys', of: 'RedisKeyStore that only verifies', open: openVerifying },
  { page: 'keys', of: 'RedisKeyStore that only verifies, Redis 6.2', open: openVerifying },
  { page: 'callbacks', of: 'RedisOnceStore', open: openOnce },
  { page: 'callbacks-sending', of: 'BullmqCallbackQueue', open: openQueue },
];

describe.each(CASES)('the rule in the page $page, $of', ({ page, of, open }) => {
  const rule = ruleOf(page, of);

  it('is enough', async () => {
    const { ready, use } = await open(await connectAs(rule));
    await ready();
    await use();
    expect(warnings).toEqual([]);
  });

  it.each(rule)('needs %s, which is missed before the store is relied on', async (token) => {
    const redis = await connectAs(without(rule, token));
    const { ready } = await open(redis);
    const { message } = await ready().then(
      () => ({ message: 'it is ready' }),
      (error: Error) => error,
    );
    const { username } = redis.options;
    const added = message.split(`ACL SETUSER ${username} `)[1]?.split(/[ ;]/);
    expect(added, message).toContain(token);
  });
});

/** What the pages say of clusters and of replicas, beside the rules. */
const CLUSTER = ['+cluster|slots', '+cluster|info'];
const WAIT = '+wait';

describe('in a cluster', { timeout: 120_000 }, () => {
  let cluster: RedisCluster;
  let admins: Redis[] = [];

  beforeAll(async () => {
    cluster = await startRedisCluster();
    admins = cluster.nodes.map(({ url }) => new Redis(url));
  });
  afterAll(async () => {
    for (const it of admins) it.disconnect();
    await cluster.stop();
  });
  afterEach(async () => {
    for (const it of admins) await it.flushall();
  });

  /** @param lacks on the last node */
  async function joinAs(rule: readonly string[], lacks = ''): Promise<Cluster> {
    const username = `edge-${users++}`;
    for (const [index, it] of admins.entries()) {
      const given = index === admins.length - 1 ? without(rule, lacks) : rule;
      await it.call('ACL', 'SETUSER', username, 'reset', 'on', `>${PASSWORD}`, ...given);
    }
    const nodes = cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
    const joined = new Cluster(nodes, { redisOptions: { username, password: PASSWORD } });
    joined.on('error', () => undefined);
    opened.push(() => joined.disconnect());
    return joined;
  }

  const stores: [of: string, rule: readonly string[], open: (redis: Cluster) => Opened][] = [
    [
      'nonces',
      ruleOf('replay', 'RedisNonceStore'),
      (redis) => {
        const store = closing(new RedisNonceStore({ redis, timeout: 10 }));
        const use = async () => {
          for (let id = 0; id < 32; id++)
            expect(await store.claim({ ...claimOf('a'), accessKeyId: `CSAK${id}` })).toMatchObject({
              outcome: 'uncertain',
            });
        };
        return { ready: () => store.ready(), use };
      },
    ],
    [
      'keys',
      ruleOf('keys', CHANGES_KEYS),
      (redis) => {
        const keys = closing(new RedisKeyStore({ redis, masterKey, timeout: 10 }));
        const use = async () => {
          for (let count = 0; count < 8; count++) {
            const { accessKeyId } = await keys.create({ subject: 'alice' });
            await keys.revoke({ accessKeyId });
            expect((await keys.find(accessKeyId))?.status).toBe('revoked');
          }
          expect(await keys.list()).toHaveLength(8);
        };
        return { ready: () => keys.ready(), use };
      },
    ],
    ['handled callbacks', ruleOf('callbacks', 'RedisOnceStore'), openOnce],
    ['sent callbacks', ruleOf('callbacks-sending', 'BullmqCallbackQueue'), openQueue],
  ];

  it.each(stores)('the rule of %s is enough', async (_, rule, open) => {
    const { ready, use } = open(await joinAs([...rule, ...CLUSTER]));
    await ready();
    await use();
    expect(warnings).toEqual([]);
  });

  it.each(stores)('%s miss what one node refuses', async (_, rule, open) => {
    const { ready } = open(await joinAs([...rule, ...CLUSTER], '+zadd'));
    await expect(ready()).rejects.toThrow(/run ACL SETUSER edge-\d+ \+zadd$/);
  });

  it.each(CLUSTER)('%s is missed', async (token) => {
    const rule = ruleOf('replay', 'RedisNonceStore');
    const given = [...rule, ...without(CLUSTER, token)];
    const store = closing(new RedisNonceStore({ redis: await joinAs(given), timeout: 2 }));
    await expect(store.ready(2)).rejects.toThrow(
      new RegExp(
        `^Cannot reach Redis: .*run ACL SETUSER edge-\\d+ ${token.replace(/[+|]/g, '\\$&')}$`,
      ),
    );
  });

  it('what one server counts of failures, the others hear of', async () => {
    const rule = ruleOf('replay', 'createFailureLimit({ redis })');
    const keys = '~{countersign:failures}:*';
    const given = [...without(rule, '~countersign:failures:*'), keys, ...CLUSTER];
    const limit = closing(createFailureLimit({ redis: await joinAs(given) }));
    const other = closing(createFailureLimit({ redis: await joinAs(given), perKey: 2 }));
    await until(() => {
      limit.record('192.0.2.1', 'CSAK1');
      other.record('192.0.2.1', 'CSAK1');
      return other.check('192.0.2.1', 'CSAK1') !== undefined;
    }, 'the client address is blocked');
    expect(warnings.filter((it) => it.includes('ACL'))).toEqual([]);
  });
});

describe('where replicas are waited for', () => {
  it.each([
    ['nonces', ruleOf('replay', 'RedisNonceStore'), openNonces],
    ['keys', ruleOf('keys', CHANGES_KEYS), openKeys],
  ])('the rule of %s needs +wait', async (_, rule, open) => {
    const lacking = open(await connectAs(rule), 1);
    await expect(lacking.ready()).rejects.toThrow(/run ACL SETUSER edge-\d+ \+wait$/);
    const replica = await startRedis({
      args: ['--replicaof', '127.0.0.1', `${server.port}`, '--repl-diskless-sync-delay', '0'],
    });
    opened.push(async () => {
      await replica.stop();
      await until(
        async () => (await admin.info('replication')).includes('connected_slaves:0'),
        'the replica is gone',
      );
    });
    await until(
      async () => /slave0:.*state=online/.test(await admin.info('replication')),
      'the replica is in step',
    );
    // Not told how many to wait for, a store sees it.
    await expect(open(await connectAs(rule)).ready()).rejects.toThrow(/ \+wait$/);
    warnings.length = 0;
    const { ready, use } = open(await connectAs([...rule, WAIT]));
    await ready();
    await use();
    expect(warnings).toEqual([]);
  });
});

describe('with Redis 6.2, which only runs commands to try them', () => {
  // Scripts cannot ask there what the user may run.
  const script = `local redis = { pcall = redis.pcall }\n${TRY_SCRIPT}`;
  const prefix = 'countersign:keys:';
  const channel = `${prefix}changes`;

  it('each command that is refused is found', async () => {
    const redis = await connectAs([`~${prefix}*`, `&${channel}`, '+eval']);
    const commands = [...Object.keys(FORMS)];
    const { rule } = await findRefusals(redis, { prefix, channel, commands }, 'EVAL', script);
    const others = commands.filter((command) => command !== 'EVAL');
    expect([...rule].sort()).toEqual(others.map((it) => `+${it.toLowerCase()}`).sort());
  });

  it('keys and channels that are refused are found', async () => {
    const commands = ['EVAL', 'HSET', 'PUBLISH'];
    const redis = await connectAs(['+@all', '~other:*', '&other']);
    const { rule } = await findRefusals(redis, { prefix, channel, commands }, 'EVAL', script);
    expect(rule).toEqual([`~${prefix}*`, `&${channel}`]);
  });

  it('what is allowed changes nothing', async () => {
    const redis = await connectAs(['+@all', `~${prefix}*`, `&${channel}`]);
    const commands = [...Object.keys(FORMS).filter((command) => command !== 'DEL'), 'DEL'];
    for (let times = 0; times < 2; times++) {
      const { rule } = await findRefusals(redis, { prefix, channel, commands }, 'EVAL', script);
      expect(rule).toEqual([]);
    }
    expect(await admin.keys('*')).toEqual([]);
  });
});

it('a message that only tries whether it may be published is passed over', async () => {
  const changes = closing(
    new RedisChanges(
      admin,
      'changes',
      10_000,
      { recordChange: () => undefined },
      new OperatorWarnings(),
    ),
  );
  await changes.ready(10_000);
  const told: (string | undefined)[] = [];
  changes.watch((name) => told.push(name));
  for (const message of ['', '    one']) await admin.publish('changes', message);
  await until(() => told.length > 0, 'it is told of a change');
  expect(told).toEqual(['one']);
});

it('nothing is run to try it, if Redis can be asked', async () => {
  const prefix = 'countersign:keys:';
  const redis = await connectAs(['+@all', `~${prefix}*`, '&*']);
  await admin.config('RESETSTAT');
  const commands = ['EVAL', 'INCR', 'DEL', 'PUBLISH'];
  await findRefusals(redis, { prefix, channel: 'changes', commands });
  const stats = await admin.info('commandstats');
  expect(stats).toMatch(/cmdstat_eval:/);
  expect(stats).not.toMatch(/cmdstat_(incr|del|publish):/);
});

it('a database that is named needs what selects it', async () => {
  const rule = ruleOf('replay', 'RedisNonceStore');
  const open = async (given: readonly string[]) =>
    closing(new RedisNonceStore({ redis: await connectAs(given, `${server.url}/3`), timeout: 10 }));
  await expect((await open(rule)).ready()).rejects.toThrow(/run ACL SETUSER edge-\d+ \+select$/);
  await (await open([...rule, '+select'])).ready();
});

it('a store under another prefix, also that of ioredis, asks for its own keys', async () => {
  const rule = without(ruleOf('replay', 'RedisNonceStore'), '~countersign:nonces:*');
  const user = await connectAs([...rule, '~app:*:*']);
  const redis = user.duplicate({ keyPrefix: 'app:' });
  const { options } = user;
  opened.push(() => redis.disconnect());
  await closing(new RedisNonceStore({ redis, prefix: 'n[1]', timeout: 10 })).ready();
  await admin.call('ACL', 'SETUSER', `${options.username}`, 'resetkeys', '~app:n:*');
  await expect(
    closing(new RedisNonceStore({ redis, prefix: 'n[1]', timeout: 10 })).ready(),
  ).rejects.toThrow(`run ACL SETUSER ${options.username} ~app:n\\[1\\]:*`);
});

describe('a permission that is taken away while a store is connected', () => {
  const LOST =
    /^Redis is not fit for nonces: the rule of its user "edge-\d+" lacks \+zrange: run ACL SETUSER edge-\d+ \+zrange$/;

  it('is told by the claim that fails, and given again it is found by the next', async () => {
    const redis = await connectAs(ruleOf('replay', 'RedisNonceStore'));
    const store = closing(new RedisNonceStore({ redis, timeout: 10 }));
    await store.ready();
    const { username } = redis.options;
    await admin.call('ACL', 'SETUSER', `${username}`, '-zrange');
    await expect(store.claim(claimOf('a'))).rejects.toThrow(LOST);
    expect(warnings).toEqual([expect.stringMatching(LOST)]);
    await admin.call('ACL', 'SETUSER', `${username}`, '+zrange');
    await until(() => store.claim(claimOf('a')).then(Boolean, () => false), 'it is claimed');
  });

  it('is found by the test that is repeated', async () => {
    const redis = await connectAs(['+@all', '~*', '&*']);
    const tested = closing(
      new CheckedRedis(duplicate(redis, 10_000), {
        what: 'tests',
        store: 'ONCE_STORE',
        warnings: new OperatorWarnings(),
        consequence: 'Tests fail',
        timeout: 10_000,
        testEvery: 5,
        permissions: (own) => refusalOf(own, { prefix: 'tests:', commands: ['EVAL', 'HSET'] }),
      }),
    );
    await tested.ready(10);
    await admin.call('ACL', 'SETUSER', `${redis.options.username}`, '-hset');
    await until(() => warnings.length > 0, 'it is found');
    expect(warnings[0]).toMatch(/^Redis is not fit for tests: .* lacks \+hset: run ACL SETUSER/);
    await expect(tested.connected()).rejects.toThrow(/\+hset$/);
  });

  it('is told by a change of a key, which changes nothing', async () => {
    const redis = await connectAs(ruleOf('keys', CHANGES_KEYS));
    const keys = closing(new RedisKeyStore({ redis, masterKey, timeout: 10 }));
    await keys.ready();
    const { accessKeyId } = await keys.create();
    await admin.call('ACL', 'SETUSER', `${redis.options.username}`, '-zrandmember');
    const unfit = { code: 'ERR_STORE_UNFIT', message: expect.stringContaining(' +zrandmember') };
    await expect(keys.create()).rejects.toMatchObject(unfit);
    await expect(keys.disable(accessKeyId)).resolves.toBeUndefined();
    await expect(keys.enable(accessKeyId)).rejects.toMatchObject(unfit);
    await expect(keys.ready()).rejects.toMatchObject(unfit);
    // Keys are found meanwhile.
    expect((await keys.find(accessKeyId))?.status).toBe('disabled');
    await admin.call('ACL', 'SETUSER', `${redis.options.username}`, '+zrandmember');
    await keys.enable(accessKeyId);
    await keys.ready();
  });
});

it('commandsOf() refuses a script whose commands it cannot read', () => {
  expect(
    commandsOf("redis.call('GET', 'a') redis.call('SET', 'a', 1) redis.call('GET', 'b')"),
  ).toEqual(['GET', 'SET']);
  const unread = 'Cannot tell which commands a script runs: name each in redis.call()';
  expect(() => commandsOf("redis.call(name, 'a')")).toThrow(unread);
  expect(() => commandsOf("redis.pcall('GET', 'a')")).toThrow(unread);
  expect(() => commandsOf("local call = redis.call call('GET', 'a')")).toThrow(unread);
});

it('the commands of BullMQ are those of the scripts that the queue runs', () => {
  const scripts: Record<string, { readonly name: string; readonly content: string }> =
    createRequire(import.meta.url)('bullmq/dist/cjs/scripts/index.js');
  const run = Object.values(scripts).filter(({ name }) => BULLMQ_SCRIPTS.includes(name));
  expect(run).toHaveLength(BULLMQ_SCRIPTS.length);
  const texts = run.map(({ content }) => content).join('\n');
  const named = texts.matchAll(/(?:rcall|redis\.call)\s*\(\s*["'](\w+)["']/g);
  // The one that is not named pushes a job to one end or to the other.
  const others = new Set(texts.match(/rcall\((?!["'])\w+/g));
  expect([...others]).toEqual(['rcall(pushCmd']);
  const commands = new Set([
    'LPUSH',
    'RPUSH',
    ...Array.from(named, ([, name]) => `${name}`.toUpperCase()),
  ]);
  expect([...BULLMQ_COMMANDS].sort()).toEqual([...commands].sort());
});
