/**
 * Runs a story about login for a program that ships without a secret: a server and its clients on
 * this machine, over TLS. Exits with 0 only if everything went as the story says.
 *
 * The attacker calls from 127.0.0.2. macOS has this address only after
 * `sudo ifconfig lo0 alias 127.0.0.2`.
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:https';
import { styleText } from 'node:util';
import { createFetch } from '@countersign/client';
import { Agent, fetch } from 'undici';
import { createApi } from './api.mjs';
import { makeCertificate } from './certificate.mjs';
import { VideoClient } from './client.mjs';
import { hashPassword } from './passwords.mjs';

const inColour = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (style, text) => (inColour ? styleText(style, text) : text);

// The server and its users.
const [alicesPassword, bobsPassword] = [1, 2].map(() => randomBytes(18).toString('base64url'));
const scopes = ['videos:parse'];
const users = new Map([
  ['alice', { password: await hashPassword(alicesPassword), scopes }],
  ['bob', { password: await hashPassword(bobsPassword), scopes }],
]);
const { key, cert: ca } = await makeCertificate();
const server = createServer({ key, cert: ca }, createApi(users)).listen(0, '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));
const origin = `https://127.0.0.1:${server.address().port}`;

// The program on two machines of Alice, and on the machine of an attacker who guesses passwords.
const connect = { ca };
const desktop = new VideoClient(origin, { connect });
const laptop = new VideoClient(origin, { connect });
const elsewhere = new VideoClient(origin, { connect, localAddress: '127.0.0.2' });
const video = 'https://videos.example.net/cats.mp4';

let surprises = 0;
const LENT = { status: 200, saying: 'session credentials' };
const ACCEPTED = { status: 200, saying: 'parsedFor "alice"' };
const WRONG = { status: 401, saying: 'The user name or the password is wrong' };
const TOO_MANY = { status: 429, saying: 'Too many failures to log in: wait' };
const GONE = { status: 204, saying: 'logged out' };
const INVALID = { status: 401, saying: 'signature-invalid' };

console.log(paint('bold', '\nA desktop program ships without a secret. Its user logs in.\n'));

await runStep('Alice logs in at her desktop, over TLS', LENT, () =>
  desktop.logIn('alice', alicesPassword),
);
await runStep('The program calls, signed with what it was lent', ACCEPTED, () =>
  desktop.parseVideo(video),
);

console.log(paint('bold', 'An attacker guesses.\n'));

for (const guess of ['alice', 'password', '123456', 'letmein', 'qwerty'])
  await runStep(`An attacker tries "${guess}"`, WRONG, () => elsewhere.logIn('alice', guess));
await runStep('The attacker has no more tries, whatever the password is', TOO_MANY, () =>
  elsewhere.logIn('alice', alicesPassword),
);
await runStep('Bob, on the same machine, logs in as if nothing had happened', LENT, () =>
  elsewhere.logIn('bob', bobsPassword),
);
await runStep('Alice, at her laptop, too: an attacker cannot lock her out', LENT, () =>
  laptop.logIn('alice', alicesPassword),
);

console.log(paint('bold', 'An attacker has found a session token, in a log.\n'));

const dispatcher = new Agent({ connect });
const overTls = (url, init) => fetch(url, { ...init, dispatcher });
const json = { 'content-type': 'application/json' };
const lent = await overTls(`${origin}/login`, {
  method: 'POST',
  headers: json,
  body: JSON.stringify({ user: 'alice', password: alicesPassword }),
}).then((response) => response.json());
const asHolderOf = (credentials) => {
  const signedFetch = createFetch({ credentials, audience: 'video-api', fetch: overTls });
  return (path, body) => signedFetch(origin + path, { method: 'POST', body });
};

await runStep(
  'They send it without a signature',
  { status: 401, saying: 'signature-missing' },
  () =>
    overTls(`${origin}/VideoParser/`, {
      method: 'POST',
      headers: { ...json, 'x-countersign-session-token': lent.sessionToken },
      body: JSON.stringify({ videoUrl: video }),
    }),
);
await runStep('They sign with a secret of their own', INVALID, () => {
  const secretAccessKey = randomBytes(32).toString('base64url');
  return asHolderOf({ ...lent, secretAccessKey })('/VideoParser/', { videoUrl: video });
});
const holder = asHolderOf(lent);
await runStep('With its secret it is good', ACCEPTED, () =>
  holder('/VideoParser/', { videoUrl: video }),
);
await runStep('Its owner logs out', GONE, () => holder('/logout'));
await runStep('It is good for nothing from now on, though it has not expired', INVALID, () =>
  holder('/VideoParser/', { videoUrl: video }),
);

console.log(paint('bold', 'Alice has lost her laptop.\n'));

await runStep('Her other sessions go on: the desktop', ACCEPTED, () => desktop.parseVideo(video));
await runStep('And the laptop', ACCEPTED, () => laptop.parseVideo(video));
const stillHere = new VideoClient(origin, { connect });
await runStep('She logs in once more, at a third machine', LENT, () =>
  stillHere.logIn('alice', alicesPassword),
);
await runStep('There she logs out everywhere', GONE, () => stillHere.logOut({ everywhere: true }));
await runStep('The laptop is out', INVALID, () => laptop.parseVideo(video));
await runStep('The desktop, too', INVALID, () => desktop.parseVideo(video));
await runStep('She logs in again, at her desktop', LENT, () =>
  desktop.logIn('alice', alicesPassword),
);
await runStep('And works on', ACCEPTED, () => desktop.parseVideo(video));
await runStep('She logs out', GONE, () => desktop.logOut());

server.close();
server.closeAllConnections();
console.log(
  surprises === 0
    ? paint('green', 'All went as told.\n')
    : paint('red', `${surprises} did not go as told.\n`),
);
process.exitCode = surprises === 0 ? 0 : 1;

/** Makes a call, and prints the answer, but never a password, a secret or a token. */
async function runStep(title, expected, makeCall) {
  const response = await makeCall();
  const said = await whatItSays(response);
  // If the answer asks the client to wait, print for how long.
  const isWhole = response.status !== 429 || Number(response.headers.get('retry-after')) > 0;
  const asTold = response.status === expected.status && said === expected.saying && isWhole;
  if (!asTold) surprises++;

  const verdict = response.ok
    ? paint('green', `${response.status} accepted`)
    : paint('yellow', `${response.status} refused`);
  console.log(paint('bold', title));
  console.log(paint('dim', `  > POST ${new URL(response.url).pathname}`));
  console.log(
    `  < ${verdict}: ${said}${asTold ? '' : paint('red', `  (expected ${expected.status} ${expected.saying})`)}\n`,
  );
}

async function whatItSays(response) {
  if (response.status === 204) return 'logged out';
  const { reason, error, parsedFor, secretAccessKey } = await response.json();
  if (secretAccessKey !== undefined) return 'session credentials';
  return reason ?? error ?? `parsedFor "${parsedFor}"`;
}
