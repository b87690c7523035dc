/**
 * What a signed POST of 1 KiB costs, beside the work that no scheme of this kind can avoid and beside hawk: one run, one
 * process, so that the ratios mean something on any machine.
 *
 *     node --expose-gc bench/requests.mjs
 *
 * Ends with 1 where a ratio is beyond its bar.
 */
import { createSigner } from '@countersign/client';
import { createVerifier, generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import hawk from 'hawk';
import { createHash, createHmac, createSecretKey, randomBytes, timingSafeEqual } from 'node:crypto';

const BAR = 1.5;
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 2001);
const BATCH = 20;

const url = 'http://api.test:8080/VideoParser/?lang=en';
const body = randomBytes(512).toString('hex');
const bytes = Buffer.from(body);
const key = generateAccessKey({ subject: 'alice' });
const credentials = { accessKeyId: key.accessKeyId, secretAccessKey: key.secretAccessKey };
const signer = createSigner({ credentials, audience: 'video-api' });

// Ours: one verifier for all rounds, as in a server, and a fresh batch for each, since a nonce is good for one request.
const verifier = createVerifier({ audience: 'video-api', keys: new MemoryKeyStore([key]), nonces: new MemoryNonceStore({ bornAt: 0 }) });
const headers = { 'content-type': 'application/json', 'user-agent': 'bench', accept: '*/*' };
/** Text as a socket brings it: of one piece, and new to the program. */
const received = (text) => Buffer.from(text, 'latin1').toString('latin1');
async function signBatch() {
  const batch = [];
  for (let index = 0; index < BATCH; index++) {
    const signed = await signer.sign({ method: 'POST', url, headers, body: bytes });
    const rawHeaders = ['Host', 'api.test:8080', 'Connection', 'keep-alive', 'Content-Length', String(bytes.length), ...Object.entries(signed.headers).flat()].map(received);
    batch.push({ method: 'POST', url: '/VideoParser/?lang=en', headers: rawHeaders, body: Buffer.from(bytes) });
  }
  return batch;
}

// Bare: what no verifier or signer of this kind can do without, on inputs as new as those of the others.
const secret = createSecretKey(randomBytes(32));
const canonical = 'x'.repeat(440);
const bareBatch = () =>
  Array.from({ length: BATCH }, () => ({ body: Buffer.from(bytes), canonical: received(canonical), stringToSign: received(canonical.slice(0, 160)), signature: randomBytes(32) }));
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

// hawk: the same request, payload validated, nonces in a Map.
const hawkCredentials = { id: key.accessKeyId, key: key.secretAccessKey, algorithm: 'sha256', user: 'alice' };
const hawkHeader = () => hawk.client.header(url, 'POST', { credentials: hawkCredentials, payload: body, contentType: 'application/json' }).header;
const hawkRequests = Array.from({ length: BATCH }, () => ({
  method: 'POST',
  url: '/VideoParser/?lang=en',
  headers: { host: 'api.test:8080', 'content-type': 'application/json', authorization: received(hawkHeader()) },
}));

const batches = {
  'bare verify': () => {
    const batch = bareBatch();
    return () => {
      for (const request of batch) if (bareVerify(request)) throw new Error('cannot be');
    };
  },
  'verify': async () => {
    const batch = await signBatch();
    return async () => {
      for (const request of batch) await verifier.verify(request);
    };
  },
  'hawk verify': () => {
    const seen = new Map();
    const nonceFunc = async (_key, nonce) => {
      if (seen.has(nonce)) throw new Error('replayed');
      seen.set(nonce, 1);
    };
    return async () => {
      for (const request of hawkRequests) await hawk.server.authenticate(request, () => hawkCredentials, { payload: body, nonceFunc, timestampSkewSec: 600 });
    };
  },
  'bare sign': () => () => {
    for (let index = 0; index < BATCH; index++) bareSign();
  },
  'sign': () => async () => {
    for (let index = 0; index < BATCH; index++) await signer.sign({ method: 'POST', url, headers, body: bytes });
  },
  'hawk sign': () => () => {
    for (let index = 0; index < BATCH; index++) hawkHeader();
  },
};

// Interleaved rounds, and of each the median: what else the machine does meets all of them.
const times = Object.fromEntries(Object.keys(batches).map((name) => [name, []]));
for (let round = -500; round < ROUNDS; round++) {
  for (const [name, prepare] of Object.entries(batches)) {
    const run = await prepare();

    const start = process.hrtime.bigint();
    await run();
    if (round >= 0) times[name].push(Number(process.hrtime.bigint() - start) / BATCH / 1000);
  }
}
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const cost = Object.fromEntries(Object.entries(times).map(([name, values]) => [name, median(values)]));

for (const [name, microseconds] of Object.entries(cost)) {
  const bare = cost[name.endsWith('verify') ? 'bare verify' : 'bare sign'];
  console.log(`${name.padEnd(12)} ${microseconds.toFixed(2).padStart(7)} µs  ${(microseconds / bare).toFixed(2)} × bare`);
}
const beyond = [
  ['verify', cost.verify / cost['bare verify'], BAR],
  ['sign', cost.sign / cost['bare sign'], BAR],
  ['verify against hawk', cost.verify / cost['hawk verify'], 1],
].filter(([, ratio, bar]) => !(ratio <= bar));
for (const [name, ratio, bar] of beyond) console.error(`${name}: ${ratio.toFixed(2)}, at most ${bar} is allowed`);
process.exitCode = beyond.length === 0 ? 0 : 1;
