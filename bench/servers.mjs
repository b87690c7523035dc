/**
 * Measures what signing costs a whole server, compared with servers that check nothing and with
 * peers: wrk sends signed POSTs of 1 KiB, each one new, on 50 connections. Each server is a process
 * of its own, on one processor. wrk and Redis have the other processor.
 *
 *     node bench/servers.mjs             BENCH_ONLY='node:http' for some of the servers
 *
 * Exits with 1 if ours in memory does not take less processor time than each peer, or if a request
 * was refused.
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateAccessKey } from '@countersign/server';
import { Contender } from './servers/contender.mjs';
import { bars, baseOf, contenders } from './servers/contenders.mjs';
import { endAll, OTHER_CPU, pin, requirePrograms } from './servers/processes.mjs';
import { readInfo, startRedis } from './support/redis.mjs';

const {
  BENCH_ROUNDS = 7,
  BENCH_WARM_UP = 5,
  BENCH_SECONDS = 3,
  BENCH_CONNECTIONS = 50,
  BENCH_ONLY = '',
} = process.env;

requirePrograms();
const key = generateAccessKey({ subject: 'alice' });
const only = new RegExp(BENCH_ONLY);
const running = contenders.filter(({ id }) => only.test(id)).map((it) => new Contender(it, key));
if (running.length === 0) throw new Error(`BENCH_ONLY=${BENCH_ONLY}: no server has such a name`);
const folder = mkdtempSync(join(tmpdir(), 'countersign-bench-'));
let redis;
let stopped;

/** Runs once, although a signal and the end of the interrupted work both call it. */
function stop() {
  stopped ??= stopAll();
  return stopped;
}
async function stopAll() {
  await Promise.all([endAll(), redis?.stop()]);
  rmSync(folder, { recursive: true, force: true });
}
for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143 }))
  process.once(signal, () => stop().finally(() => process.exit(code)));

try {
  await measure();
} finally {
  await stop();
}
report();

async function measure() {
  if (running.some((it) => it.redis)) {
    redis = await startRedis();
    pin(OTHER_CPU, await readInfo(redis.redis, 'process_id'));
  }
  for (const contender of running) await contender.start(redis?.redis.options.port);
  const connections = Number(BENCH_CONNECTIONS);
  const options = { folder, connections, seconds: Number(BENCH_SECONDS) };
  for (let round = 1 - Number(BENCH_WARM_UP); round <= Number(BENCH_ROUNDS); round++) {
    // In order and then in reverse, so that a drift of the machine affects all alike.
    const order = round % 2 === 0 ? running : running.toReversed();
    const told = [];
    for (const contender of order) {
      const measured = await contender.run(options);
      if (round > 0) contender.rounds.push(measured);
      told.push([running.indexOf(contender), measured.cpu.toFixed(0)]);
    }
    const name = round > 0 ? `round ${round} of ${BENCH_ROUNDS}` : `warm-up, ${1 - round} to go`;
    const costs = told.toSorted(([one], [other]) => one - other).map(([, cost]) => cost);
    console.error(`${name}: ${costs.join(' ')} µs`);
  }
}

function report() {
  for (const framework of Object.keys(baseOf)) {
    const rows = running.filter((it) => it.framework === framework);
    if (rows.length === 0) continue;
    const base = running.find(({ id }) => id === baseOf[framework]);
    const width = 30;
    const heads = ['CPU µs', 'least', 'share kept', 'goal', 'by CPU', 'requests/s'];
    console.log(`\n${framework.padEnd(width)}${heads.map((it) => it.padStart(12)).join('')}`);
    for (const contender of rows) {
      const cells = [
        medianOf(contender, 'cpu').toFixed(1),
        Math.min(...contender.rounds.map((it) => it.cpu)).toFixed(1),
        share(contender, base, (one, bare) => one.rate / bare.rate),
        contender.goal?.toFixed(2) ?? '',
        share(contender, base, (one, bare) => bare.cpu / one.cpu),
        medianOf(contender, 'rate').toFixed(0),
      ];
      console.log(contender.name.padEnd(width) + cells.map((it) => it.padStart(12)).join(''));
    }
  }
  console.log();
  for (const [first, second] of bars) {
    const [ours, peer] = [first, second].map((name) => running.find(({ id }) => id === name));
    if (ours === undefined || peer === undefined) continue;
    const ratio = medianOfRounds(ours, peer, (one, other) => one.cpu / other.cpu);
    console.log(`${first}: ${ratio.toFixed(2)} × the processor of ${peer.name} (bar: below 1)`);
    if (!(ratio < 1)) process.exitCode = 1;
  }
}

function medianOf({ rounds }, field) {
  return median(rounds.map((it) => it[field]));
}

/** The median of the ratios of two contenders in the same round. */
function medianOfRounds(one, other, ratio) {
  return median(one.rounds.map((it, round) => ratio(it, other.rounds[round])));
}

function share(contender, base, ratio) {
  return base === undefined ? '' : medianOfRounds(contender, base, ratio).toFixed(3);
}

function median(values) {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}
