/**
 * Measures whether the time of a refusal tells an attacker anything: Welch's t between two kinds of
 * requests, in random order, each copied from one buffer. If there is a difference, |t| grows with
 * the number of trials; otherwise it stays small. The controls have a difference, so a run that
 * does not find it proves nothing.
 *
 *     node bench/timing.mjs            TRIALS=100000 for the long run
 *
 * Exits with 1 if it finds a difference, or does not find that of a control.
 */

import { randomBytes, randomInt } from 'node:crypto';
import { createSigner } from '@countersign/client';
import {
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';

const TRIALS = Number(process.env.TRIALS ?? 40_000);
const LIMIT = 10;

const key = generateAccessKey({ subject: 'alice' });
const stranger = generateAccessKey({ subject: 'mallory' });
const verifier = createVerifier({
  audience: 'video-api',
  keys: new MemoryKeyStore([key]),
  nonces: new MemoryNonceStore({ perSubject: 10_000_000 }),
});

/** The headers of a request with a wrong signature, whose first `matching` digits are right. */
async function request(credentials, matching) {
  const signer = createSigner({ credentials, audience: 'video-api' });
  const { headers } = await signer.sign({ method: 'GET', url: 'http://api.test/' });
  const right = headers.authorization.slice(-64);
  const wrong = [...right]
    .map((digit, index) =>
      index < matching
        ? digit
        : ((Number.parseInt(digit, 16) + 1 + randomInt(14)) % 16).toString(16),
    )
    .join('');
  const authorization = headers.authorization.slice(0, -64) + wrong;
  return {
    right,
    wrong,
    raw: ['Host', 'api.test', ...Object.entries({ ...headers, authorization }).flat()],
  };
}

const scratch = Buffer.alloc(4096);
const fresh = (text) => scratch.latin1Slice(0, scratch.latin1Write(text));
const refuse = async ({ raw }) => {
  const received = { method: 'GET', url: '/', headers: raw.map(fresh) };
  const start = process.hrtime.bigint();
  await verifier.verify(received).catch(() => undefined);
  return Number(process.hrtime.bigint() - start);
};

/** Compares in an unsafe way: byte by byte, until the first difference. */
const naive = async ({ right, wrong }) => {
  const [a, b] = [Buffer.from(fresh(right.repeat(64))), Buffer.from(fresh(wrong.repeat(64)))];
  const start = process.hrtime.bigint();
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) break;
  return Number(process.hrtime.bigint() - start);
};

/** Looks a key up, and refuses immediately if there is none. */
const early = async (received) => {
  const start = process.hrtime.bigint();
  if (received.unknown !== true)
    await verifier
      .verify({ method: 'GET', url: '/', headers: received.raw.map(fresh) })
      .catch(() => undefined);
  return Number(process.hrtime.bigint() - start);
};

/** The same, after a request for another audience, which makes the server derive another key. */
const refuseAfterCooling = async (one) => {
  const { headers } = await elsewhere.sign({ method: 'GET', url: 'http://api.test/' });
  await verifier
    .verify({ method: 'GET', url: '/', headers: { host: 'api.test', ...headers } })
    .catch(() => undefined);
  return refuse(one);
};
const elsewhere = createSigner({ credentials: generateAccessKey(), audience: 'another-api' });

const randomKey = () => ({ ...key, secretAccessKey: randomBytes(32).toString('base64url') });
const kinds = {
  'no digit right, or 63 of them': {
    measure: refuse,
    make: [() => request(key, 0), () => request(key, 63)],
  },
  'wrong signature, or unknown key': {
    measure: refuse,
    make: [() => request(randomKey(), 0), () => request(stranger, 0)],
  },
  'the same, after a request for another audience': {
    measure: refuseAfterCooling,
    make: [() => request(randomKey(), 0), () => request(stranger, 0)],
  },
  'control: compared until the first difference': {
    measure: naive,
    make: [
      () => request(key, 0),
      async () => ({ ...(await request(key, 64)), wrong: '0'.repeat(64), right: '0'.repeat(64) }),
    ],
    differs: true,
  },
  'control: unknown keys answered early': {
    measure: early,
    make: [
      () => request(randomKey(), 0),
      async () => ({ ...(await request(stranger, 0)), unknown: true }),
    ],
    differs: true,
  },
};

for (const [name, { measure, make, differs = false }] of Object.entries(kinds)) {
  const pools = await Promise.all(make.map((one) => Promise.all(Array.from({ length: 64 }, one))));
  const times = [[], []];
  for (let trial = -20_000; trial < TRIALS; trial++) {
    const kind = randomInt(2);
    const time = await measure(pools[kind][randomInt(64)]);
    if (trial >= 0) times[kind].push(time);
  }
  // The slowest tenth is dropped: the machine causes it, not the code.
  const bound = times.flat().sort((a, b) => a - b)[Math.floor(TRIALS * 0.9)];
  const kept = times.map((list) => list.filter((time) => time <= bound));
  const t = welch(...kept);
  const found = !(Math.abs(t) < LIMIT);
  console.log(
    `${name.padEnd(46)} t = ${t.toFixed(1).padStart(8)}  ${found ? 'different' : 'alike'}  (${kept.map((list) => Math.round(mean(list))).join(' and ')} ns)`,
  );
  if (found !== differs) process.exitCode = 1;
}

function mean(list) {
  return list.reduce((sum, value) => sum + value, 0) / list.length;
}

function welch(a, b) {
  const [one, other] = [a, b].map((list) => {
    const middle = mean(list);
    const variance =
      list.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (list.length - 1);
    return { middle, error: variance / list.length };
  });
  return (one.middle - other.middle) / Math.sqrt(one.error + other.error);
}
