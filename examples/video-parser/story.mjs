/**
 * Runs the story that Countersign was made for: a desktop program calls its API, and an attacker
 * who watches the network tries to do the same. Exits with 0 only if everything went as the story
 * says.
 */

import { createHash } from 'node:crypto';
import { styleText } from 'node:util';
import { createFetch } from '@countersign/client';
import {
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import { createApi } from './api.mjs';

const inColour = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (style, text) => (inColour ? styleText(style, text) : text);

// The server. Its clock can be moved, so that the story need not wait three minutes.
let later = 0;
const clock = () => Date.now() / 1000 + later;
const alice = generateAccessKey({ subject: 'alice', scopes: ['videos:parse'] });
const verifier = createVerifier({
  audience: 'video-api',
  keys: new MemoryKeyStore([alice]),
  nonces: new MemoryNonceStore({ clock }),
  clock,
});
const server = createApi(verifier).listen(0, '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));
const url = `http://127.0.0.1:${server.address().port}/VideoParser/`;

// The desktop program, with the access key of its user. The story records what an attacker on the
// network would see.
let captured;
const watchedFetch = (target, request) => {
  captured = { method: request.method, headers: request.headers, body: request.body };
  return fetch(target, request);
};
const { accessKeyId, secretAccessKey } = alice;
const signedFetch = createFetch({
  credentials: { accessKeyId, secretAccessKey },
  audience: 'video-api',
  fetch: watchedFetch,
});

const cats = JSON.stringify({ videoUrl: 'https://videos.example.net/cats.mp4' });
const spam = JSON.stringify({ videoUrl: 'https://evil.example/mine.mp4' });
let surprises = 0;

console.log(
  paint(
    'bold',
    '\nA desktop program posts a videoUrl to its API. An attacker watches the network.\n',
  ),
);

await runStep(
  'The program calls, signed with the key of its user',
  { status: 200, saying: 'parsedFor "alice"' },
  callAsProgram,
);
const call = captured;
await runStep(
  'The watcher sends the very same bytes again',
  { status: 401, saying: 'nonce-reused' },
  () => replay(call),
);
await runStep(
  'The watcher puts a URL of their own under the captured signature',
  { status: 401, saying: 'body-mismatch' },
  () => replay({ ...call, body: Buffer.from(spam) }),
);
await runStep(
  'The watcher declares the hash of that body, too',
  { status: 401, saying: 'signature-invalid' },
  () => {
    const hash = createHash('sha256').update(spam).digest('hex');
    return replay({
      ...call,
      headers: { ...call.headers, 'x-countersign-content-sha256': hash },
      body: Buffer.from(spam),
    });
  },
);
later = 180;
await runStep(
  'The watcher tries the captured call three minutes later',
  { status: 401, saying: 'clock-skew' },
  () => replay(call),
);
later = 0;
await runStep(
  'The watcher calls without a signature',
  { status: 401, saying: 'signature-missing' },
  () =>
    replay({
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(spam),
    }),
);
await runStep(
  'The program goes on as if nothing had happened',
  { status: 200, saying: 'parsedFor "alice"' },
  callAsProgram,
);

server.close();
server.closeAllConnections();
console.log(
  surprises === 0
    ? paint('green', 'All went as told.\n')
    : paint('red', `${surprises} did not go as told.\n`),
);
process.exitCode = surprises === 0 ? 0 : 1;

/** Calls the API as the program does: each call is signed again. */
function callAsProgram() {
  const headers = { 'content-type': 'application/json' };
  return signedFetch(url, { method: 'POST', headers, body: cats });
}

/** Sends a recorded request unchanged, as any tool can. */
function replay(request) {
  captured = request;
  return fetch(url, request);
}

/** Makes a call, and prints the request and the answer. */
async function runStep(title, expected, makeCall) {
  const response = await makeCall();
  const answer = await response.json();
  const said = answer.reason ?? (answer.parsedFor && `parsedFor "${answer.parsedFor}"`);
  const asTold = response.status === expected.status && said === expected.saying;
  if (!asTold) surprises++;

  console.log(`${paint('bold', title)}`);
  console.log(paint('dim', `  > POST ${new URL(url).pathname}`));
  for (const line of wire(captured.headers)) console.log(paint('dim', `  > ${line}`));
  console.log(paint('dim', `  > ${Buffer.from(captured.body)}`));
  const verdict = response.ok
    ? paint('green', `${response.status} accepted`)
    : paint('yellow', `${response.status} refused`);
  console.log(
    `  < ${verdict}: ${said}${asTold ? '' : paint('red', `  (expected ${expected.status} ${expected.saying})`)}`,
  );
  console.log(
    paint(
      'dim',
      `    ${answer.title && !answer.parsedFor ? answer.title : JSON.stringify(answer)}\n`,
    ),
  );
}

/** Formats the important headers, shortened. */
function wire(headers) {
  const lines = [];
  for (const [name, value] of Object.entries(headers)) {
    if (name === 'x-countersign-content-sha256') lines.push(`${name}: ${value.slice(0, 16)}…`);
    else if (/^x-countersign-(?:date|nonce)$/.test(name)) lines.push(`${name}: ${value}`);
    else if (name === 'authorization')
      lines.push(
        `${name}: ${value.replace(/SignedHeaders=[^,]*/, 'SignedHeaders=…').replace(/(Signature=.{16}).*/, '$1…')}`,
      );
  }
  return lines;
}
