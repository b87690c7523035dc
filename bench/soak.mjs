/**
 * Measures whether memory grows: 500 claims per second of nonces that expire within the run, in a
 * Redis of its own and in memory at the same time.
 *
 *     node bench/soak.mjs            SOAK_SECONDS=3600 for the long run
 *
 * Takes samples every ten seconds. A minute of warm-up does not count, and the rest is halved.
 * Exits with 1 if the largest sample of the second half is more than a tenth above that of the
 * first, if Redis has more keys, or if the claim of a new nonce was refused or failed.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryNonceStore } from '@countersign/server';
import { RedisNonceStore } from '@countersign/server/redis';
import { gc, makeClaims } from './support/claims.mjs';
import { readInfo, startRedis } from './support/redis.mjs';

const SECONDS = Number(process.env.SOAK_SECONDS ?? 300);
const WARM_UP = 60;
const EVERY = 10;
const RATE = 500;
const TOLERANCE = 1.1;
/** The life of a nonce in seconds. */
const WINDOW = 20;
if (!(SECONDS >= WARM_UP + 4 * EVERY))
  throw new RangeError(`Cannot halve ${SECONDS} s: at least ${WARM_UP + 4 * EVERY} are needed`);

const now = () => Date.now() / 1000;
const { redis, stop } = await startRedis();
const stores = {
  // On a busy machine claims wait longer, and all of them must count.
  Redis: new RedisNonceStore({ redis, prefix: 'soak', timeout: 5, perSubject: 10_000_000 }),
  memory: new MemoryNonceStore({ bornAt: 0, perSubject: 10_000_000 }),
};
await stores.Redis.ready();
const epochs = {};
for (const [name, store] of Object.entries(stores))
  epochs[name] = (await store.claim(makeClaims(1, now)[0])).epoch;

/** The number of claims by their result. */
const ends = { claimed: 0, refused: 0, rejected: 0 };
async function claim(name, made) {
  try {
    const { outcome } = await stores[name].claim({ ...made, epoch: epochs[name] });
    ends[outcome === 'claimed' ? 'claimed' : 'refused']++;
  } catch {
    ends.rejected++;
  }
}

const samples = [];
const columns = ['RSS', 'heap and arrays', 'used_memory', 'keys', 'ZCARD', 'most in memory'];
/** The store deletes the nonces of several seconds together, so its size goes up and down. */
let most = 0;
console.log(['second', ...columns].join(' | '));
const start = performance.now();
const elapsed = () => (performance.now() - start) / 1000;
for (let made = 0; samples.length < SECONDS / EVERY; await sleep(20)) {
  const due = Math.floor(elapsed() * RATE) - made;
  made += due;
  for (const one of makeClaims(due, now, { window: WINDOW }))
    for (const name of Object.keys(stores)) void claim(name, one);
  most = Math.max(most, stores.memory.size);
  if (elapsed() >= (samples.length + 1) * EVERY) samples.push(await look());
}

async function look() {
  gc();
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  const row = [
    rss,
    heapUsed + arrayBuffers,
    await readInfo(redis, 'used_memory'),
    await redis.dbsize(),
    await redis.zcard('soak:0'),
    most,
  ];
  most = 0;
  console.log([elapsed().toFixed(0), ...row].join(' | '));
  return row;
}

await stores.Redis.close();
await stop();
console.log(ends);
const warm = samples.slice(WARM_UP / EVERY);
const half = warm.length >> 1;
const largest = (rows, column) => Math.max(...rows.map((row) => row[column]));
for (const [index, column] of columns.entries()) {
  const [first, second] = [warm.slice(0, half), warm.slice(half)].map((it) => largest(it, index));
  const hasGrown = !(second <= first * (column === 'keys' ? 1 : TOLERANCE));
  console.log(`${column}: at most ${first}, then ${second}${hasGrown ? ': it grows' : ''}`);
  if (hasGrown) process.exitCode = 1;
}
if (ends.refused > 0 || ends.rejected > 0) process.exitCode = 1;
