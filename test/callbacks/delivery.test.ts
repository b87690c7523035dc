// No callback is lost, although receivers fail at random and the sender and Redis are killed.
// CALLBACK_EVENTS is the number of events: 600 if not given. Use 10,000 from time to time.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BullmqCallbackQueue } from '@countersign/server/bullmq';
import {
  createCallbackVerifier,
  createOnce,
  MemoryOnceStore,
  type Once,
} from '@countersign/server/callbacks';
import { RedisOnceStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis.ts';

const EVENTS = Number(process.env['CALLBACK_EVENTS'] ?? 600);
const RECEIVERS = 50;
const SENDER_KILLS = 5;
const REDIS_KILLS = 2;
const SECRET = 'whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH';
/** The test counts finished callbacks at the end, so the queue must keep them all. */
const QUEUE = { name: 'delivery', keepDelivered: { count: 100_000 } };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A random generator with a seed, so each run has the same faults. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

const random = createRandom(5);
const verifier = createCallbackVerifier({ secrets: [SECRET] });

/**
 * What the receivers have seen: how often they answered each event with 2xx, how often its handler
 * completed, and which faults they made.
 */
class Seen {
  readonly delivered = new Map<string, number>();
  readonly completed = new Map<string, number>();
  readonly faults: Record<string, number> = {};
  forged = 0;
  readonly #once: Once;

  constructor(handleOnce: Once) {
    this.#once = handleOnce;
  }

  /** Verifies and handles a callback, each once. */
  async #handle(req: IncomingMessage, body: Buffer): Promise<{ id: string; status: number }> {
    const callback = await verifier.verify({ headers: req.rawHeaders, body }).catch(() => {
      this.forged += 1;
    });
    if (callback === undefined) return { id: '', status: 401 };
    const { id } = callback;
    const { status } = await this.#once(callback, async () => {
      await sleep(1);
      this.completed.set(id, (this.completed.get(id) ?? 0) + 1);
    }).catch(() => ({ status: 503 }));
    return { id, status };
  }

  receive(req: IncomingMessage, body: Buffer, res: ServerResponse): void {
    const accept = async () => {
      const { id, status } = await this.#handle(req, body);
      if (status === 200) this.delivered.set(id, (this.delivered.get(id) ?? 0) + 1);
      res.writeHead(status).end();
    };
    const acceptInVain = async () => {
      await this.#handle(req, body);
      res.socket?.resetAndDestroy();
    };
    const choice = random();
    const [fault, act] =
      choice < 0.7
        ? (['none', accept] as const)
        : choice < 0.76
          ? (['slow', () => setTimeout(accept, 150)] as const)
          : choice < 0.82
            ? (['500', () => res.writeHead(500).end('no')] as const)
            : choice < 0.88
              ? (['429', () => res.writeHead(429, { 'retry-after': '3' }).end()] as const)
              : choice < 0.91
                ? (['reset', () => res.socket?.resetAndDestroy()] as const)
                : choice < 0.96
                  ? (['handled, then reset', acceptInVain] as const)
                  : (['time-out', () => undefined] as const);
    this.faults[fault] = (this.faults[fault] ?? 0) + 1;
    void act();
  }
}

async function startReceivers(seen: Seen): Promise<string[]> {
  const servers = Array.from({ length: RECEIVERS }, () =>
    createServer((req, res) => {
      const chunks: Buffer[] = [];
      req.on('data', (chunk: Buffer) => chunks.push(chunk));
      req.on('error', () => undefined);
      req.on('end', () => seen.receive(req, Buffer.concat(chunks), res));
    }).listen(0, '127.0.0.1'),
  );
  cleanups.push(() => {
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  });
  return Promise.all(
    servers.map(async (server) => {
      if (!server.listening) await once(server, 'listening');
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    }),
  );
}

/** A sender in its own process, which sends the given events, each until it is queued. */
class Sender {
  /** Events that are not known to be queued. */
  readonly unsent: Set<number>;
  readonly #settings: string;
  #child: ChildProcess | undefined;

  constructor(events: number, settings: Record<string, unknown>) {
    this.unsent = new Set(Array.from({ length: events }, (_, index) => index));
    this.#settings = JSON.stringify({ secret: SECRET, ...settings });
  }

  async start(): Promise<void> {
    const child = fork(new URL('sender.mjs', import.meta.url), {
      execArgv: [],
      env: { ...process.env, SETTINGS: this.#settings },
    });
    this.#child = child;
    await once(child, 'message');
    child.on('message', (event: number) => this.unsent.delete(event));
    child.send([...this.unsent]);
  }

  async kill(): Promise<void> {
    const child = this.#child as ChildProcess;
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }
}

describe('a sender on BullMQ', () => {
  it(
    `loses none of ${EVENTS} events, though it is killed ${SENDER_KILLS} times and Redis ${REDIS_KILLS} times`,
    async () => {
      const folder = await mkdtemp(join(tmpdir(), 'countersign-callbacks-'));
      cleanups.push(() => rm(folder, { recursive: true, force: true }));
      const durable = ['--appendonly', 'yes', '--appendfsync', 'always', '--dir', folder];
      const args = [...durable, '--maxmemory-policy', 'noeviction'];
      let redis: RedisServer = await startRedis({ args });
      const { port } = redis;
      cleanups.push(() => redis.stop());
      // The store of handled callbacks uses the same Redis, which is killed too.
      const receivers = new Redis({ port });
      receivers.on('error', () => undefined);
      cleanups.push(() => receivers.disconnect());
      const seen = new Seen(createOnce({ store: new RedisOnceStore({ redis: receivers }) }));
      const urls = await startReceivers(seen);

      const sender = new Sender(EVENTS, { port, urls, queue: QUEUE, order: 'any', atOnce: 50 });
      await sender.start();
      cleanups.push(() => sender.kill());

      // The kills are spread over the whole run: each comes when that many events have arrived.
      const blows = [
        ...Array.from({ length: SENDER_KILLS }, (_, index) => ({
          at: (index + 1) / (SENDER_KILLS + 1),
          strike: async () => {
            await sender.kill();
            await sender.start();
          },
        })),
        ...Array.from({ length: REDIS_KILLS }, (_, index) => ({
          at: (index + 0.75) / (REDIS_KILLS + 0.5),
          strike: async () => {
            await redis.stop();
            redis = await startRedis({ args, port });
          },
        })),
      ].sort((a, b) => a.at - b.at);
      for (const { at, strike } of blows) {
        while (seen.delivered.size < at * EVENTS) await sleep(5);
        await strike();
      }
      while (seen.delivered.size < EVENTS) await sleep(10);

      const connection = new Redis({ port });
      const queue = new BullmqCallbackQueue({ redis: connection, ...QUEUE });
      cleanups.push(async () => {
        await queue.close();
        connection.disconnect();
      });
      // The queue stores an answer a moment later, and hands out again what a killed sender had.
      while ((await queue.list('waiting', 1)).length > 0) await sleep(50);
      expect(await queue.list('dead', 10)).toEqual([]);
      expect((await queue.list('delivered', 2 * EVENTS)).length).toBe(EVENTS);
      expect(sender.unsent.size).toBe(0);
      expect(seen.forged).toBe(0);
      // Each event arrives at least once, and its handler completes exactly once.
      expect(seen.completed.size).toBe(EVENTS);
      expect([...seen.completed.values()].filter((count) => count !== 1)).toEqual([]);
      expect(seen.faults['handled, then reset']).toBeGreaterThan(0);
      const more = [...seen.delivered.values()].reduce((sum, count) => sum + count - 1, 0);
      console.log(`faults: ${JSON.stringify(seen.faults)}; delivered more than once: ${more}`);
    },
    Math.max(60_000, 60 * EVENTS),
  );

  it('keeps the order of a lane, even if it is killed three times', async () => {
    const events = 30;
    const seen = new Seen(createOnce({ store: new MemoryOnceStore() }));
    const [url] = await startReceivers(seen);
    const redis = await startRedis({ args: ['--maxmemory-policy', 'noeviction'] });
    cleanups.push(() => redis.stop());
    const settings = { port: redis.port, urls: [url], queue: { name: 'lane' } };
    const sender = new Sender(events, { ...settings, order: 'as-sent', atOnce: 1 });
    await sender.start();
    cleanups.push(() => sender.kill());
    for (const part of [0.25, 0.5, 0.75]) {
      while (seen.delivered.size < part * events) await sleep(5);
      await sender.kill();
      await sender.start();
    }
    while (seen.delivered.size < events) await sleep(5);
    // Compare first arrivals: what the killed sender had arrives again.
    expect([...seen.delivered.keys()]).toEqual(
      Array.from({ length: events }, (_, index) => `msg_${index}`),
    );
  });
});
