/**
 * Measures the cost of a signed POST of 1 KiB, compared with the work that no scheme of this kind
 * can avoid, and with hawk. All in one process and one run, so that the ratios are valid on any
 * machine.
 *
 *     node bench/requests.mjs            BENCH_ROUNDS=200 for the long run
 *
 * Exits with 1 if a ratio is above its bar.
 */

import { createHash, createHmac, createSecretKey, randomBytes, timingSafeEqual } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createSigner } from '@countersign/client';
import {
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import hawk from 'hawk';
import { Bench } from 'tinybench';

/**
 * Processor time of all threads, in milliseconds. It excludes other processes, and includes a
 * garbage collector on a thread of its own.
 */
function processorTime() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const BAR = 1.5;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 40);
const WARM_UP = 10;
/** A batch is long compared with a garbage collection, and short compared with other work. */
const BATCH = 1000;

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');
/**
 * Collects garbage. Each batch is timed with the collection of its own garbage, and starts without
 * the garbage of others. Handles of `node:crypto` cost as much to free as to use, and otherwise the
 * next contender would free them.
 */
const collect = () => gc({ type: 'minor' });

const url = 'http://api.test:8080/VideoParser/?lang=en';
const body = randomBytes(512).toString('hex');
const bytes = Buffer.from(body);
const key = generateAccessKey({ subject: 'alice' });
const credentials = { accessKeyId: key.accessKeyId, secretAccessKey: key.secretAccessKey };
const signer = createSigner({ credentials, audience: 'video-api' });

// Ours: one verifier for all rounds, as in a server. Each round has a new batch, because a nonce is
// good for one request.
const verifier = createVerifier({
  audience: 'video-api',
  keys: new MemoryKeyStore([key]),
  nonces: new MemoryNonceStore({ bornAt: 0, perSubject: 10_000_000 }),
});
const headers = { 'content-type': 'application/json', 'user-agent': 'bench', accept: '*/*' };
/** Copies text as a socket brings it: a flat string that the program has not seen before. */
const received = (text) => Buffer.from(text, 'latin1').toString('latin1');
async function signBatch() {
  const batch = [];
  for (let index = 0; index < BATCH; index++) {
    const signed = await signer.sign({ method: 'POST', url, headers, body: bytes });
    const rawHeaders = [
      'Host',
      'api.test:8080',
      'Connection',
      'keep-alive',
      'Content-Length',
      String(bytes.length),
      ...Object.entries(signed.headers).flat(),
    ].map(received);
    batch.push({
      method: 'POST',
      url: received('/VideoParser/?lang=en'),
      headers: rawHeaders,
      body: Buffer.from(bytes),
    });
  }
  return batch;
}

// Bare: the work that no verifier or signer of this kind can avoid, on inputs as new as the
// others'.
const secret = createSecretKey(randomBytes(32));
const canonical = 'x'.repeat(440);
const bareBatch = () =>
  Array.from({ length: BATCH }, () => ({
    body: Buffer.from(bytes),
    canonical: received(canonical),
    stringToSign: received(canonical.slice(0, 160)),
    signature: randomBytes(32),
  }));
function bareVerify({ body, canonical, stringToSign, signature }) {
  createHash('sha256').update(body).digest('hex');
  createHash('sha256').update(canonical).digest('hex');
  return timingSafeEqual(createHmac('sha256', secret).update(stringToSign).digest(), signature);
}
function bareSign() {
  createHash('sha256').update(bytes).digest('hex');
  const digest = createHash('sha256').update(canonical).digest('hex');
  randomBytes(16).toString('base64url');
  return createHmac('sha256', secret).update(digest).digest('hex');
}

// hawk: the same request, as new as the others; the payload is validated, and nonces are in a Map.
const hawkCredentials = {
  id: key.accessKeyId,
  key: key.secretAccessKey,
  algorithm: 'sha256',
  user: 'alice',
};
const hawkHeader = () =>
  hawk.client.header(url, 'POST', {
    credentials: hawkCredentials,
    payload: bytes,
    contentType: 'application/json',
  }).header;
const hawkBatch = () =>
  Array.from({ length: BATCH }, () => ({
    request: {
      method: 'POST',
      url: received('/VideoParser/?lang=en'),
      headers: {
        host: received('api.test:8080'),
        'content-type': received('application/json'),
        authorization: received(hawkHeader()),
      },
    },
    payload: Buffer.from(bytes),
  }));
/**
 * Remembers nonces as long as ours does. Keys contain the time, because hawk's nonces have 36 bits,
 * so two may be equal by chance.
 */
const seen = new Map();
async function nonceFunc(key, nonce, timestamp) {
  const name = `${key} ${timestamp} ${nonce}`;
  if (seen.has(name)) throw new Error('replayed');
  seen.set(name, timestamp);
}

/** Per contender: a function that makes the inputs of a batch, and the function that is timed. */
const contenders = {
  'bare verify': [
    bareBatch,
    (batch) => {
      for (const request of batch) if (bareVerify(request)) throw new Error('cannot be');
    },
  ],
  verify: [
    signBatch,
    async (batch) => {
      for (const request of batch) await verifier.verify(request);
    },
  ],
  'hawk verify': [
    hawkBatch,
    async (batch) => {
      for (const { request, payload } of batch)
        await hawk.server.authenticate(request, () => hawkCredentials, { payload, nonceFunc });
    },
  ],
  'bare sign': [
    () => undefined,
    () => {
      for (let index = 0; index < BATCH; index++) bareSign();
    },
  ],
  sign: [
    () => undefined,
    async () => {
      for (let index = 0; index < BATCH; index++)
        await signer.sign({ method: 'POST', url, headers, body: bytes });
    },
  ],
  'hawk sign': [
    () => undefined,
    () => {
      for (let index = 0; index < BATCH; index++) hawkHeader();
    },
  ],
};

// Each round has one batch of each contender, so other work disturbs all alike. The median counts.
const uncollected = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
const bench = new Bench({
  iterations: 1,
  time: 0,
  warmup: false,
  throws: true,
  now: processorTime,
});
for (const [name, [prepare, run]] of Object.entries(contenders)) {
  let batch;
  const beforeEach = async () => {
    batch = await prepare();
    // Twice: objects that survive both are old, so the timed collection does not copy them.
    collect();
    collect();
  };
  const timed = async () => {
    const start = processorTime();
    await run(batch);
    uncollected[name].push(((processorTime() - start) * 1000) / BATCH);
    collect();
  };
  bench.add(name, timed, { beforeEach });
}

const times = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
for (let round = -WARM_UP; round < ROUNDS; round++) {
  bench.reset();
  for (const { name, result } of await bench.run())
    if (round >= 0) times[name].push((result.latency.mean * 1000) / BATCH);
}
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const medians = (lists) =>
  Object.fromEntries(
    Object.entries(lists).map(([name, values]) => [name, median(values.slice(-ROUNDS))]),
  );
const [cost, costUncollected] = [medians(times), medians(uncollected)];

// The bars are for the whole cost. The cost without the garbage is printed, too.
for (const name of Object.keys(contenders)) {
  const bare = name.endsWith('verify') ? 'bare verify' : 'bare sign';
  const formatCost = (costs) =>
    `${costs[name].toFixed(2).padStart(7)} µs  ${(costs[name] / costs[bare]).toFixed(2)} × bare`;
  console.log(
    `${name.padEnd(12)} ${formatCost(cost)}   without garbage ${formatCost(costUncollected)}`,
  );
}
const beyond = [
  ['verify', cost.verify / cost['bare verify'], BAR],
  ['sign', cost.sign / cost['bare sign'], BAR],
  ['verify against hawk', cost.verify / cost['hawk verify'], 1],
].filter(([, ratio, bar]) => !(ratio <= bar));
for (const [name, ratio, bar] of beyond)
  console.error(`${name}: ${ratio.toFixed(2)}, at most ${bar} is allowed`);
process.exitCode = beyond.length === 0 ? 0 : 1;
