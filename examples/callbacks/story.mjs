/**
 * Runs a story about callbacks: the video API calls back when a parse is done, an attacker watches
 * the network, and the receiver fails. Exits with 0 only if everything went as the story says.
 */
import { createServer } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { styleText } from 'node:util';
import { createFetch } from '@countersign/client';
import { generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import { standardWebhooks } from '@countersign/server/callbacks';
import { createApi } from './api.mjs';
import { createReceiver } from './receiver.mjs';

const inColour = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (style, text) => (inColour ? styleText(style, text) : text);

// A story that hangs must end.
setTimeout(() => {
  console.error('The story does not go on');
  process.exit(1);
}, 20_000).unref();

const [servers, senders] = [[], []];
const listen = async (listener) => {
  const server = createServer(listener).listen(0, '127.0.0.1');
  servers.push(server);
  await new Promise((resolve) => server.once('listening', resolve));
  return `http://127.0.0.1:${server.address().port}`;
};

// The receiver of Alice. Its secrets and its faults change as the story goes on.
let secrets = [];
let isBadDay = false;
let handled = [];
const receiver = createReceiver({
  secrets: () => secrets,
  handle: ({ data }, id) => {
    if (isBadDay) {
      isBadDay = false;
      throw new Error('The disk is full');
    }
    handled.push(id);
    return data.title;
  },
  log: () => undefined,
});
const receiverUrl = `${await listen(receiver)}/callbacks`;

// The attacker on the network sees each callback on its way to the receiver, and the answer.
let captured = [];
const wireUrl = await listen(async (req, res) => {
  const { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signature } = req.headers;
  const headers = { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signature };
  const callback = { headers, body: await buffer(req) };
  const answer = await post(callback);
  captured.push({ ...callback, status: answer.status });
  res.writeHead(answer.status).end(await answer.text());
}).then((origin) => `${origin}/callbacks`);

// Two APIs: one with the defaults, and one that may call its own machine.
const alice = generateAccessKey({ subject: 'alice', scopes: ['videos:parse'] });
const finished = new Map();
const careful = await startApi();
const api = await startApi({
  http: 'allow-plain-http',
  privateAddresses: 'allow-private-addresses',
  // One second instead of five keeps the story short.
  schedule: [1],
  onDelivered: ({ id }) => outcomeOf(id).settle('delivered'),
  onDead: ({ id }) => outcomeOf(id).settle('given up'),
});

let surprises = 0;
const URL_REFUSED = { status: 422, saying: /^Cannot (?:use callback URL|call host)/ };
const FORGED = { status: 401, saying: /^signature-invalid$/ };
const REGISTERED = { status: 201, saying: /^a secret, shown once$/ };
const ROTATED = { ...REGISTERED, status: 200 };

console.log(paint('bold', '\nA video API calls back when a parse is done.\n'));

for (const url of [wireUrl, wireUrl.replace('http:', 'https:'), 'https://169.254.169.254/latest/'])
  await runStep(
    `An attacker registers ${new URL(url).protocol}//${new URL(url).hostname}`,
    URL_REFUSED,
    () => careful('PUT', '/callback-endpoint', { url }),
  );
await runStep(
  'If its own machine is allowed by name, Alice registers her receiver there',
  REGISTERED,
  () => api('PUT', '/callback-endpoint', { url: wireUrl }),
);
await runStep('The credentials of a cloud are not to be had all the same', URL_REFUSED, () =>
  api('PUT', '/callback-endpoint', { url: 'http://169.254.169.254/latest/' }),
);
await runParse('Alice has a video parsed, and is called back', { attempts: [200], signatures: 1 });

console.log(paint('bold', 'An attacker watches the network.\n'));

const [seen] = captured;
const spam = Buffer.from('{"type":"video.parsed","data":{"title":"spam"}}');
await runStep(
  'They send the very same bytes again: nothing runs',
  { status: 200, saying: /^done$/ },
  () => post(seen),
);
await runStep('They put a body of their own under the signature', FORGED, () =>
  post({ ...seen, body: spam }),
);
await runStep('They give it another id, to have it handled again', FORGED, () =>
  post({ ...seen, headers: { ...seen.headers, 'webhook-id': 'msg_2' } }),
);
await runStep('They sign with a secret of their own', FORGED, () =>
  post(signed(`whsec_${Buffer.from('0123456789abcdefghijklmn').toString('base64')}`, spam)),
);
await runStep(
  'They send it without a signature',
  { status: 401, saying: /^signature-missing$/ },
  () => post({ headers: {}, body: spam }),
);

console.log(paint('bold', 'The receiver has a bad day.\n'));

isBadDay = true;
await runParse('It fails, and is called again: the same id, signed again', {
  attempts: [500, 200],
  signatures: 1,
});

console.log(paint('bold', 'The secret changes, and nothing stops.\n'));

const [old] = secrets;
await runStep('Alice asks for a new one', ROTATED, () => api('POST', '/callback-endpoint/secret'));
const [next] = secrets;
secrets = [old];
await runParse('Both sign: her receiver, with the old one, accepts', {
  attempts: [200],
  signatures: 2,
});
secrets = [next];
await runParse('With the new one alone, it accepts as well', { attempts: [200], signatures: 2 });
await runStep('Who has found the old one can do nothing with it', FORGED, () =>
  post(signed(old, spam)),
);

await Promise.all(senders.map((sender) => sender.close()));
for (const server of servers) {
  server.close();
  server.closeAllConnections();
}
console.log(
  surprises === 0
    ? paint('green', 'All went as told.\n')
    : paint('red', `${surprises} did not go as told.\n`),
);
process.exitCode = surprises === 0 ? 0 : 1;

/** Starts an API, and returns a function that calls it as Alice. */
async function startApi(options) {
  const nonces = new MemoryNonceStore();
  const keys = new MemoryKeyStore([alice]);
  const { app, sender } = createApi({ audience: 'video-api', keys, nonces }, options);
  senders.push(sender);
  const origin = await listen(app);
  const { accessKeyId, secretAccessKey } = alice;
  const credentials = { accessKeyId, secretAccessKey };
  const signedFetch = createFetch({ credentials, audience: 'video-api' });
  return (method, path, body) => signedFetch(origin + path, { method, body });
}

/** Waits for the result of a delivery. The API may report it before the story asks. */
function outcomeOf(id) {
  const known = finished.get(id);
  if (known !== undefined) return known;
  const outcome = {};
  outcome.settled = new Promise((resolve) => {
    outcome.settle = resolve;
  });
  finished.set(id, outcome);
  return outcome;
}

/** Sends a recorded callback to the receiver unchanged, as any tool can. */
function post({ headers, body }) {
  const type = { 'content-type': 'application/json' };
  return fetch(receiverUrl, { method: 'POST', headers: { ...type, ...headers }, body });
}

/** Makes a callback, signed with a given secret. */
function signed(secret, body) {
  const scheme = standardWebhooks();
  const params = { id: 'msg_3', signedAt: Math.floor(Date.now() / 1000) };
  const signature = scheme.parseKey(secret).sign(scheme.content(params, body));
  return { headers: scheme.write(params, [signature]), body };
}

/** Makes a call, and prints the answer, but never a secret. */
async function runStep(title, expected, makeCall) {
  const before = handled.length;
  const response = await makeCall();
  const answer = await response.json();
  if (answer.secret !== undefined) secrets = [answer.secret];
  const said = answer.secret
    ? 'a secret, shown once'
    : (answer.reason ?? answer.outcome ?? answer.error);
  const asTold =
    response.status === expected.status && expected.saying.test(said) && handled.length === before;
  const verdict = response.ok
    ? paint('green', `${response.status} accepted`)
    : paint('yellow', `${response.status} refused`);
  console.log(paint('bold', title));
  report(`${verdict}: ${said}`, asTold, `${expected.status} ${expected.saying.source}`);
  console.log();
}

/**
 * Requests a parse, waits for the result of the callback, and prints each attempt as it was sent.
 */
async function runParse(title, expected) {
  captured = [];
  handled = [];
  console.log(paint('bold', title));
  const videoUrl = 'https://videos.example.net/cats.mp4';
  const { deliveryId } = await api('POST', '/VideoParser/', { videoUrl }).then((it) => it.json());
  const outcome = await outcomeOf(deliveryId).settled;

  for (const { headers, body, status } of captured) {
    for (const [name, value] of Object.entries(headers))
      console.log(paint('dim', `  > ${name}: ${value.replace(/(v1,.{8})\S*/g, '$1…')}`));
    console.log(paint('dim', `  > ${body}`));
    console.log(`  < ${status === 200 ? paint('green', '200') : paint('yellow', status)}`);
  }
  const ids = new Set(captured.map(({ headers }) => headers['webhook-id']));
  const signatures = captured.map(({ headers }) => headers['webhook-signature']);
  const asTold =
    outcome === 'delivered' &&
    ids.size === 1 &&
    new Set(signatures).size === captured.length &&
    signatures.every((it) => it.split(' ').length === expected.signatures) &&
    captured.map(({ status }) => status).join() === expected.attempts.join() &&
    handled.length === 1 &&
    ids.has(handled[0]);
  report(
    `${outcome} with attempt ${captured.length}, signed with ${signatures[0]?.split(' ').length}, handled ${handled.length} ×`,
    asTold,
    `attempts ${expected.attempts.join(' ')}, signed with ${expected.signatures}, handled 1 ×`,
  );
  console.log();
}

function report(text, asTold, expected) {
  if (!asTold) surprises++;
  console.log(`  < ${text}${asTold ? '' : paint('red', `  (expected ${expected})`)}`);
}
