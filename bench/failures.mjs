/**
 * Measures whether an attacker who guesses signatures delays others. A server limits failures, and
 * honest callers call from 127.0.0.1. Two attackers send 10,000 guesses per second, one after the
 * other: the first guesses the secret of one access key, the second invents an access key for each
 * guess. All are processes of their own, and use sockets.
 *
 *     node bench/failures.mjs            BENCH_SECONDS=20 for longer phases
 *
 * Quiet and attacked phases take turns. Compares the 99th percentile of the honest callers' waiting
 * times in an attacked phase with that in the quiet phase before it. Exits with 1 if, for one
 * attacker, the median of all turns is not below 2, an honest caller was refused, or more guesses
 * were verified than the limit allows.
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
/**
 * Guesses per second, the size of one write, and the connections. An attacker that needs little
 * processor time leaves more of it to the measurement.
 */
const GUESSES = 10_000;
const AT_ONCE = 10;
const CONNECTIONS = 50;
const LIMITS = { perKey: 10, perClientAddress: 100 };
/**
 * Per attacker: the key id of each guess, the number of ids, and how many guesses may be verified.
 */
const ATTACKERS = [
  { guesses: 'one key', from: '127.0.0.2', keys: 1, verified: LIMITS.perKey },
  // More ids than a server would remember.
  { guesses: 'new keys', from: '127.0.0.3', keys: 3_000, verified: LIMITS.perClientAddress },
];
/** At most the guesses of this many milliseconds are sent at once. */
const MOST_BEHIND = 5;
/** Honest requests per second. */
const HONEST = 200;
const AUDIENCE = 'video-api';

const [, , role, ...args] = process.argv;
if (role !== undefined) process.once('disconnect', () => process.exit());
if (role === 'server') serve(JSON.parse(args[0]));
else if (role === 'attacker') await attack(JSON.parse(args[0]));
else await measure();

/** Sends its port to the parent process. */
function serve(key) {
  const verifier = createVerifier({
    audience: AUDIENCE,
    keys: new MemoryKeyStore([key]),
    nonces: new MemoryNonceStore({ bornAt: 0, perSubject: 10_000_000 }),
    // Longer than the bench: guesses are verified up to the limit, once.
    failures: createFailureLimit({ ...LIMITS, per: 3_600 }),
  });
  const server = createServer(withSignature((_req, res) => void res.end('ok'), verifier));
  // Connections stay open for the whole bench.
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1', () => process.send(server.address().port));
}

/** Guesses until it is told to stop. Then sends the number of answers of each status. */
async function attack({ port, accessKeyId, from, keys }) {
  // It must compete for the server, like an attacker on another machine, not with the honest
  // callers for a processor.
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  const guesses = Array.from({ length: keys }, generateAccessKey);
  // All guesses name the key of the honest callers.
  if (keys === 1) guesses[0] = { ...guesses[0], accessKeyId };
  const answers = {};
  const sockets = Array.from({ length: CONNECTIONS }, () => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: from, noDelay: true });
    socket.setEncoding('latin1').on('data', (text) => {
      for (const [, status] of text.matchAll(/HTTP\/1\.1 (\d+)/g))
        answers[status] = (answers[status] ?? 0) + 1;
    });
    return socket;
  });
  let writes = [];
  let running = false;
  process.on('message', async (message) => {
    if (message === 'sign') {
      // Not during the measurement: the attacker's own work must not disturb it.
      const requests = await Promise.all(guesses.map((guess) => signedRequest(guess, port)));
      while (requests.length % AT_ONCE !== 0) requests.push(requests[0]);
      writes = [];
      for (let at = 0; at < requests.length; at += AT_ONCE)
        writes.push(Buffer.from(requests.slice(at, at + AT_ONCE).join('')));
      process.send('signed');
      return;
    }
    running = message === 'guess';
    if (!running) return;
    for (const status of Object.keys(answers)) delete answers[status];
    const start = performance.now();
    let [sent, due, last] = [0, 0, start];
    while (running) {
      const now = performance.now();
      // Guesses that a busy machine delayed are not sent later all at once.
      due += (Math.min(now - last, MOST_BEHIND) / 1000) * GUESSES;
      last = now;
      for (; sent < due; sent += AT_ONCE) {
        const write = sent / AT_ONCE;
        sockets[write % CONNECTIONS].write(writes[write % writes.length]);
      }
      await sleep(1);
    }
    process.send({ sent, answers, seconds: (performance.now() - start) / 1000 });
  });
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  process.send('ready');
}

async function signedRequest(credentials, port) {
  const signer = createSigner({ credentials, audience: AUDIENCE });
  const { headers } = await signer.sign({ method: 'GET', url: `http://127.0.0.1:${port}/videos` });
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `GET /videos HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n${lines.join('')}\r\n`;
}

async function measure() {
  const key = generateAccessKey({ subject: 'alice' });
  const server = fork(import.meta.filename, ['server', JSON.stringify(key)]);
  const [port] = await once(server, 'message');
  const callHonestly = honestCaller(key, port);
  const attackers = [];
  for (const attacker of ATTACKERS) {
    const options = JSON.stringify({ ...attacker, port, accessKeyId: key.accessKeyId });
    const child = fork(import.meta.filename, ['attacker', options]);
    await once(child, 'message');
    const waited = { quiet: [], attacked: [] };
    attackers.push({ ...attacker, child, waited, ratios: [], answers: {}, sent: 0, seconds: 0 });
  }
  let mistreated = 0;
  // The first turn does not count, because code is compiled and connections are opened in it.
  for (let turn = 0; turn <= TURNS; turn++) {
    const times = [];
    for (const attacker of attackers) {
      attacker.child.send('sign');
      await once(attacker.child, 'message');
      await sleep(500);
      const quiet = await callHonestly(SECONDS);
      attacker.child.send('guess');
      const attacked = await callHonestly(SECONDS);
      attacker.child.send('stop');
      const [attack] = await once(attacker.child, 'message');
      // The server answers the remaining guesses before the next quiet phase.
      await sleep(500);
      for (const [status, count] of Object.entries(attack.answers))
        attacker.answers[status] = (attacker.answers[status] ?? 0) + count;
      attacker.sent += attack.sent;
      attacker.seconds += attack.seconds;
      mistreated += quiet.refused + attacked.refused;
      if (turn === 0) continue;
      attacker.waited.quiet.push(...quiet.waited);
      attacker.waited.attacked.push(...attacked.waited);
      const [before, during] = [quiet, attacked].map((phase) => percentile(phase.waited, 0.99));
      attacker.ratios.push(during / before);
      times.push(
        `${attacker.guesses} ${before.toFixed(2)} ms quiet, ${during.toFixed(2)} attacked`,
      );
    }
    if (turn > 0) console.log(`turn ${turn}, p99: ${times.join('; ')}`);
  }
  server.kill();
  for (const { child } of attackers) child.kill();

  const faults = attackers.flatMap(report);
  if (mistreated > 0) faults.push(`${mistreated} honest requests were refused`);
  for (const fault of faults) console.error(fault);
  process.exitCode = faults.length === 0 ? 0 : 1;
}

/** Prints the effect of an attacker on the others, and returns the failed conditions. */
function report({ guesses, verified, waited, ratios, answers, sent, seconds }) {
  const answered = Object.values(answers).reduce((sum, count) => sum + count, 0);
  console.log(
    `${guesses}: ${Math.round(sent / seconds)} sent and ${Math.round(answered / seconds)} answered a second; verified ${answers[401]}, stopped ${answers[429]}`,
  );
  for (const [phase, times] of Object.entries(waited)) {
    const [p50, p99, p999] = [0.5, 0.99, 0.999].map((part) => percentile(times, part).toFixed(2));
    console.log(
      `  ${phase.padEnd(8)} p50 ${p50} ms  p99 ${p99} ms  p99.9 ${p999} ms  of ${times.length}`,
    );
  }
  // The median of all turns: other work of the machine disturbs some of them.
  const ratio = percentile(ratios, 0.5);
  console.log(`  p99: ${ratio.toFixed(2)} × quiet`);
  const faults = [];
  if (!(ratio < BAR))
    faults.push(`${guesses}: p99 is ${ratio.toFixed(2)} × quiet, less than ${BAR} is allowed`);
  if (!(answers[401] <= verified))
    faults.push(`${guesses}: ${answers[401]} guesses were verified, of ${verified}`);
  return faults;
}

/** Calls at a fixed rate, even if earlier calls are not answered yet. */
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
