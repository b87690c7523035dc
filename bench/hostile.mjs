/**
 * Measures whether a caller with an access key can cause refusals of others: a server with a nonce
 * store in memory or in Redis, a hostile caller who sends half of the requests that the server can
 * answer, for two windows, and an honest caller at the same time.
 *
 *     node bench/hostile.mjs            BENCH_WINDOW=120 for the real window, nine minutes
 *
 * The window and the budget of a subject are smaller than by default, so that the hostile caller
 * exceeds its budget. Exits with 1 if the honest caller was refused once, or if the hostile one
 * never was.
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from '@countersign/client';
import { generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import { withSignature } from '@countersign/server/node';
import { RedisNonceStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { startRedis } from './support/redis.mjs';

const WINDOW = Number(process.env.BENCH_WINDOW ?? 20);
const AUDIENCE = 'video-api';
/** Honest requests per second. */
const HONEST = 50;
/** Requests are sent in groups, one for each period of this many milliseconds. */
const TICK = 10;

const [, , role, given] = process.argv;
if (role === 'server') {
  process.once('disconnect', () => process.exit());
  serve(JSON.parse(given));
} else await measure();

/** Sends its port to the parent process. */
function serve({ keys, redisPort, perSubject }) {
  const bornAt = Date.now() / 1000 - 3_600;
  const nonces =
    redisPort === undefined
      ? new MemoryNonceStore({ bornAt, maxEntries: 4 * perSubject })
      : new RedisNonceStore({ redis: new Redis(redisPort, '127.0.0.1'), perSubject });
  const options = { audience: AUDIENCE, keys: new MemoryKeyStore(keys), nonces, window: WINDOW };
  const server = createServer(withSignature((_req, res) => void res.end('ok'), options));
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1', () => process.send(server.address().port));
}

async function measure() {
  let isMissed = false;
  for (const store of ['memory', 'Redis']) {
    const { redis, stop } = store === 'Redis' ? await startRedis() : { stop: async () => {} };
    const [hostile, honest, measured] = ['mallory', 'alice', 'capacity'].map((subject) =>
      generateAccessKey({ subject }),
    );
    // An eighth of the default, in proportion to the window, so that a slow machine exceeds it,
    // too.
    const perSubject = Math.ceil((250_000 * WINDOW) / 120 / 8);
    const setUp = { keys: [hostile, honest, measured], redisPort: redis?.options.port, perSubject };
    const server = fork(import.meta.filename, ['server', JSON.stringify(setUp)]);
    const [port] = await once(server, 'message');
    const agent = new Agent({ keepAlive: true, maxSockets: 64 });
    try {
      // A new Redis cannot rule out replays of requests that were signed before this time.
      await sleep(9_000);
      const capacity = await capacityOf(caller(measured, port, agent));
      const end = Date.now() + 2 * WINDOW * 1000;
      const [attack, service] = await Promise.all([
        pace(caller(hostile, port, agent), capacity / 2, end),
        pace(caller(honest, port, new Agent({ keepAlive: true })), HONEST, end),
      ]);
      console.log(`${store}: ${Math.round(capacity)} requests a second at most`);
      console.log(`  hostile, ${Math.round(capacity / 2)} a second: ${JSON.stringify(attack)}`);
      console.log(`  honest, ${HONEST} a second: ${JSON.stringify(service)}`);
      const { 200: served, ...refused } = service;
      if (!(served > 0) || Object.keys(refused).length > 0) isMissed = true;
      if (!(attack[429] > 0)) isMissed = true;
    } finally {
      agent.destroy();
      server.disconnect();
      await stop();
    }
  }
  if (isMissed) console.error('The honest caller was refused, or the hostile one never was');
  process.exit(isMissed ? 1 : 0);
}

/** Sends one request, and returns its status. */
function caller(credentials, port, agent) {
  const signer = createSigner({ credentials, audience: AUDIENCE });
  return async () => {
    const { headers } = await signer.sign({ method: 'GET', url: `http://127.0.0.1:${port}/` });
    return new Promise((resolve, reject) => {
      request({ port, host: '127.0.0.1', agent, headers: { ...headers } }, (response) => {
        response.resume().on('end', () => resolve(response.statusCode));
      })
        .on('error', reject)
        .end();
    });
  };
}

/** Measures requests per second, with 32 callers who each wait for their answers. */
async function capacityOf(call) {
  const start = performance.now();
  let answered = 0;
  const work = async () => {
    for (; performance.now() - start < 3_000; answered++) await call();
  };
  await Promise.all(Array.from({ length: 32 }, work));
  return (answered / (performance.now() - start)) * 1000;
}

/** Sends requests at a fixed rate until a given time, and counts the answers by status. */
async function pace(call, perSecond, end) {
  const counts = {};
  const pending = new Set();
  const start = Date.now();
  for (let sent = 0; Date.now() < end; await sleep(TICK)) {
    for (; sent < ((Date.now() - start) / 1000) * perSecond; sent++) {
      const answer = call().then((status) => {
        counts[status] = (counts[status] ?? 0) + 1;
        pending.delete(answer);
      });
      pending.add(answer);
    }
  }
  await Promise.all(pending);
  return counts;
}
