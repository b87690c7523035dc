import { type ChildProcess, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { type RequestOptions, request } from 'node:https';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { createSigner } from '@countersign/client';
import type { SessionCredentials } from '@countersign/server/sessions';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

const scrypt = vi.hoisted(() => vi.fn());
vi.mock('node:crypto', async (importOriginal) => {
  const original = await importOriginal<typeof import('node:crypto')>();
  scrypt.mockImplementation(original.scrypt);
  return { ...original, scrypt };
});

describe('node examples/login/story.mjs', () => {
  let story: SpawnSyncReturns<string>;
  beforeAll(() => {
    story = spawnSync(process.execPath, ['examples/login/story.mjs'], { encoding: 'utf8' });
  });

  it('tells the story, and ends well', () => {
    expect(story.stderr).toBe('');
    expect(story.status).toBe(0);
    const told = story.stdout.match(/^(?! {2}>).+$/gm) ?? [];
    const wrong = '  < 401 refused: The user name or the password is wrong';
    expect(told).toEqual([
      'A desktop program ships without a secret. Its user logs in.',
      'Alice logs in at her desktop, over TLS',
      '  < 200 accepted: session credentials',
      'The program calls, signed with what it was lent',
      '  < 200 accepted: parsedFor "alice"',
      'An attacker guesses.',
      ...['alice', 'password', '123456', 'letmein', 'qwerty'].flatMap((guess) => [
        `An attacker tries "${guess}"`,
        wrong,
      ]),
      'The attacker has no more tries, whatever the password is',
      '  < 429 refused: Too many failures to log in: wait',
      'Bob, on the same machine, logs in as if nothing had happened',
      '  < 200 accepted: session credentials',
      'Alice, at her laptop, too: an attacker cannot lock her out',
      '  < 200 accepted: session credentials',
      'An attacker has found a session token, in a log.',
      'They send it without a signature',
      '  < 401 refused: signature-missing',
      'They sign with a secret of their own',
      '  < 401 refused: signature-invalid',
      'With its secret it is good',
      '  < 200 accepted: parsedFor "alice"',
      'Its owner logs out',
      '  < 204 accepted: logged out',
      'It is good for nothing from now on, though it has not expired',
      '  < 401 refused: signature-invalid',
      'Alice has lost her laptop.',
      'Her other sessions go on: the desktop',
      '  < 200 accepted: parsedFor "alice"',
      'And the laptop',
      '  < 200 accepted: parsedFor "alice"',
      'She logs in once more, at a third machine',
      '  < 200 accepted: session credentials',
      'There she logs out everywhere',
      '  < 204 accepted: logged out',
      'The laptop is out',
      '  < 401 refused: signature-invalid',
      'The desktop, too',
      '  < 401 refused: signature-invalid',
      'She logs in again, at her desktop',
      '  < 200 accepted: session credentials',
      'And works on',
      '  < 200 accepted: parsedFor "alice"',
      'She logs out',
      '  < 204 accepted: logged out',
      'All went as told.',
    ]);
  });

  it('shows neither a password nor a secret nor a token', () => {
    // The longest word is "logout-everywhere"; passwords have 24 characters, ids of sessions too.
    expect(story.stdout).not.toMatch(/[\w-]{18}/);
  });
});

describe('checkPassword()', () => {
  type Hashed = { readonly cost: number; readonly hash: Buffer };
  let hashPassword: (password: string) => Promise<Hashed>;
  let checkPassword: (password: string, record: Hashed | undefined) => Promise<boolean>;
  beforeAll(async () => {
    const module = pathToFileURL('examples/login/passwords.mjs').href;
    ({ hashPassword, checkPassword } = await import(/* @vite-ignore */ module));
  });

  /** What scrypt is asked to do, but for the password and the salt. */
  const workOf = async (check: () => Promise<boolean>) => {
    scrypt.mockClear();
    await check();
    return scrypt.mock.calls.map(([, salt, length, options]) => [salt.length, length, options]);
  };

  it('does the same work for an unknown user as for a known one, and says no', async () => {
    const record = await hashPassword('correct horse');
    expect(await checkPassword('correct horse', record)).toBe(true);
    expect(await checkPassword('wrong horse', record)).toBe(false);
    expect(await checkPassword('correct horse', undefined)).toBe(false);

    const forKnownUser = await workOf(() => checkPassword('wrong horse', record));
    const forUnknownUser = await workOf(() => checkPassword('wrong horse', undefined));
    expect(forKnownUser).toHaveLength(1);
    expect(forUnknownUser).toEqual(forKnownUser);
  });

  it('salts: the same password is never hashed alike, and its accents may be written in both ways', async () => {
    const [one, other] = [await hashPassword('caf\u00e9'), await hashPassword('caf\u00e9')];
    expect(one.hash.equals(other.hash)).toBe(false);
    expect(await checkPassword('cafe\u0301', one)).toBe(true);
  });

  it('checks with what a record says, so that parameters can be raised', async () => {
    const { cost, ...record } = await hashPassword('correct horse');
    expect(await checkPassword('correct horse', { ...record, cost })).toBe(true);
    expect(await checkPassword('correct horse', { ...record, cost: cost / 2 })).toBe(false);
  });
});

describe('createLoginLimits()', () => {
  const fail = async (...addresses: string[]) => {
    const module = pathToFileURL('examples/login/limits.mjs').href;
    const { createLoginLimits } = await import(/* @vite-ignore */ module);
    const limits = createLoginLimits();
    const attempts = [];
    for (const address of addresses) attempts.push(await limits.begin(address, 'alice'));
    return attempts.filter(({ retryAfter }) => retryAfter > 0).length;
  };

  it('counts addresses of one IPv6 network as one, however they are written', async () => {
    const one = [...Array(5).keys()].map((host) => `2001:db8::${host}`);
    expect(await fail(...one, '2001:db8:0:0:1:2:3:4')).toBe(1);
    expect(await fail(...one, '2001:db8::1:2:3:4')).toBe(1);
    expect(await fail(...one, '2001:db8:0:1::1', '2001:db8::1:1:2:3:4', '::1')).toBe(0);
  });

  it('counts addresses of IPv4 each for itself, also where they are written as IPv6', async () => {
    const each = [...Array(10).keys()].map((host) => `::ffff:192.0.2.${host}`);
    expect(await fail(...each)).toBe(0);
    expect(await fail(...Array(5).fill('::ffff:192.0.2.1'), '192.0.2.1')).toBe(1);
  });
});

describe('node examples/login/server.mjs', () => {
  let server: ChildProcess;
  let api: { origin: string; certificate: string; passwords: { alice: string; bob: string } };

  beforeAll(async () => {
    server = spawn(process.execPath, ['examples/login/server.mjs'], {
      env: { ...process.env, PORT: '0', COUNTERSIGN_PRINT_PASSWORDS: '1' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(createInterface(server.stdout as NodeJS.ReadableStream), 'line');
    api = JSON.parse(line);
  });

  afterAll(async () => {
    const exit = once(server, 'exit');
    server.kill();
    await exit;
  });

  interface Answer {
    status: number;
    headers: IncomingHttpHeaders;
    text: string;
  }
  /** Sends bytes as they are, over a connection of their own, from an address of this machine. */
  const send = async (
    path: string,
    body: string | Uint8Array,
    options: RequestOptions = {},
  ): Promise<Answer> => {
    const { certificate: ca, origin } = api;
    const sent = request(origin + path, { method: 'POST', ca, agent: false, ...options }).end(body);
    const [response] = await once(sent, 'response');
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk);
    const { statusCode: status, headers } = response;
    return { status, headers, text: Buffer.concat(chunks).toString() };
  };
  const logIn = (user: string, password: string, localAddress: string, headers = {}) =>
    send('/login', JSON.stringify({ user, password }), {
      localAddress,
      headers: { 'content-type': 'application/json', ...headers },
    });
  const sessionOf = async (
    user: 'alice' | 'bob',
    localAddress: string,
  ): Promise<SessionCredentials> => {
    const { status, text } = await logIn(user, api.passwords[user], localAddress);
    expect(status).toBe(200);
    return JSON.parse(text);
  };
  const callAs = async (credentials: SessionCredentials, path = '/VideoParser/', body = VIDEO) => {
    const signer = createSigner({ credentials, audience: 'video-api' });
    const attempt = async (epoch?: string) => {
      const url = api.origin + path;
      const signed = await signer.sign({ method: 'POST', url, body, headers: JSON_TYPE, epoch });
      return send(path, body, { headers: signed.headers });
    };
    const first = await attempt();
    return reasonOf(first) === 'replay-unknown'
      ? attempt(String(first.headers['countersign-epoch']))
      : first;
  };
  const VIDEO = JSON.stringify({ videoUrl: 'https://videos.example.net/cats.mp4' });
  const JSON_TYPE = { 'content-type': 'application/json' };
  const statusesOf = (answers: Answer[]) => answers.map(({ status }) => status).sort();
  const reasonOf = ({ status, text }: Answer) =>
    status < 400 ? undefined : JSON.parse(text).reason;

  it('lends credentials that no cache may keep', async () => {
    const { status, headers, text } = await logIn('alice', api.passwords.alice, '127.0.0.2');
    expect(status).toBe(200);
    expect(headers['cache-control']).toBe('no-store');
    expect(Object.keys(JSON.parse(text)).sort()).toEqual([
      'accessKeyId',
      'expiresAt',
      'secretAccessKey',
      'sessionToken',
    ]);
  });

  it('answers an unknown user and a wrong password alike, byte by byte', async () => {
    const unknown = await logIn('mallory', 'wrong', '127.0.0.3');
    const wrong = await logIn('alice', 'wrong', '127.0.0.3');
    expect(unknown.status).toBe(401);
    const { date: _, ...headersOfUnknown } = unknown.headers;
    const { date: __, ...headersOfWrong } = wrong.headers;
    expect({ ...unknown, headers: headersOfUnknown }).toEqual({
      ...wrong,
      headers: headersOfWrong,
    });
  });

  it('lets five of many guesses through that come at once, whatever they say of where they are from', async () => {
    const guesses = Array.from({ length: 12 }, (_, index) =>
      logIn('alice', `guess ${index}`, '127.0.0.4', { 'x-forwarded-for': `203.0.113.${index}` }),
    );
    expect(statusesOf(await Promise.all(guesses))).toEqual([
      ...Array(5).fill(401),
      ...Array(7).fill(429),
    ]);

    const late = await logIn('alice', api.passwords.alice, '127.0.0.4');
    expect(late.status).toBe(429);
    expect(Number(late.headers['retry-after'])).toBeGreaterThan(0);
    expect(Number(late.headers['retry-after'])).toBeLessThanOrEqual(900);

    await sessionOf('bob', '127.0.0.4');
    await sessionOf('alice', '127.0.0.5');
  });

  it('limits an unknown user as it limits others', async () => {
    const guesses = Array.from({ length: 6 }, () => logIn('mallory', 'wrong', '127.0.0.6'));
    expect(statusesOf(await Promise.all(guesses))).toEqual([...Array(5).fill(401), 429]);
  });

  it('lets twenty guesses of one address through, for whatever names', async () => {
    const guesses = Array.from({ length: 23 }, (_, index) =>
      logIn(`user-${index}`, 'password', '127.0.0.7'),
    );
    expect(statusesOf(await Promise.all(guesses))).toEqual([
      ...Array(20).fill(401),
      ...Array(3).fill(429),
    ]);
    expect((await logIn('bob', api.passwords.bob, '127.0.0.7')).status).toBe(429);
  });

  it('forgets the failures of who has logged in', async () => {
    for (let round = 0; round < 2; round++) {
      const slips = Array.from({ length: 4 }, () => logIn('alice', 'slip', '127.0.0.8'));
      expect(statusesOf(await Promise.all(slips))).toEqual([401, 401, 401, 401]);
      await sessionOf('alice', '127.0.0.8');
    }
  });

  it.each([
    ['a name in another spelling', '{"user":"Alice","password":"x"}', 422],
    ['a name that every object has', '{"user":"__proto__","password":"x"}', 401],
    ['no password', '{"user":"alice"}', 422],
    ['a list in place of a password', '{"user":"alice","password":["x"]}', 422],
    ['an endless password', JSON.stringify({ user: 'alice', password: 'x'.repeat(1_025) }), 422],
    ['more than any password', JSON.stringify({ user: 'alice', password: 'x'.repeat(5_000) }), 413],
    ['no JSON', '{"user":', 400],
  ])('refuses %s, and shows nothing of itself', async (_, body, status) => {
    const answer = await send('/login', body, { headers: JSON_TYPE, localAddress: '127.0.0.9' });
    expect(answer.status).toBe(status);
    expect(answer.text).not.toMatch(/node_modules|\.m?js\b|:\d+:\d+/);
  });

  it('is reached over TLS only, and trusted by its very certificate', async () => {
    const plain = httpRequest(api.origin.replace('https:', 'http:'), { method: 'POST' }).end('{}');
    await expect(once(plain, 'response')).rejects.toThrow(/socket hang up|ECONNRESET|Parse Error/);
    const stranger = send('/login', '{}', { ca: undefined as never });
    await expect(stranger).rejects.toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
  });

  it('takes nothing but signatures beyond the login', async () => {
    const { sessionToken } = await sessionOf('alice', '127.0.0.10');
    for (const path of ['/VideoParser/', '/logout', '/logout-everywhere', '/login/..', '/other']) {
      const headers = { ...JSON_TYPE, 'x-countersign-session-token': sessionToken };
      const answer = await send(path, VIDEO, { headers });
      expect([path, answer.status < 300]).toEqual([path, false]);
    }
    const answer = await send('/VideoParser/', VIDEO, { headers: JSON_TYPE });
    expect([answer.status, reasonOf(answer)]).toEqual([401, 'signature-missing']);
  });

  it('refuses a session without its secret, or with the token of another', async () => {
    const [alice, bob] = [
      await sessionOf('alice', '127.0.0.11'),
      await sessionOf('bob', '127.0.0.11'),
    ];
    expect(JSON.parse((await callAs(alice)).text).parsedFor).toBe('alice');
    const forged: SessionCredentials[] = [
      { ...alice, secretAccessKey: bob.secretAccessKey },
      { ...alice, sessionToken: bob.sessionToken },
      { ...alice, accessKeyId: bob.accessKeyId },
      { ...bob, sessionToken: alice.sessionToken },
    ];
    for (const credentials of forged) {
      const answer = await callAs(credentials);
      expect([answer.status, reasonOf(answer)]).toEqual([401, 'signature-invalid']);
    }
  });

  it('refuses a session that was logged out, and no other', async () => {
    const [one, other] = [
      await sessionOf('alice', '127.0.0.12'),
      await sessionOf('alice', '127.0.0.12'),
    ];
    expect((await callAs(one, '/logout')).status).toBe(204);
    const after = await callAs(one);
    expect([after.status, reasonOf(after)]).toEqual([401, 'signature-invalid']);
    expect((await callAs(one, '/logout-everywhere')).status).toBe(401);
    expect((await callAs(other)).status).toBe(200);
  });

  it('refuses all sessions of a user who logged out everywhere, and no others; a new one is good', async () => {
    const [one, other, bob] = [
      await sessionOf('alice', '127.0.0.13'),
      await sessionOf('alice', '127.0.0.14'),
      await sessionOf('bob', '127.0.0.13'),
    ];
    expect((await callAs(one, '/logout-everywhere')).status).toBe(204);
    const next = await sessionOf('alice', '127.0.0.13');
    const answers = [];
    for (const session of [one, other, bob, next]) answers.push((await callAs(session)).status);
    expect(answers).toEqual([401, 401, 200, 200]);
  });
});
