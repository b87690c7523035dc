// One owner of endpoints uses up what all owners share, in memory and with BullMQ.

import { BullmqCallbackQueue } from '@countersign/server/bullmq';
import {
  type CallbackEndpoint,
  type CallbackQueue,
  type CallbackSender,
  type CallbackSenderOptions,
  createCallbackSender,
  type DeliveryState,
  MemoryCallbackQueue,
} from '@countersign/server/callbacks';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { type RedisServer, startRedis } from '../../../../../test/support/redis.ts';
import { LOOPBACK, SECRET, startReceiver } from './sender-support.ts';

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

interface Bounds {
  readonly maxWaitingPerOwner?: number;
  /** The most finished callbacks of one owner in one state. */
  readonly finished?: number;
}

const memory = ({ maxWaitingPerOwner, finished }: Bounds = {}): CallbackQueue =>
  new MemoryCallbackQueue({ maxWaitingPerOwner, maxFinished: finished });
const bullmq = ({ maxWaitingPerOwner, finished: count }: Bounds = {}): CallbackQueue =>
  new BullmqCallbackQueue({
    redis,
    name: `owners-${names++}`,
    maxWaitingPerOwner,
    keepDelivered: { count },
    keepDead: { count },
  });

/** Waits for what the queue stores after a verdict. */
async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Returns how many sends were accepted, and the errors of the others. */
async function sendAll(sender: CallbackSender, endpoints: readonly string[], each: number) {
  const sends = endpoints.flatMap((id) =>
    Array.from({ length: each }, () => sender.send(id, { body: '{}' })),
  );
  const results = await Promise.allSettled(sends);
  const taken = results.flatMap((it) => (it.status === 'fulfilled' ? [it.value.id] : []));
  const refusals = results.flatMap((it) => (it.status === 'rejected' ? [String(it.reason)] : []));
  return { taken, refusals };
}

const named = (name: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${name}${index}`);

describe.each([
  ['MemoryCallbackQueue', memory],
  ['BullmqCallbackQueue', bullmq],
])('one owner uses up everything: %s', (name, open) => {
  /**
   * Mallory's receiver never answers, or gives the answer of the test. All others answer at once.
   */
  async function begin({
    isOwned = true,
    answer,
    bounds,
    ...options
  }: Partial<CallbackSenderOptions> & {
    isOwned?: boolean;
    answer?: number;
    bounds?: Bounds;
  } = {}) {
    const held = new Set<() => void>();
    let isOver = false;
    const slow = await startReceiver((_, res) => {
      const end = () => void res.writeHead(answer ?? 204).end();
      if (answer === undefined && !isOver) held.add(end);
      else end();
    });
    const quick = await startReceiver();
    const endpoints = (id: string): CallbackEndpoint => ({
      id,
      url: id.startsWith('mallory') ? slow.url : quick.url,
      secrets: [SECRET],
      ...(isOwned ? { owner: id.replace(/\d+$/, '') } : {}),
    });
    const arrivals: string[] = [];
    const sender = createCallbackSender({
      queue: open(bounds),
      endpoints,
      ...LOOPBACK,
      schedule: [],
      onDelivered: ({ endpointId }) => void arrivals.push(endpointId),
      ...options,
    });
    onTestFinished(async () => {
      isOver = true;
      const closed = sender.close();
      for (const end of held) end();
      await closed;
    });
    return { sender, slow, quick, held, arrivals, endpoints };
  }

  const stateOf = async (sender: CallbackSender, id: string): Promise<DeliveryState | undefined> =>
    (await sender.find(id))?.state;

  it('X10: waiting events of one owner do not make send() reject for others', async () => {
    const { sender } = await begin({ deliver: 'elsewhere', bounds: { maxWaitingPerOwner: 20 } });
    const { taken, refusals } = await sendAll(sender, named('mallory', 5), 10);
    expect(taken.length).toBe(20);
    expect(refusals.length).toBe(30);
    expect(new Set(refusals)).toEqual(
      new Set([
        `Error: Cannot queue callback: 20 wait already for owner "mallory": raise maxWaitingPerOwner of ${name} to allow more`,
      ]),
    );
    expect((await sendAll(sender, ['victim0', 'other0'], 20)).refusals).toEqual([]);
  });

  it('X10: an endpoint without an owner is its own owner', async () => {
    const bounds = { maxWaitingPerOwner: 2 };
    const { sender } = await begin({ isOwned: false, deliver: 'elsewhere', bounds });
    expect((await sendAll(sender, ['mallory1'], 3)).refusals).toEqual([
      expect.stringContaining('2 wait already for owner "mallory1"'),
    ]);
    expect((await sendAll(sender, ['mallory2'], 2)).refusals).toEqual([]);
  });

  it('X10: delivered and dead callbacks make room, and known ones take none', async () => {
    const { sender, arrivals } = await begin({ bounds: { maxWaitingPerOwner: 2 } });
    for (let round = 0; round < 5; round++) {
      const { taken, refusals } = await sendAll(sender, ['victim0'], 2);
      expect(refusals).toEqual([]);
      for (const id of taken) await until(async () => (await stateOf(sender, id)) === 'delivered');
    }
    expect(arrivals.length).toBe(10);
    // A known callback is not queued again.
    const again = () => sender.send('mallory0', { id: 'msg_1', body: '{}' });
    for (let round = 0; round < 5; round++) await again();
    await sender.send('mallory0', { id: 'msg_2', body: '{}' });
    await expect(sender.send('mallory0', { body: '{}' })).rejects.toThrow('2 wait already');
    await again();
  });

  it.each([
    ['dead', 500],
    ['delivered', 200],
  ] as const)('X10: %s callbacks of one owner push out none of others', async (state, answer) => {
    const { sender, slow, quick, endpoints } = await begin({ answer, bounds: { finished: 5 } });
    const others = state === 'dead' ? 'gone' : 'victim';
    const url = state === 'dead' ? slow.url : quick.url;
    const all = createCallbackSender({
      queue: open({ finished: 5 }),
      endpoints: (id) => ({ ...endpoints(id), url: id.startsWith('mallory') ? slow.url : url }),
      ...LOOPBACK,
      schedule: [],
    });
    onTestFinished(() => all.close());
    await sender.close();
    const kept = await sendAll(all, named(others, 5), 1);
    for (const id of kept.taken) await until(async () => (await stateOf(all, id)) === state);
    const { taken } = await sendAll(all, named('mallory', 10), 4);
    const left = async () => {
      const states = await Promise.all(taken.map((id) => stateOf(all, id)));
      return states.filter((it) => it !== undefined);
    };
    await until(async () => (await left()).length <= 5);
    expect(await left()).toEqual(Array.from({ length: 5 }, () => state));
    for (const id of kept.taken) expect(await stateOf(all, id)).toBe(state);
    await all.redeliver(kept.taken[0] as string);
  });

  it('X10: if all owners together have too many, the one with the most loses its oldest', async () => {
    // All owners together may have twelve.
    const { sender } = await begin({ answer: 500, bounds: { finished: 3 } });
    const states = async (ids: string[]) => Promise.all(ids.map((id) => stateOf(sender, id)));
    const most: string[] = [];
    for (const owner of ['malloryA', 'malloryB', 'malloryC', 'malloryD'])
      for (let count = 0; count < 3; count++) {
        const { id } = await sender.send(owner, { body: '{}' });
        most.push(id);
        await until(async () => (await stateOf(sender, id)) === 'dead');
      }
    const few: string[] = [];
    for (const owner of ['malloryE', 'malloryF', 'malloryG', 'malloryH']) {
      const { id } = await sender.send(owner, { body: '{}' });
      few.push(id);
      await until(async () => {
        const known = (await states(most)).filter((it) => it !== undefined).length;
        return (await stateOf(sender, id)) === 'dead' && known === 12 - few.length;
      });
    }
    expect(await states(few)).toEqual(few.map(() => 'dead'));
    expect(await states(most)).toEqual(
      most.map((_, index) => (index % 3 === 0 ? undefined : 'dead')),
    );
  });

  it('X10: long answers of a receiver do not fill the queue', async () => {
    const { url } = await startReceiver((_, res) => {
      res.writeHead(302, { location: `https://a.test/${'x'.repeat(2_000)}` });
      res.end('\uffee'.repeat(600));
    });
    const sender = createCallbackSender({
      ...LOOPBACK,
      queue: open(),
      endpoints: (id) => ({ id, url, secrets: [SECRET] }),
      schedule: Array.from({ length: 4 }, () => 0.001),
    });
    onTestFinished(() => sender.close());
    const { id } = await sender.send('mallory', { body: '{}' });
    await until(async () => (await sender.find(id))?.state === 'dead');
    const { attempts = [] } = (await sender.find(id)) ?? {};
    expect(attempts).toHaveLength(5);
    expect(attempts.map(({ status }) => status)).toEqual(attempts.map(() => 302));
    expect(attempts[0]?.response).toBe('\uffee'.repeat(64));
    expect(attempts.at(-1)).toMatchObject({
      response: '\uffee'.repeat(512),
      location: `https://a.test/${'x'.repeat(2_000)}`,
    });
    expect(Buffer.byteLength(JSON.stringify(attempts))).toBeLessThan(7_000);
  });

  it('X10: slow receivers of one owner hold only its own places', async () => {
    const { sender, slow, held, arrivals } = await begin({ perOwner: 8, concurrency: 32 });
    await sendAll(sender, named('mallory', 16), 10);
    await slow.got(8);
    await sendAll(sender, named('victim', 20), 5);
    await until(() => arrivals.length === 100);
    expect([held.size, slow.received.length]).toEqual([8, 8]);
    expect(new Set(arrivals)).toEqual(new Set(named('victim', 20)));
  });

  it('X10: slow hooks of one owner hold only its own places', async () => {
    const over: (() => void)[] = [];
    let isOver = false;
    const endAll = (): void => {
      // A closing queue may hand out one more callback, whose hooks must end too.
      isOver = true;
      for (const end of over) end();
    };
    const arrivals: string[] = [];
    const { sender } = await begin({
      answer: 204,
      perOwner: 4,
      concurrency: 16,
      onDelivered: async ({ endpointId }) => {
        arrivals.push(endpointId);
        if (endpointId.startsWith('mallory') && !isOver)
          await new Promise<void>((resolve) => void over.push(resolve));
      },
    });
    onTestFinished(endAll);
    await sendAll(sender, named('mallory', 16), 1);
    await until(() => over.length === 4);
    await sendAll(sender, named('victim', 16), 2);
    await until(() => arrivals.length === 36);
    expect(over.length).toBe(4);
    const closed = sender.close();
    endAll();
    await closed;
  });

  it('X10: a hundred slow endpoints without an owner leave places for others', async () => {
    const { sender, slow, held, arrivals } = await begin({ isOwned: false });
    await sendAll(sender, named('mallory', 100), 4);
    await slow.got(100);
    await sendAll(sender, named('victim', 10), 5);
    await until(() => arrivals.length === 50);
    expect(new Set(arrivals)).toEqual(new Set(named('victim', 10)));
    // Each endpoint has one place, and together up to half of all places more.
    expect(held.size).toBeGreaterThanOrEqual(100);
    expect(held.size).toBeLessThanOrEqual(224);
  });

  it('X10: endpoints that were quick have places, even if all others are slow', async () => {
    const { sender, slow, held, arrivals } = await begin({ isOwned: false, concurrency: 32 });
    await sendAll(sender, ['victim0'], 1);
    await until(() => arrivals.length === 1);
    await sendAll(sender, named('mallory', 200), 2);
    await slow.got(28);
    await sendAll(sender, ['victim0'], 20);
    await until(() => arrivals.length === 21);
    expect(held.size).toBe(28);
  });

  it('X10: an owner that does all of it at once delays no other owner, and makes no send() reject', async () => {
    const bounds = { maxWaitingPerOwner: 500, finished: 50 };
    const { sender, slow, held, arrivals } = await begin({ bounds });
    const before = await sendAll(sender, named('victim', 10), 1);
    const { refusals } = await sendAll(sender, named('mallory', 100), 20);
    expect(refusals.length).toBe(1_500);
    await slow.got(32);
    const after = await sendAll(sender, [...named('victim', 10), ...named('new', 10)], 5);
    expect([...before.refusals, ...after.refusals]).toEqual([]);
    await until(() => arrivals.length === 110);
    // None of the owner's attempts was answered meanwhile.
    expect([held.size, slow.received.length]).toEqual([32, 32]);
    expect(arrivals.filter((id) => id.startsWith('mallory'))).toEqual([]);
    expect(sender.counters()).toMatchObject({ delivered: 110, failed: 0, dead: 0 });
  });
});

describe('BullmqCallbackQueue', () => {
  const callback = (id: string, owner: string) => ({
    id: `dlv_${id}`,
    endpointId: owner,
    owner,
    eventId: id,
    contentType: 'application/json',
    body: Buffer.from('{}'),
    createdAt: 0,
  });

  function opened(bounds: Bounds = {}) {
    const queue = bullmq(bounds) as BullmqCallbackQueue;
    onTestFinished(() => queue.close());
    return { queue, keys: `{countersign}:owners-${names - 1}` };
  }

  it('hands out the first of one owner before the second of another', async () => {
    const { queue } = opened();
    for (let count = 0; count < 50; count++) await queue.add(callback(`m${count}`, 'mallory'));
    for (const id of ['v0', 'v1']) await queue.add(callback(id, 'victim'));
    const order: string[] = [];
    queue.start(async ({ eventId }, progress) => {
      order.push(eventId);
      return { outcome: 'delivered', progress };
    }, 1);
    await until(() => order.length === 52);
    expect(order.slice(0, 5)).toEqual(['m0', 'v0', 'm1', 'v1', 'm2']);
  });

  it('forgets the place that a killed sender had reserved', async () => {
    const { queue, keys } = opened({ maxWaitingPerOwner: 3 });
    const minuteAgo = Math.floor(Date.now() / 1000) - 70;
    for (const id of ['dlv_a', 'dlv_b']) await redis.zadd(`${keys}.waiting:alice`, minuteAgo, id);
    for (const id of ['c', 'd', 'e']) await queue.add(callback(id, 'alice'));
    await expect(queue.add(callback('f', 'alice'))).rejects.toThrow(
      'Cannot queue callback: 3 wait already for owner "alice"',
    );
  });

  it('loses no callback that was redelivered while too many were dead', async () => {
    const { queue, keys } = opened({ finished: 2 });
    const isDead = new Set(['a', 'b', 'c']);
    let handed = 0;
    queue.start(async ({ eventId }, progress) => {
      handed += 1;
      if (isDead.has(eventId)) return { outcome: 'dead', progress };
      return { outcome: 'again', at: Date.now() / 1000 + 3_600, progress };
    }, 1);
    await queue.add(callback('a', 'alice'));
    await until(async () => (await redis.zcard(`${keys}.failed:alice`)) === 1);
    isDead.delete('a');
    expect(await queue.redeliver('dlv_a')).toBe(true);
    await until(() => handed === 2);
    for (const id of ['b', 'c']) await queue.add(callback(id, 'alice'));
    await until(async () => (await redis.zcard(`${keys}.failed:alice`)) === 2);
    // Put it back into its owner's list, as the oldest.
    await redis.zadd(`${keys}.failed:alice`, (Date.now() - 10_000) * 1_000, 'dlv_a');
    isDead.add('d');
    await queue.add(callback('d', 'alice'));
    await until(async () => (await queue.find('dlv_d'))?.state === 'dead');
    await until(async () => (await redis.zcard(`${keys}.failed:alice`)) === 2);
    expect((await queue.find('dlv_a'))?.state).toBe('waiting');
  });

  it('removes nothing of other owners for jobs that are finished and not counted yet', async () => {
    const { queue, keys } = opened({ finished: 1 });
    queue.start(async (_, progress) => ({ outcome: 'delivered', progress }), 1);
    await queue.add(callback('a', 'victim'));
    await until(async () => (await redis.zcard(`${keys}.completed:victim`)) === 1);
    // Ten jobs that other workers have just finished.
    const now = Math.floor(Date.now() / 1_000);
    for (let count = 0; count < 10; count++) {
      await redis.zadd(`${keys}:completed`, now * 1_000, `dlv_m${count}`);
      await redis.zadd(`${keys}.finishing:completed`, now, `dlv_m${count}`);
    }
    await queue.add(callback('b', 'other'));
    await until(async () => (await redis.zcard(`${keys}.completed:other`)) === 1);
    expect((await queue.find('dlv_a'))?.state).toBe('delivered');
  });

  it('counts redelivered callbacks as waiting', async () => {
    const { queue, keys } = opened({ maxWaitingPerOwner: 1 });
    let handed = 0;
    queue.start(async (_, progress) => {
      handed += 1;
      if (handed === 1) return { outcome: 'dead', progress };
      return { outcome: 'again', at: Date.now() / 1000 + 3_600, progress };
    }, 1);
    await queue.add(callback('a', 'alice'));
    await until(async () => (await redis.zcard(`${keys}.failed:alice`)) === 1);
    await queue.redeliver('dlv_a');
    await expect(queue.add(callback('b', 'alice'))).rejects.toThrow('1 wait already');
  });
});
