import { BullmqCallbackQueue, type BullmqCallbackQueueOptions } from '@countersign/server/bullmq';
import {
  createCallbackSender,
  MemoryCallbackQueue,
  type Verdict,
} from '@countersign/server/callbacks';
import { Cluster, Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { until } from '../../../../../../test/support/deadline.ts';
import {
  type RedisServer,
  startRedis,
  startRedisCluster,
} from '../../../../../../test/support/redis.ts';
import { DueHeap } from '../../../../src/callbacks/send/queue/due-heap.ts';
import { deferred, LOOPBACK, SECRET, startReceiver } from '../sender-support.ts';
import { callbackQueueContract } from './sender-queue-contract.ts';

let server: RedisServer;
let redis: Redis;
let names = 0;

beforeAll(async () => {
  server = await startRedis({ args: ['--maxmemory-policy', 'noeviction'] });
  redis = new Redis(server.url);
});

afterAll(async () => {
  redis.disconnect();
  await server.stop();
});

function bullmq(options: Partial<BullmqCallbackQueueOptions> = {}): BullmqCallbackQueue {
  return new BullmqCallbackQueue({
    redis,
    name: `contract-${names++}`,
    takeOverAfter: 1,
    ...options,
  });
}

const callback = (id: string, lane?: string) => ({
  id: `dlv_${id}`,
  endpointId: 'alice',
  eventId: id,
  contentType: 'application/json',
  body: Buffer.from('{}'),
  createdAt: 0,
  ...(lane === undefined ? {} : { lane }),
});

const delivered: Verdict = { outcome: 'delivered', progress: { attempts: [], tried: 1 } };

callbackQueueContract('MemoryCallbackQueue', () => new MemoryCallbackQueue());
callbackQueueContract('BullmqCallbackQueue', () => bullmq());

describe('MemoryCallbackQueue', () => {
  it('refuses more callbacks than it may hold, and all callbacks after it is closed', async () => {
    const queue = new MemoryCallbackQueue({ maxWaiting: 1 });
    await queue.add(callback('a'));
    await expect(queue.add(callback('b'))).rejects.toThrow('Cannot queue callback: 1 wait already');
    await queue.close();
    await expect(queue.add(callback('c'))).rejects.toThrow(
      'Cannot queue callback: the queue is closed',
    );
  });

  it('forgets the oldest of the finished callbacks', async () => {
    const queue = new MemoryCallbackQueue({ maxFinished: 1 });
    onTestFinished(() => queue.close());
    for (const id of ['a', 'b']) await queue.add(callback(id));
    queue.start(async () => delivered, 1);
    const latest = async () => (await queue.list('delivered', 10))[0]?.callback.eventId;
    await until(async () => (await latest()) === 'b', 'both are delivered');
    expect(await queue.find('dlv_a')).toBeUndefined();
  });

  it('lets no callback overtake in a lane because it is redelivered', async () => {
    const queue = new MemoryCallbackQueue();
    onTestFinished(() => queue.close());
    for (const id of ['a', 'b']) await queue.add(callback(id, 'lane'));
    expect(await queue.redeliver('dlv_b')).toBe(true);
    const { promise, resolve } = deferred();
    const log: string[] = [];
    queue.start(async ({ eventId }) => {
      // The callback is handed out already, so this changes nothing.
      expect(await queue.redeliver(`dlv_${eventId}`)).toBe(true);
      if (log.push(eventId) === 2) resolve();
      return delivered;
    }, 4);
    await promise;
    expect(log).toEqual(['a', 'b']);
  });

  it('hands out a callback again if its handler fails', async () => {
    const queue = new MemoryCallbackQueue();
    onTestFinished(() => queue.close());
    await queue.add(callback('a'));
    const { promise, resolve } = deferred();
    let count = 0;
    queue.start(async () => {
      count += 1;
      if (count === 1) throw new Error('no');
      resolve();
      return delivered;
    }, 1);
    await new Promise((done) => setImmediate(done));
    // Redeliver it now: otherwise the queue waits a second.
    await queue.redeliver('dlv_a');
    await promise;
    expect(count).toBe(2);
    await until(async () => (await queue.find('dlv_a'))?.state === 'delivered', 'it is delivered');
  });

  it('refuses options that it cannot use', () => {
    expect(() => new MemoryCallbackQueue({ maxWaiting: 0 })).toThrow('option "maxWaiting" is 0');
  });
});

describe('BullmqCallbackQueue', () => {
  it('hands out a callback again if its handler fails, and it does not become dead', async () => {
    const queue = bullmq({ takeOverAfter: 0.2 });
    onTestFinished(() => queue.close());
    await queue.add(callback('a'));
    const { promise, resolve } = deferred();
    let count = 0;
    queue.start(async () => {
      count += 1;
      if (count === 1) throw new Error('no');
      resolve();
      return delivered;
    }, 1);
    await promise;
    expect(await queue.list('dead', 10)).toEqual([]);
  });

  it('finds after a restart what was added before', async () => {
    const name = `contract-${names++}`;
    const before = bullmq({ name });
    await before.add(callback('a', 'lane'));
    await before.add(callback('b', 'lane'));
    await before.close();
    const after = bullmq({ name });
    onTestFinished(() => after.close());
    const { promise, resolve } = deferred();
    const log: string[] = [];
    after.start(async ({ eventId }) => {
      if (log.push(eventId) === 2) resolve();
      return delivered;
    }, 4);
    await promise;
    expect(log).toEqual(['a', 'b']);
  });

  it('is not stopped by a callback in a lane that was never queued, or that is finished', async () => {
    const name = `contract-${names++}`;
    const queue = bullmq({ name });
    onTestFinished(() => queue.close());
    // Its sender was killed after it entered the lane and before it added the job.
    await redis.zadd(`{countersign}:${name}-lane:lane`, (Date.now() - 70_000) * 1000, 'dlv_ghost');
    await queue.add(callback('a', 'lane'));
    const { promise, resolve } = deferred<string>();
    queue.start(async ({ eventId }) => {
      resolve(eventId);
      return delivered;
    }, 1);
    expect(await promise).toBe('a');
    await until(async () => (await queue.find('dlv_a'))?.state === 'delivered', 'it is delivered');
  });

  it('hands a lane out in order to several processes', async () => {
    const name = `contract-${names++}`;
    const queues = [bullmq({ name }), bullmq({ name }), bullmq({ name })];
    onTestFinished(async () => void (await Promise.all(queues.map((queue) => queue.close()))));
    const { promise, resolve } = deferred();
    const log: string[] = [];
    for (const queue of queues)
      queue.start(async ({ eventId }) => {
        log.push(eventId);
        await new Promise((done) => setTimeout(done, 2));
        if (log.length === 60) resolve();
        return delivered;
      }, 8);
    const ids = Array.from({ length: 60 }, (_, index) => `e${String(index).padStart(2, '0')}`);
    for (const id of ids) await (queues[0] as BullmqCallbackQueue).add(callback(id, 'lane'));
    await promise;
    expect(log).toEqual(ids);
  });

  it('works on a cluster, lanes included', async () => {
    const cluster = await startRedisCluster();
    const connection = new Cluster(cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port })));
    const queue = bullmq({ redis: connection });
    onTestFinished(async () => {
      await queue.close();
      connection.disconnect();
      await cluster.stop();
    });
    for (const id of ['a', 'b', 'c']) await queue.add(callback(id, 'lane'));
    const { promise, resolve } = deferred();
    const log: string[] = [];
    queue.start(async ({ eventId }) => {
      if (log.push(eventId) === 3) resolve();
      return delivered;
    }, 4);
    await promise;
    expect(log).toEqual(['a', 'b', 'c']);
  });

  it('tells Redis neither a secret nor a URL', async () => {
    const { url } = await startReceiver((_, res) => res.writeHead(500).end());
    const monitored = redis.duplicate();
    const monitor = await monitored.monitor();
    onTestFinished(() => {
      monitored.disconnect();
      monitor.disconnect();
    });
    const commands: string[] = [];
    monitor.on('monitor', (_time, args: string[]) => void commands.push(args.join(' ')));
    const { promise, resolve } = deferred();
    const sender = createCallbackSender({
      queue: bullmq(),
      endpoints: (id) => ({ id, url, secrets: [SECRET] }),
      ...LOOPBACK,
      schedule: [0.01],
      onDead: () => resolve(),
    });
    await sender.send('alice', { id: 'msg_1', body: 'the payload' });
    await promise;
    await sender.close();
    const isGivenUp = () => commands.some((command) => command.includes('given up'));
    await until(isGivenUp, 'Redis is told that it was given up');
    const all = commands.join('\n');
    expect(all).toContain(Buffer.from('the payload').toString('base64'));
    for (const hidden of [SECRET, SECRET.slice(6), url, new URL(url).host])
      expect(all).not.toContain(hidden);
  });

  it('accepts no callback that Redis may evict, and delivers those that are there', async () => {
    const evicting = await startRedis();
    onTestFinished(() => evicting.stop());
    const connection = new Redis(evicting.url);
    onTestFinished(() => connection.disconnect());
    const warnings: Error[] = [];
    const record = (warning: Error) => void warnings.push(warning);
    process.on('warning', record);
    onTestFinished(() => void process.off('warning', record));
    const before = bullmq({ redis: connection, name: 'evicting' });
    await before.add(callback('a'));
    await before.close();

    await connection.config('SET', 'maxmemory-policy', 'allkeys-lru');
    const queue = bullmq({ redis: connection, name: 'evicting' });
    onTestFinished(() => queue.close());
    const message =
      'Redis is not fit for callbacks that wait: its maxmemory-policy is "allkeys-lru", with which it forgets what it must keep: set it to noeviction';
    await expect(queue.add(callback('b'))).rejects.toThrow(new Error(message));
    await vi.waitFor(() =>
      expect(warnings).toMatchObject([{ code: 'COUNTERSIGN_CALLBACK_QUEUE_UNFIT', message }]),
    );
    const { promise, resolve } = deferred();
    const handled: string[] = [];
    queue.start(async ({ eventId }) => {
      handled.push(eventId);
      resolve();
      return delivered;
    }, 1);
    await promise;
    expect(handled).toEqual(['a']);
    await connection.config('SET', 'maxmemory-policy', 'noeviction');
    await queue.add(callback('c'));
    expect((await queue.find('dlv_c'))?.callback.eventId).toBe('c');
  });

  it('says after its timeout that Redis does not answer', async () => {
    const away = await startRedis();
    const connection = new Redis(away.url, { retryStrategy: () => 20 });
    connection.on('error', () => undefined);
    onTestFinished(() => connection.disconnect());
    const queue = bullmq({ redis: connection, timeout: 0.3 });
    await queue.add(callback('a'));
    await away.stop();
    await expect(queue.add(callback('b'))).rejects.toThrow(
      /^Command timed out$|max retries per request|Connection is closed|ECONNREFUSED/,
    );
    await queue.close();
  });

  it('refuses options that it cannot use', () => {
    expect(() => bullmq({ name: 'a:b' })).toThrow(
      'Cannot build BullMQ callback queue: option "name" is "a:b": expected letters, digits, "_" and "-"',
    );
    expect(() => new BullmqCallbackQueue({ redis: 'redis://:secret@host' as never })).toThrow(
      'Cannot build BullMQ callback queue: option "redis" is of type string: expected a Redis or Cluster of ioredis',
    );
  });
});

describe('DueHeap', () => {
  it('returns what is due first, and of values due at the same time the one added first', () => {
    const heap = new DueHeap<string>();
    const dues = [5, 1, 4, 1, 3, 9, 2, 6, 5, 3];
    dues.forEach((due, index) => {
      heap.push(due, `${due}/${index}`);
    });
    const taken: (string | undefined)[] = [];
    while (heap.first !== undefined) taken.push(heap.pop());
    expect(taken).toEqual(['1/1', '1/3', '2/6', '3/4', '3/9', '4/2', '5/0', '5/8', '6/7', '9/5']);
    expect(heap.pop()).toBeUndefined();
  });
});
