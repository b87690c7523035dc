/**
 * Measures what a request leaves in V8's old space. V8 collects the old space as a whole, in pieces
 * that take some 10 ms, and other requests wait for that. The more a request leaves, the more often
 * it happens.
 *
 *     node bench/garbage.mjs
 *
 * Exits with 1 if one request leaves more than 500 bytes, or in Express more than 1.2 times the
 * bytes that Express leaves by itself. Each server is a process of its own, with its client in it.
 */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import v8 from 'node:v8';
import { createSigner } from '@countersign/client';
import { createVerifier, generateAccessKey, MemoryKeyStore } from '@countersign/server';
import { requireSignature } from '@countersign/server/express';
import { createFailureLimit } from '@countersign/server/failures';
import { withSignature } from '@countersign/server/node';
import express from 'express';

/** Bytes that one request may leave. */
const BAR = 500;
/**
 * Limit for Express, relative to Express by itself: its requests keep each other alive, with all
 * their objects, until V8 collects the whole memory.
 */
const EXPRESS_BAR = 1.2;
const REQUESTS = 4_000;
/** The first rounds do not count, because code is compiled in them. */
const ROUNDS = 8;
const WARM_UP = 4;
const AUDIENCE = 'video-api';
const BODY = '{"videoUrl":"https://cdn.test/a.mp4"}';
const key = generateAccessKey({ subject: 'alice' });

/** Reads a body and answers, as an application does. */
function answer(req, res) {
  req.on('data', () => undefined).on('end', () => res.end('ok'));
}

/** A store that keeps nothing, because remembered nonces would be counted as garbage. */
const nonces = { claim: async () => ({ outcome: 'claimed', epoch: 'x'.repeat(22) }) };
const newVerifier = () =>
  createVerifier({
    audience: AUDIENCE,
    keys: new MemoryKeyStore([key]),
    nonces,
    failures: createFailureLimit({ perKey: 10, per: 3_600 }),
  });

/** Servers without a guard are there for comparison. */
const servers = {
  'node:http': () => answer,
  withSignature: () => withSignature(answer, newVerifier()),
  'withSignature, blocked': () => withSignature(answer, newVerifier()),
  'the same, ever new keys': () => withSignature(answer, newVerifier()),
  Express: () => express().post('/videos', answer),
  requireSignature: () => express().post('/videos', requireSignature(newVerifier()), answer),
};

/** Servers that get wrong signatures, until they block the client. */
const guesses = {
  'withSignature, blocked': () => ({ ...key, secretAccessKey: wrongSecret }),
  'the same, ever new keys': () => generateAccessKey(),
};
const wrongSecret = generateAccessKey().secretAccessKey;

const [, , mode] = process.argv;
if (mode === undefined) await compare();
else process.send(await measure(mode));

async function compare() {
  const bars = { Express: Number.POSITIVE_INFINITY };
  for (const name of Object.keys(servers)) {
    const child = fork(import.meta.filename, [name], { execArgv: ['--expose-gc'] });
    const [left] = await once(child, 'message');
    child.disconnect();
    console.log(`${name.padEnd(24)} ${left.toFixed(0).padStart(5)} bytes a request`);
    if (name === 'Express') bars.requireSignature = Math.max(BAR, EXPRESS_BAR * left);
    const bar = bars[name] ?? BAR;
    if (left <= bar) continue;
    console.error(`${name} leaves too much: ${bar.toFixed(0)} bytes are allowed`);
    process.exitCode = 1;
  }
}

async function measure(name) {
  const server = createServer(servers[name]()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  const isBlocked = guesses[name] !== undefined;
  const credentials = guesses[name] ?? (() => key);
  // If the request had a body, the server would close the connection after the refusal.
  const body = isBlocked ? '' : BODY;
  const expected = isBlocked ? '429' : '200';

  const left = [];
  for (let round = 0; round < ROUNDS; round++) {
    const requests = [];
    for (let made = 0; made < REQUESTS; made++)
      requests.push(await newRequest(credentials(), port, body));
    globalThis.gc();
    globalThis.gc();
    const before = oldSpace();
    let status;
    for (const request of requests) {
      socket.write(request);
      [[, status]] = [/^HTTP\/1\.1 (\d+)/.exec((await once(socket, 'data'))[0])];
    }
    left.push((oldSpace() - before) / REQUESTS);
    if (status !== expected) throw new Error(`${name} answered ${status}`);
  }
  socket.destroy();
  server.close();
  return left.slice(WARM_UP).reduce((sum, it) => sum + it, 0) / (ROUNDS - WARM_UP);
}

/** Bytes, because V8 keeps them outside its heap. */
async function newRequest(credentials, port, body) {
  const signer = createSigner({ credentials, audience: AUDIENCE });
  const headers = { 'content-type': 'application/json' };
  const signed = await signer.sign({
    method: 'POST',
    url: `http://127.0.0.1:${port}/videos`,
    headers,
    body,
  });
  const lines = Object.entries({
    host: `127.0.0.1:${port}`,
    'content-length': body.length,
    ...headers,
    ...signed.headers,
  }).map(([field, value]) => `${field}: ${value}\r\n`);
  return Buffer.from(`POST /videos HTTP/1.1\r\n${lines.join('')}\r\n${body}`);
}

function oldSpace() {
  return v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space')
    .space_used_size;
}
