/**
 * Measures the cost of a claim: in Redis, compared with a bare `SET … NX PX`, and in memory with a
 * million live nonces. Both run in one run on one server, so that the ratio is valid on any
 * machine. Starts a redis-server of its own.
 *
 *     node bench/nonces.mjs            BENCH_ROUNDS=31 for the long run
 *
 * Exits with 1 if a bar is missed.
 */

import { MemoryNonceStore } from '@countersign/server';
import { RedisNonceStore } from '@countersign/server/redis';
import { accessKeyId, gc, makeClaims, WINDOW } from './support/claims.mjs';
import { processorTimeOf, readInfo, startRedis } from './support/redis.mjs';

const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 9);
const CLAIMS = 20_000;
const IN_REDIS = 200_000;
const MEMORY_ROUNDS = 5;
const IN_MEMORY = 1_000_000;
const BATCH = 1000;

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
/** Processor time of all threads, in milliseconds. */
const processorTime = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const missed = [];
function hold(name, value, isHeld, bar) {
  if (!isHeld) missed.push(`${name}: ${value.toFixed(2)}, ${bar} is allowed`);
}

await benchRedis();
await benchMemory();
for (const line of missed) console.error(line);
process.exitCode = missed.length === 0 ? 0 : 1;

async function benchRedis() {
  const { redis, stop } = await startRedis();
  // Like the defaults, except that a busy machine must not end the run.
  const store = new RedisNonceStore({ redis, timeout: 5, perSubject: 10_000_000 });
  try {
    await store.ready();
    const now = () => Date.now() / 1000;
    const { epoch } = await store.claim(makeClaims(1, now)[0]);

    /**
     * Per contender: a function that makes its inputs, and a call that tells whether a nonce is
     * new.
     */
    const contenders = {
      RedisNonceStore: [
        (count) => makeClaims(count, now, { epoch }),
        async (claim) => (await store.claim(claim)).outcome === 'claimed',
      ],
      'bare SET NX PX': [
        (count) => makeClaims(count, now).map(({ nonce }) => `${accessKeyId}:${nonce}`),
        async (key) => (await redis.set(key, 1, 'PX', WINDOW * 1000, 'NX')) === 'OK',
      ],
    };

    for (const [name, [make, call]] of Object.entries(contenders)) {
      const inputs = make(IN_REDIS);
      await callAll(call, make(BATCH), 500);
      const before = await readInfo(redis, 'used_memory');
      await callAll(call, inputs, 500);
      const bytes = ((await readInfo(redis, 'used_memory')) - before) / IN_REDIS;
      console.log(`${name.padEnd(17)} ${bytes.toFixed(1)} bytes a nonce`);
      if (name === 'RedisNonceStore') hold('bytes in Redis', bytes, bytes <= 130, 'at most 130');
    }

    for (const inFlight of [50, 500]) {
      const rounds = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
      // The first round is a warm-up. The contenders take turns, so other work disturbs both alike.
      for (let round = 0; round <= ROUNDS; round++) {
        for (const [name, [make, call]] of Object.entries(contenders)) {
          const inputs = make(CLAIMS);
          gc();
          const before = [performance.now(), processorTime(), await processorTimeOf(redis)];
          await callAll(call, inputs, inFlight);
          const after = [performance.now(), processorTime(), await processorTimeOf(redis)];
          const took = after.map((time, index) => ((time - before[index]) * 1000) / CLAIMS);
          if (round > 0) rounds[name].push(took);
        }
      }
      for (const [name, all] of Object.entries(rounds)) {
        const rates = all.map(([time]) => 1e6 / time).toSorted((a, b) => a - b);
        const [here, there] = [1, 2].map((index) => median(all.map((took) => took[index])));
        console.log(
          `${name.padEnd(17)} ${median(rates).toFixed(0)} a second (${rates[0].toFixed(0)} to ${rates.at(-1).toFixed(0)}), ${inFlight} in flight; processor: ${here.toFixed(1)} µs here, ${there.toFixed(1)} µs in Redis`,
        );
      }
      // Compared per round, because both ran under the same load. If each process has a processor,
      // the busier process sets the pace; processor time does not include other work of the
      // machine.
      const [own, bare] = Object.values(rounds);
      const ratioOf = (pace) => median(own.map((took, round) => pace(bare[round]) / pace(took)));
      const ratio = ratioOf(([, here, there]) => Math.max(here, there));
      const elapsed = ratioOf(([time]) => time).toFixed(2);
      console.log(`${'ratio'.padEnd(17)} ${ratio.toFixed(2)}, and ${elapsed} by the clock`);
      hold(
        `claims in Redis to bare ones, ${inFlight} in flight`,
        ratio,
        ratio >= 0.4,
        '0.4 or more',
      );
    }
  } finally {
    await store.close();
    await stop();
  }
}

async function callAll(call, inputs, inFlight) {
  let next = 0;
  const work = async () => {
    while (next < inputs.length)
      if (!(await call(inputs[next++]))) throw new Error('Cannot compare: a new nonce was refused');
  };
  await Promise.all(Array.from({ length: inFlight }, work));
}

async function benchMemory() {
  const rounds = [];
  for (let round = 0; round < MEMORY_ROUNDS; round++) rounds.push(await fillMemory());
  const medianOf = (field) => median(rounds.map((round) => round[field]));
  // Every round makes the same claims at the same times of its clock. A slow claim that the store
  // causes, for example when it grows, occurs at the same place in every round; other work does
  // not.
  const places = rounds[0].worst.map((_, place) =>
    Math.min(...rounds.map((it) => it.worst[place])),
  );
  const [bytes, worst] = [medianOf('bytes'), Math.max(...places)];
  const alone = rounds.map((round) => Math.max(...round.worst).toFixed(1));
  console.log(`MemoryNonceStore  ${bytes.toFixed(1)} bytes a nonce, ${IN_MEMORY} alive`);
  console.log(`MemoryNonceStore  ${medianOf('cost').toFixed(0)} ns a claim`);
  console.log(
    `MemoryNonceStore  worst claim ${worst.toFixed(2)} ms (of one round alone: ${alone.join(', ')})`,
  );
  hold('bytes in memory', bytes, bytes <= 48, 'at most 48');
  hold('worst claim in memory, ms', worst, worst <= 5, 'at most 5');
}

/** Claims a million nonces, then a million more as fast as the first expire. Times every claim. */
async function fillMemory() {
  const clock = { now: 1_795_300_000 };
  const step = WINDOW / IN_MEMORY;
  // Expired nonces are deleted together, some seconds later.
  const maxEntries = IN_MEMORY * 1.2;
  const store = new MemoryNonceStore({
    clock: () => clock.now,
    bornAt: 0,
    maxEntries,
    perSubject: maxEntries,
  });
  const times = new Float64Array(BATCH);
  const [worst, costs] = [[], []];
  const before = usedMemory();
  for (let made = 0; made < 2 * IN_MEMORY; made += BATCH) {
    const claims = makeClaims(BATCH, (index) => clock.now + index * step);
    // Collect the garbage of the inputs before the timed part, and old garbage now and then. The
    // collection of the claims' own garbage counts for them. Twice: objects that survive both are
    // old.
    if (made % (50 * BATCH) === 0) gc();
    gc({ type: 'minor' });
    gc({ type: 'minor' });
    const [start, work] = [performance.now(), processorTime()];
    for (let index = 0; index < BATCH; index++) {
      clock.now += step;
      const asked = performance.now();
      const { outcome } = await store.claim(claims[index]);
      times[index] = performance.now() - asked;
      if (outcome !== 'claimed') throw new Error(`Cannot measure: a new nonce was ${outcome}`);
    }
    const took = performance.now() - start;
    // The time in which no thread of this process had a processor does not count for a claim.
    const waited = Math.max(0, took - (processorTime() - work));
    worst.push(Math.max(...times) - waited);
    if (made >= IN_MEMORY) costs.push((took / BATCH) * 1e6);
  }
  const bytes = (usedMemory() - before) / IN_MEMORY;
  if (!(store.size >= IN_MEMORY)) throw new Error(`Cannot measure: ${store.size} nonces are held`);
  return { bytes, cost: median(costs), worst };
}

function usedMemory() {
  gc();
  gc();
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return arrayBuffers + heapUsed;
}
