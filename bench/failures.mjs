/**
 * Whether somebody who guesses signatures is felt by others: a server that limits failures, honest callers from 127.0.0.1, and an
 * attacker from 127.0.0.2 who sends 10,000 guesses a second. Three processes, over sockets.
 *
 *     node bench/failures.mjs            BENCH_SECONDS=20 for longer phases
 *
 * Quiet and attacked phases take turns. It ends with 1 where the 99th percentile of what honest callers wait in an attacked phase is not
 * below twice that in the quiet one before, in the median of all turns, where one of them was refused, or where more guesses were verified than the limit allows.
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import { connect } from 'node:net';
import { constants, setPriority } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner } from '@countersign/client';
import {
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import { createFailureLimit } from '@countersign/server/failures';
import { withSignature } from '@countersign/server/node';

const BAR = 2;
const SECONDS = Number(process.env.BENCH_SECONDS ?? 3);
const TURNS = 15;
/** Guesses a second, written so many at once, on so many connections: the less the attacker spends, the more is left to measure by. */
const GUESSES = 10_000;
const AT_ONCE = 10;
const CONNECTIONS = 50;
/** Milliseconds of guesses that are sent at once. */
const MOST_BEHIND = 5;
/** Honest requests a second. */
const HONEST = 200;
const PER_KEY = 10;
const AUDIENCE = 'video-api';

const [, , role, ...args] = process.argv;
if (role !== undefined) process.once('disconnect', () => process.exit());
if (role === 'server') serve(JSON.parse(args[0]));
else if (role === 'attacker') await attack(Number(args[0]), args[1]);
else await measure();

/** Tells its port. */
function serve(key) {
  const verifier = createVerifier({
    audience: AUDIENCE,
    keys: new MemoryKeyStore([key]),
    nonces: new MemoryNonceStore({ bornAt: 0 }),
    // For longer than the bench takes: what is verified of the attacker is the limit, once.
    failures: createFailureLimit({ perKey: PER_KEY, per: 3_600 }),
  });
  const server = createServer(withSignature((_req, res) => void res.end('ok'), verifier));
  // Connections last for all of the bench.
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1', () => process.send(server.address().port));
}

/** Guesses while it is told to, and tells then how many answers there were of each status. */
async function attack(port, accessKeyId) {
  // It is to compete for the server, as from another machine, and not with the honest callers for a processor.
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  const guess = { accessKeyId, secretAccessKey: generateAccessKey().secretAccessKey };
  const signer = createSigner({ credentials: guess, audience: AUDIENCE });
  const url = `http://127.0.0.1:${port}/videos`;
  const answers = {};
  const sockets = Array.from({ length: CONNECTIONS }, () => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2', noDelay: true });
    socket.setEncoding('latin1').on('data', (text) => {
      for (const [, status] of text.matchAll(/HTTP\/1\.1 (\d+)/g))
        answers[status] = (answers[status] ?? 0) + 1;
    });
    return socket;
  });
  let running = false;
  process.on('message', async (message) => {
    running = message;
    if (!running) return;
    for (const status of Object.keys(answers)) delete answers[status];
    const { headers } = await signer.sign({ method: 'GET', url });
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    // The same guess each time: what the attacker spends is not what is measured.
    const head = `GET /videos HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n${lines.join('')}\r\n`;
    const bytes = Buffer.from(head.repeat(AT_ONCE));
    const start = performance.now();
    let [sent, due, last] = [0, 0, start];
    while (running) {
      const now = performance.now();
      // What the machine kept it from sending is not sent later all at once.
      due += (Math.min(now - last, MOST_BEHIND) / 1000) * GUESSES;
      last = now;
      for (; sent < due; sent += AT_ONCE) sockets[(sent / AT_ONCE) % CONNECTIONS].write(bytes);
      await sleep(1);
    }
    process.send({ sent, answers, seconds: (performance.now() - start) / 1000 });
  });
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  process.send('ready');
}

async function measure() {
  const key = generateAccessKey({ subject: 'alice' });
  const server = fork(import.meta.filename, ['server', JSON.stringify(key)]);
  const [port] = await once(server, 'message');
  const attacker = fork(import.meta.filename, ['attacker', String(port), key.accessKeyId]);
  await once(attacker, 'message');
  const callHonestly = honestCaller(key, port);

  const waited = { quiet: [], attacked: [] };
  const ratios = [];
  const answers = { 401: 0, 429: 0 };
  let [sent, seconds, mistreated] = [0, 0, 0];
  // The first turn does not count: code is compiled in it, and connections are made.
  for (let turn = 0; turn <= TURNS; turn++) {
    const quiet = await callHonestly(SECONDS);
    attacker.send(true);
    const attacked = await callHonestly(SECONDS);
    attacker.send(false);
    const [attack] = await once(attacker, 'message');
    // What the server has still to answer is not for the quiet phase.
    await sleep(500);
    for (const [status, count] of Object.entries(attack.answers))
      answers[status] = (answers[status] ?? 0) + count;
    sent += attack.sent;
    seconds += attack.seconds;
    mistreated += quiet.refused + attacked.refused;
    if (turn === 0) continue;
    waited.quiet.push(...quiet.waited);
    waited.attacked.push(...attacked.waited);
    const [before, during] = [quiet, attacked].map((phase) => percentile(phase.waited, 0.99));
    ratios.push(during / before);
    console.log(
      `turn ${turn}: p99 ${before.toFixed(2)} ms quiet, ${during.toFixed(2)} ms attacked`,
    );
  }
  server.kill();
  attacker.kill();

  const answered = Object.values(answers).reduce((sum, count) => sum + count, 0);
  console.log(
    `guesses: ${Math.round(sent / seconds)} sent and ${Math.round(answered / seconds)} answered a second; verified ${answers[401]}, stopped ${answers[429]}`,
  );
  for (const [phase, times] of Object.entries(waited)) {
    const [p50, p99, p999] = [0.5, 0.99, 0.999].map((part) => percentile(times, part).toFixed(2));
    console.log(
      `${phase.padEnd(8)} p50 ${p50} ms  p99 ${p99} ms  p99.9 ${p999} ms  of ${times.length}`,
    );
  }
  // Of all turns the median: what else the machine does meets some of them.
  const ratio = percentile(ratios, 0.5);
  console.log(`p99: ${ratio.toFixed(2)} × quiet`);
  const faults = [];
  if (!(ratio < BAR))
    faults.push(`p99 is ${ratio.toFixed(2)} × quiet: less than ${BAR} is allowed`);
  if (mistreated > 0) faults.push(`${mistreated} honest requests were refused`);
  if (!(answers[401] <= PER_KEY))
    faults.push(`${answers[401]} guesses were verified, of ${PER_KEY}`);
  for (const fault of faults) console.error(fault);
  process.exitCode = faults.length === 0 ? 0 : 1;
}

/** Calls so many times a second, whether or not there was an answer to the calls before. */
function honestCaller(key, port) {
  const signer = createSigner({ credentials: key, audience: AUDIENCE });
  const url = `http://127.0.0.1:${port}/videos`;
  const agent = new Agent({ keepAlive: true, localAddress: '127.0.0.1' });
  return async function callHonestly(seconds) {
    const waited = [];
    let refused = 0;
    const calls = [];
    const start = performance.now();
    for (let made = 0; made < seconds * HONEST; made++) {
      const due = start + (made / HONEST) * 1000;
      const early = due - performance.now();
      if (early > 0) await sleep(early);
      calls.push(
        call().then(({ status, milliseconds }) => {
          waited.push(milliseconds);
          if (status !== 200) refused++;
        }),
      );
    }
    await Promise.all(calls);
    return { waited, refused };
  };

  async function call() {
    const { headers } = await signer.sign({ method: 'GET', url });
    const start = performance.now();
    const req = request(url, { agent, headers }).end();
    const [res] = await once(req, 'response');
    res.resume();
    await once(res, 'end');
    return { status: res.statusCode, milliseconds: performance.now() - start };
  }
}

function percentile(values, part) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * part)];
}
