/**
 * Measures whether one dead receiver among 50 delays the others: how long their callbacks take from
 * `send()` to the answer, with all 50 alive, and with one that accepts connections and never
 * answers. The dead one gets five times as many callbacks. Receivers run in a process of their own.
 *
 *     node bench/callbacks.mjs   BENCH_SECONDS=10: long phases; BENCH_QUEUE=bullmq: a queue in Redis
 *
 * Phases with and without the dead receiver take turns. Compares the 99th percentiles of the
 * others. Exits with 1 if, in the median of all turns, that with the dead receiver is above 1.5
 * times that without, or if a callback to one of the others was not delivered at the first attempt.
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCallbackSender, MemoryCallbackQueue } from '@countersign/server/callbacks';
import { startRedis } from './support/redis.mjs';

const BAR = 1.5;
const SECONDS = Number(process.env.BENCH_SECONDS ?? 4);
const TURNS = 8;
const RECEIVERS = 50;
/** Callbacks per second to each receiver. */
const RATE = 5;
const DEAD = '0';
const MORE = 5;
const SECRETS = ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'];
/**
 * The time-out in seconds: long enough for the dead receiver to occupy every place that it gets.
 */
const TIMEOUT = 2;

if (process.argv[2] === 'receivers') await receive();
else await measure();

/** Sends its ports to the parent process. */
async function receive() {
  process.once('disconnect', () => process.exit());
  let isDead = false;
  process.on('message', (message) => {
    isDead = message;
  });
  const servers = Array.from({ length: RECEIVERS }, (_, index) =>
    createServer((req, res) => {
      req.resume();
      if (isDead && String(index) === DEAD) return;
      req.on('end', () => res.writeHead(204).end());
    }).listen(0, '127.0.0.1'),
  );
  await Promise.all(servers.map((server) => server.listening || once(server, 'listening')));
  process.send(servers.map((server) => server.address().port));
}

async function measure() {
  const receivers = fork(import.meta.filename, ['receivers']);
  const [ports] = await once(receivers, 'message');
  const redis = process.env.BENCH_QUEUE === 'bullmq' ? await startRedis() : undefined;
  const { BullmqCallbackQueue } = await import('@countersign/server/bullmq');
  let phases = 0;
  const openQueue = () =>
    redis === undefined
      ? new MemoryCallbackQueue({ maxWaiting: 1_000_000 })
      : new BullmqCallbackQueue({ redis: redis.redis, name: `bench-${process.pid}-${phases++}` });

  async function phase(isDead) {
    receivers.send(isDead);
    const waited = [];
    const sentAt = new Map();
    let failed = 0;
    const sender = createCallbackSender({
      queue: openQueue(),
      endpoints: (id) => ({ id, url: `http://127.0.0.1:${ports[Number(id)]}/`, secrets: SECRETS }),
      http: 'allow-plain-http',
      privateAddresses: 'allow-private-addresses',
      timeouts: { headers: TIMEOUT },
      onFailed: ({ endpointId }) => {
        if (endpointId !== DEAD) failed++;
      },
      onDelivered: ({ eventId, endpointId }) => {
        if (endpointId !== DEAD) waited.push(performance.now() - sentAt.get(eventId));
      },
    });
    const sends = [];
    let others = 0;
    const start = performance.now();
    const send = async (endpoint, event) => {
      sentAt.set(event, performance.now());
      await sender.send(endpoint, { id: event, type: 'bench.event', data: {} });
    };
    const each = RATE * SECONDS;
    for (let round = 0; round < each; round++) {
      for (let index = 0; index < RECEIVERS; index++) {
        const early = start + ((round + index / RECEIVERS) / RATE) * 1000 - performance.now();
        if (early > 0) await sleep(early);
        if (String(index) !== DEAD) others++;
        const copies = String(index) === DEAD && isDead ? MORE : 1;
        for (let copy = 0; copy < copies; copy++)
          sends.push(send(String(index), `e${round}-${index}-${copy}`));
      }
    }
    await Promise.all(sends);
    const deadline = performance.now() + 10_000;
    while (waited.length < others && performance.now() < deadline) await sleep(10);
    failed += others - waited.length;
    await sender.close();
    return { waited, failed };
  }

  const all = { without: [], with: [] };
  const ratios = [];
  let failed = 0;
  // The first turn does not count, because code is compiled in it.
  for (let turn = 0; turn <= TURNS; turn++) {
    // The two phases change their order at every turn.
    const first = await phase(turn % 2 === 1);
    const second = await phase(turn % 2 === 0);
    const [without, dead] = turn % 2 === 1 ? [second, first] : [first, second];
    failed += without.failed + dead.failed;
    if (turn === 0) continue;
    all.without.push(...without.waited);
    all.with.push(...dead.waited);
    const [before, during] = [without, dead].map(({ waited }) => percentile(waited, 0.99));
    ratios.push(during / before);
    console.log(`turn ${turn}: p99 ${before.toFixed(2)} ms without, ${during.toFixed(2)} ms with`);
  }
  receivers.disconnect();
  await redis?.stop();

  for (const [name, times] of Object.entries(all)) {
    const [p50, p99, most] = [0.5, 0.99, 1].map((part) => percentile(times, part).toFixed(2));
    console.log(
      `${name.padEnd(8)} p50 ${p50} ms  p99 ${p99} ms  max ${most} ms  of ${times.length}`,
    );
  }
  const ratio = percentile(ratios, 0.5);
  console.log(`p99: ${ratio.toFixed(2)} × without, in the median of ${TURNS} turns`);
  const faults = [];
  if (!(ratio <= BAR)) faults.push(`p99 is ${ratio.toFixed(2)} × without: ${BAR} is allowed`);
  if (failed > 0) faults.push(`${failed} callbacks to living receivers did not arrive at once`);
  for (const fault of faults) console.error(fault);
  process.exitCode = faults.length === 0 ? 0 : 1;
}

function percentile(times, part) {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))];
}
