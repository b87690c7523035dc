import { once } from 'node:events';
import { createServer, type RequestListener, request } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { BullmqCallbackQueue } from '@countersign/server/bullmq';
import {
  type CallbackEndpoint,
  createCallbackSender,
  createCallbackVerifier,
} from '@countersign/server/callbacks';
import { Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { NOW as PRESENT } from '../../../../test/support/now.ts';
import {
  newSecret,
  signCallback,
} from '../../../server/test/callbacks/receive/callbacks-sender.ts';
import { NOW, type Result, run, runner } from '../support.ts';

const secret = newSecret();
const other = newSecret();
const ALLOWED = '--allow-plain-http --allow-private-addresses';
const UNKNOWN = `dlv_${'x'.repeat(32)}`;

/** A receiver on this machine, and the bodies that it received. */
async function receiver(listener: RequestListener) {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/callbacks`;
}

/** A receiver that verifies. */
async function honestReceiver(secrets: readonly string[], status = 204) {
  const verifier = createCallbackVerifier({ secrets, clock: () => NOW });
  const received: { id: string; event: unknown; signatures: number }[] = [];
  const url = await receiver(async (req, res) => {
    const body = await text(req);
    const { id } = await verifier.verify({ headers: req.rawHeaders, body });
    const signatures = String(req.headers['webhook-signature']).split(' ').length;
    received.push({ id, event: JSON.parse(body), signatures });
    res.writeHead(status).end(status === 204 ? undefined : 'the disk is\nfull');
  });
  return { url, received };
}

describe('callbacks send', () => {
  const env = { COUNTERSIGN_CALLBACK_SECRET: secret };

  it('sends one signed event, and prints the answer', async () => {
    const { url, received } = await honestReceiver([secret], 200);
    const { run: here, json } = runner(env);
    const sent = await here(`callbacks send ${url} ${ALLOWED}`);
    expect(sent).toEqual({
      code: 0,
      stdout: expect.stringMatching(
        /^Event +msg_[\w-]{24}\nStatus +200\nDuration +0\.000 s\nAnswer +the disk is.full\n$/,
      ),
      stderr: '',
    });
    const line = `callbacks send ${url} --type video.parsed --data {"title":"Cats"} --id msg_1 ${ALLOWED}`;
    expect(await json(line)).toEqual({
      eventId: 'msg_1',
      status: 200,
      seconds: 0,
      response: expect.any(String),
    });
    const timestamp = new Date(NOW * 1000).toISOString();
    expect(received).toEqual([
      { id: expect.any(String), event: { type: 'test.event', timestamp, data: {} }, signatures: 1 },
      {
        id: 'msg_1',
        event: { type: 'video.parsed', timestamp, data: { title: 'Cats' } },
        signatures: 1,
      },
    ]);
  });

  it('signs with two secrets, while they are rotated', async () => {
    const { url, received } = await honestReceiver([other]);
    const both = { COUNTERSIGN_CALLBACK_SECRET: `${secret},${other}` };
    const { stdout } = await run(['callbacks', 'send', url, ...ALLOWED.split(' ')], { env: both });
    expect(stdout).toMatch(/^Event .*\nStatus +204\nDuration +0\.000 s\n$/);
    expect(received).toMatchObject([{ signatures: 2 }]);
  });

  it('resolves names as this machine does, if private addresses are allowed', async () => {
    const { url, received } = await honestReceiver([secret]);
    const here = url.replace('127.0.0.1', 'localhost');
    const { code } = await run(['callbacks', 'send', here, ...ALLOWED.split(' ')], { env });
    expect([code, received.length]).toEqual([0, 1]);
  });

  it.each([500, 302, 410])('fails if the status is %i', async (status) => {
    const url = await receiver((_, res) => res.writeHead(status, { location: '/' }).end('no\n'));
    const argv = ['callbacks', 'send', url, '--id', 'msg_1', ...ALLOWED.split(' ')];
    // The line feed of the answer was replaced.
    const redirect = 'It redirects to "/", which is not followed: register that URL';
    const answered = `it was answered ${status}, "no\ufffd" (after 0.000 s)`;
    const message = `Cannot deliver "msg_1": ${answered}${status === 302 ? `. ${redirect}` : ''}`;
    expect(await run(argv, { env })).toEqual({ code: 1, stdout: '', stderr: `${message}\n` });
    const { stdout } = await run([...argv, '--json'], { env });
    expect(JSON.parse(stdout)).toEqual({ error: { code: 'ERR_CALLBACK_NOT_DELIVERED', message } });
  });

  it('fails if the answer is empty, or there is no answer', async () => {
    const empty = await receiver((_, res) => res.writeHead(503).end());
    const none = await receiver((req) => req.socket.destroy());
    const stderrOf = async (url: string) => {
      const argv = ['callbacks', 'send', url, '--id', 'msg_1', ...ALLOWED.split(' ')];
      const { code, stderr } = await run(argv, { env });
      expect(code).toBe(1);
      return stderr;
    };
    expect(await stderrOf(empty)).toBe(
      'Cannot deliver "msg_1": it was answered 503 (after 0.000 s)\n',
    );
    expect(await stderrOf(none)).toBe('Cannot deliver "msg_1": socket hang up (after 0.000 s)\n');
  });

  it.each<[string, string, number, string]>([
    [
      'http://192.88.100.1/',
      '',
      2,
      'Cannot use callback URL: "http://192.88.100.1/" is not https, so every network on the way could read what is sent; --allow-plain-http allows it',
    ],
    [
      'http://localhost:4000/',
      '',
      2,
      'Cannot use callback URL: "http://localhost:4000/" is not https, so every network on the way could read what is sent; --allow-plain-http and --allow-private-addresses allow it',
    ],
    [
      'http://localhost:4000/',
      '--allow-plain-http',
      2,
      'Cannot use callback URL: "http://localhost:4000/" names a host of a private network; --allow-private-addresses allows it',
    ],
    [
      'https://me:hunter2@alice.test/',
      ALLOWED,
      2,
      'Cannot use callback URL: "https://…@alice.test/" has credentials in it',
    ],
    [
      'https://127.0.0.1:4000/',
      '--allow-plain-http',
      1,
      'Cannot call host "127.0.0.1": "127.0.0.1" is refused, it is not public: loopback; --allow-private-addresses allows it',
    ],
    [
      'http://169.254.169.254/',
      ALLOWED,
      1,
      'Cannot call host "169.254.169.254": "169.254.169.254" is refused, it is not public: linkLocal',
    ],
  ])('connects to no %s %s', async (url, flags, code, message) => {
    const argv = ['callbacks', 'send', url, ...flags.split(' ').filter((it) => it !== '')];
    expect(await run(argv, { env })).toEqual({ code, stdout: '', stderr: `${message}\n` });
  });

  it('says that a host has no address', async () => {
    // A label has at most 63 characters, so no DNS server is asked.
    const url = `https://${'x'.repeat(64)}.invalid/`;
    const argv = ['callbacks', 'send', url, '--allow-private-addresses', '--json'];
    const { code, stdout } = await run(argv, { env });
    expect([code, JSON.parse(stdout).error.code]).toEqual([1, 'ERR_CALLBACK_HOST_UNRESOLVED']);
  });

  it.each([
    ['--type no-type', 'Cannot send event of type "no-type": expected names'],
    ['--id a.b', 'Cannot send event with id "a.b": expected 1 to 256'],
  ])('says what is wrong with %s', async (flags, message) => {
    const argv = ['callbacks', 'send', 'https://127.0.0.1:4000/', ...flags.split(' ')];
    const { code, stderr } = await run([...argv, '--allow-private-addresses'], { env });
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
  });

  it.each([
    ['hunter2', 'Cannot read callback key: it begins with none of "whsec_", "whpk_" and "whsk_"'],
    [
      `"${secret}"`,
      'Cannot read callback key: it begins or ends with a blank, a line break or a quote',
    ],
    [
      `${secret}, ${other}`,
      'Cannot read callback key: it begins or ends with a blank, a line break or a quote',
    ],
    [
      `${secret}\0`,
      'Cannot read callback key: it holds a control character or one that cannot be seen, such as a byte order mark',
    ],
    [
      `whpk_${Buffer.from('0123456789abcdef0123456789abcdef').toString('base64')}`,
      'Cannot sign callbacks with a public key',
    ],
  ])('never repeats a secret that cannot be used', async (bad, message) => {
    const { code, stdout, stderr } = await run(['callbacks', 'send', 'https://alice.test/'], {
      env: { COUNTERSIGN_CALLBACK_SECRET: bad },
    });
    expect([code, stdout, stderr]).toEqual([
      2,
      '',
      `${message}; correct COUNTERSIGN_CALLBACK_SECRET\n`,
    ]);
  });
});

describe('callbacks listen', () => {
  /** Runs it until `end()`. */
  async function listening(flags = '', secrets = `${other},${secret}`, stdoutFails?: string) {
    let end: () => void = () => undefined;
    const interrupted = new Promise<void>((resolve) => {
      end = resolve;
    });
    let port: (port: number) => void = () => undefined;
    const ready = new Promise<number>((resolve) => {
      port = resolve;
    });
    const argv = ['callbacks', 'listen', '--port', '0', ...flags.split(' ').filter(Boolean)];
    const ended = run(argv, {
      env: { COUNTERSIGN_CALLBACK_SECRET: secrets },
      interrupted,
      ...(stdoutFails === undefined ? {} : { stdoutFails }),
      onWritten: (line) => {
        const [, found] = /127\.0\.0\.1:(\d+)/.exec(line) ?? [];
        if (found !== undefined) port(Number(found));
      },
    });
    return {
      port: await ready,
      ended,
      end: (): Promise<Result> => {
        end();
        return ended;
      },
    };
  }

  async function post(
    port: number,
    body: string | Uint8Array,
    headers: Record<string, string>,
    method = 'POST',
  ) {
    const sent = request({ port, host: '127.0.0.1', method, headers, agent: false }).end(body);
    const [response] = await once(sent, 'response');
    return { status: response.statusCode, text: await text(response) };
  }

  const EVENT = '{"type":"video.parsed","data":{}}';
  const signed = (body: string | Uint8Array, options = {}) =>
    signCallback(body, { secrets: [secret], signedAt: NOW, ...options });

  it('prints what arrives, whether it is verified, and ends with Ctrl+C', async () => {
    const { port, end } = await listening();
    expect(await post(port, EVENT, signed(EVENT))).toEqual({ status: 204, text: '' });
    const forged = await post(port, EVENT.replace('video', 'audio'), signed(EVENT));
    const mismatch =
      'No signature of the callback matches: compare the secret, and verify the body as it came over the wire';
    expect(forged).toEqual({ status: 401, text: `${mismatch}\n` });
    const { code, stdout, stderr } = await end();
    const at = '2026-11-24 22:30:05 UTC';
    expect(stdout).toBe(
      [
        `${at}  msg_1  video.parsed  204 verified\n  ${EVENT}\n`,
        `${at}  msg_1  audio.parsed  401 refused: ${mismatch}\n  ${EVENT.replace('video', 'audio')}\n`,
      ].join(''),
    );
    expect([code, stderr]).toEqual([
      0,
      `Listening at http://127.0.0.1:${port}/ until Ctrl+C\nStopped: 1 verified, 1 refused\n`,
    ]);
    await expect(post(port, EVENT, signed(EVENT))).rejects.toThrow('ECONNREFUSED');
  });

  it.each([
    ['EPIPE', 0, 'Stopped: 1 verified, 0 refused'],
    ['ENOSPC', 1, 'Cannot print the result: it is full; the command itself succeeded'],
  ])('ends if it cannot print: %s', async (reason, code, told) => {
    const { port, ended } = await listening('', secret, reason);
    await post(port, EVENT, signed(EVENT));
    expect(await ended).toEqual({
      code,
      stdout: '',
      stderr: `Listening at http://127.0.0.1:${port}/ until Ctrl+C\n${told}\n`,
    });
    await expect(post(port, EVENT, signed(EVENT))).rejects.toThrow('ECONNREFUSED');
  });

  it('prints documents with --json, and bodies cut short', async () => {
    const { port, end } = await listening('--json');
    const long = JSON.stringify({ type: 'x'.repeat(400), data: 'x'.repeat(1_000) });
    await post(port, long, signed(long, { id: 'msg_long' }));
    await post(port, EVENT, signed(EVENT, { signedAt: NOW - 301 }));
    await post(port, 'null', {});
    await post(port, '', {}, 'GET');
    await post(port, '{"type":1}', { ...signed('{"type":1}'), 'webhook-timestamp': 'now' });
    const { stdout } = await end();
    const refused = { at: NOW, verified: false };
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([
      {
        at: NOW,
        id: 'msg_long',
        type: 'x'.repeat(300),
        verified: true,
        status: 204,
        body: `${long.slice(0, 300)}…`,
      },
      {
        ...refused,
        id: 'msg_1',
        type: 'video.parsed',
        status: 401,
        code: 'ERR_SIGNATURE_EXPIRED',
        message: expect.stringContaining('301 s ago'),
        body: EVENT,
      },
      {
        ...refused,
        status: 401,
        code: 'ERR_SIGNATURE_MISSING',
        message: expect.stringContaining('not signed'),
        body: 'null',
      },
      {
        ...refused,
        status: 405,
        code: 'ERR_METHOD',
        message: 'Callbacks are sent with POST, not with "GET"',
        body: '',
      },
      {
        ...refused,
        id: 'msg_1',
        status: 400,
        code: 'ERR_SIGNATURE_MALFORMED',
        message: expect.stringContaining('"webhook-timestamp" is "now"'),
        body: '{"type":1}',
      },
    ]);
  });

  it('protects the terminal and the memory from senders', async () => {
    const { port, end } = await listening();
    const trick = '{"type":"\\u001b[2J"}\u001b[2J\n';
    await post(port, trick, {});
    const large = await post(port, Buffer.alloc(3_000_000, ' '), {});
    expect(large.status).toBe(413);
    expect((await post(port, '', {}, 'DELETE')).status).toBe(405);
    const { stdout } = await end();
    expect(stdout).toMatch(/^ {2}\{"type":"\\u001b\[2J"\}\\u001b\[2J\\u000a$/m);
    expect(stdout).toMatch(
      /- {2}- {2}405 refused: Callbacks are sent with POST, not with "DELETE"\n$/,
    );
    expect(stdout).not.toContain('\u001b');
    expect(stdout.length).toBeLessThan(1_500);
  });

  it('goes on if a sender breaks off', async () => {
    const { port, end } = await listening();
    const socket = connect(port, '127.0.0.1');
    socket.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf');
    await once(socket, 'connect');
    socket.resetAndDestroy();
    expect((await post(port, EVENT, signed(EVENT))).status).toBe(204);
    expect((await end()).stderr).toMatch(/^Stopped: 1 verified, 0 refused$/m);
  });

  it('receives what send sends', async () => {
    const { port, end } = await listening('', secret);
    const { code } = await run(
      ['callbacks', 'send', `http://localhost:${port}/`, '--id', 'msg_2', ...ALLOWED.split(' ')],
      { env: { COUNTERSIGN_CALLBACK_SECRET: secret } },
    );
    expect(code).toBe(0);
    expect((await end()).stdout).toMatch(/msg_2 {2}test\.event {2}204 verified\n/);
  });

  it('says that another program uses the port', async () => {
    const taken = createTcpServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    onTestFinished(() => void taken.close());
    const { port } = taken.address() as AddressInfo;
    const { code, stdout, stderr } = await run(
      ['callbacks', 'listen', '--port', String(port), '--json'],
      { env: { COUNTERSIGN_CALLBACK_SECRET: secret } },
    );
    const message = `Cannot listen at port ${port}: another program listens there; choose another --port`;
    expect([code, JSON.parse(stdout), stderr]).toEqual([
      1,
      { error: { code: 'ERR_LISTEN_FAILED', message } },
      `${message}\n`,
    ]);
  });
});

describe('callbacks list, show and redeliver', () => {
  let queues = 0;

  /** A sender that shares a queue in Redis with the commands. */
  async function begin() {
    queues += 1;
    const name = `cli-${process.pid}-${queues}`;
    const redis = new Redis(inject('redisUrl'));
    const settled = new Map<string, () => void>();
    const endpoints = new Map<string, CallbackEndpoint>();
    const tell = ({ eventId }: { eventId: string }) => settled.get(eventId)?.();
    const options = {
      endpoints: (id: string) => endpoints.get(id),
      http: 'allow-plain-http',
      privateAddresses: 'allow-private-addresses',
      schedule: [],
    } as const;
    const queue = () => new BullmqCallbackQueue({ redis, name });
    const waiting = createCallbackSender({ ...options, queue: queue(), deliver: 'elsewhere' });
    onTestFinished(async () => {
      await waiting.close();
      redis.disconnect();
    });
    return {
      ...runner({ COUNTERSIGN_STORE: inject('redisUrl') }, PRESENT),
      queue: `--queue ${name}`,
      endpoints,
      send: waiting.send,
      /** Delivers what waits, until these deliveries have ended. */
      deliver: async (...eventIds: string[]) => {
        const all = eventIds.map(
          (id) => new Promise<void>((resolve) => void settled.set(id, resolve)),
        );
        const sender = createCallbackSender({
          ...options,
          queue: queue(),
          onDelivered: tell,
          onDead: tell,
        });
        await Promise.all(all);
        await sender.close();
      },
    };
  }

  it('show the state of callbacks, and send them again', async () => {
    const { run: here, json, count, queue, endpoints, send, deliver } = await begin();
    expect(await here(`callbacks list ${queue}`)).toEqual({
      code: 0,
      stdout: '',
      stderr: `There are no such deliveries in ${inject('redisUrl')}\n`,
    });

    let status = 500;
    const seen: unknown[] = [];
    const url = await receiver((req, res) => {
      seen.push(req.headers['webhook-id']);
      res.writeHead(status).end('the disk is full');
    });
    endpoints.set('alice', { id: 'alice', url, secrets: [secret] });
    endpoints.set('bob', { id: 'bob', url, secrets: [secret] });
    const alices = await send('alice', { id: 'msg_1', type: 'video.parsed', data: {} });
    const bobs = await send('bob', { id: 'msg_2', type: 'video.parsed', data: {} });

    const both = await here(`callbacks list ${queue}`);
    expect(both.stdout).toMatch(
      /^ID +ENDPOINT +EVENT +STATE +CREATED \(UTC\) +ATTEMPTS +LAST +NEXT\n/,
    );
    expect(both.stdout).toMatch(
      new RegExp(`^${alices.id} +alice +msg_1 +waiting +\\S+ \\S+ +0 +- +now$`, 'm'),
    );
    expect((await here(`callbacks show ${bobs.id} ${queue}`)).stdout).toMatch(
      /^Delivery ID +dlv_.*\nEndpoint +bob\nEvent ID +msg_2\nState +waiting\nCreated .*\nNext +now\n$/,
    );

    endpoints.delete('bob');
    await deliver('msg_1', 'msg_2');
    const dead = await json(`callbacks list --state dead ${queue}`);
    expect(dead.map(({ id }: { id: string }) => id).sort()).toEqual([alices.id, bobs.id].sort());
    expect(await json(`callbacks list --state dead --limit 1 ${queue}`)).toHaveLength(1);
    expect(await json(`callbacks list --state waiting ${queue}`)).toEqual([]);
    const { stdout } = await here(`callbacks show ${alices.id} ${queue}`);
    expect(stdout).toMatch(/\nState +dead\nCreated .*\n\nATTEMPT +DURATION +STATUS +ANSWER\n/);
    expect(stdout).toMatch(/ UTC +\d+\.\d{3} s +500 +the disk is full\n$/);
    expect((await here(`callbacks show ${bobs.id} ${queue}`)).stdout).toMatch(
      /\nState +dead\nReason +The endpoint is unknown\n/,
    );

    status = 204;
    expect(await here(`callbacks redeliver ${alices.id} ${queue}`)).toEqual({
      code: 0,
      stdout: '',
      stderr: 'Event msg_1 is now due at endpoint alice\n',
    });
    await deliver('msg_1');
    expect(seen).toEqual(['msg_1', 'msg_1']);
    expect(await json(`callbacks show ${alices.id} ${queue}`)).toMatchObject({
      id: alices.id,
      state: 'delivered',
      attempts: [{ status: 500, response: 'the disk is full' }, { status: 204 }],
    });
    expect((await here(`callbacks list --state delivered ${queue}`)).stdout).toMatch(
      / delivered .* 2 +204 +-\n$/,
    );
    expect(await json(`callbacks redeliver ${bobs.id} ${queue}`)).toEqual({ redelivered: bobs.id });
    expect(count(secret.slice(6))).toBe(0);
  });

  it('show when the next attempt is due, and that there was no answer', async () => {
    const { deliveryTable, deliveryText } = await import('../../src/callbacks/delivery-view.ts');
    const attempt = { at: NOW, seconds: 5, error: 'Cannot connect within 5 s', nextAt: NOW + 60 };
    const delivery = {
      id: 'dlv_1',
      endpointId: 'alice',
      eventId: 'msg_1',
      createdAt: NOW,
      state: 'waiting',
      attempts: [attempt],
    } as const;
    expect(deliveryTable([delivery])).toMatch(
      / waiting +2026-11-24 22:30 +1 +no answer +2026-11-24 22:31\n$/,
    );
    expect(deliveryText(delivery)).toMatch(
      /\nNext +2026-11-24 22:31:05 UTC\n\n.*\n.* 5\.000 s +no answer +Cannot connect within 5 s\n$/,
    );
  });

  it('list and show the target of a redirect, without control characters', async () => {
    const { run: here, json, queue, endpoints, send, deliver } = await begin();
    const url = await receiver((_, res) =>
      res.writeHead(308, { location: 'https://www.alice.test/\u009b2J' }).end(),
    );
    endpoints.set('alice', { id: 'alice', url, secrets: [secret] });
    const { id } = await send('alice', { id: 'msg_1', type: 'video.parsed', data: {} });
    await deliver('msg_1');
    const location = 'https://www.alice.test/\ufffd2J';
    const { stdout: list } = await here(`callbacks list ${queue}`);
    expect(list).toMatch(
      / dead .* 1 +308, redirects to "https:\/\/www\.alice\.test\/\ufffd2J" +-\n$/,
    );
    const { stdout: show } = await here(`callbacks show ${id} ${queue}`);
    const error = `It redirects to "${location}", which is not followed: register that URL`;
    expect(show).toContain(` 308     ${error}\n`);
    const { attempts } = await json(`callbacks show ${id} ${queue}`);
    expect(attempts).toMatchObject([{ status: 308, location, error }]);
  });

  it('escape the target of a redirect in the queue', async () => {
    const { deliveryTable } = await import('../../src/callbacks/delivery-view.ts');
    const attempts = [{ at: NOW, seconds: 0, status: 302, location: '\u001b[2J\u009b\u202e' }];
    const delivery = { id: 'dlv_1', endpointId: 'alice', eventId: 'msg_1', createdAt: NOW };
    const table = deliveryTable([{ ...delivery, state: 'dead', attempts }]);
    expect(table).not.toMatch(/[^\P{C}\n]/u);
  });

  it.each(['show', 'redeliver'])('%s says that a delivery is not known', async (command) => {
    const { run: here, queue } = await begin();
    const { code, stdout, stderr } = await here(`callbacks ${command} ${UNKNOWN} ${queue} --json`);
    expect([code, JSON.parse(stdout).error.code, stderr]).toEqual([
      1,
      'ERR_DELIVERY_NOT_FOUND',
      `There is no delivery "${UNKNOWN}" in ${inject('redisUrl')}: look for it with callbacks list; the queue forgets old deliveries\n`,
    ]);
  });

  it('say what is wrong with the name of a queue, and that a Redis does not answer', async () => {
    const { run: here } = await begin();
    const wrong = await here('callbacks list --queue a:b');
    expect(wrong).toMatchObject({ code: 2, stdout: '' });
    expect(wrong.stderr).toContain('"name"');
    const silent = createTcpServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    silent.close();
    const gone = await here(`callbacks list --store redis://127.0.0.1:${port}`);
    expect([gone.code, gone.stderr]).toEqual([
      1,
      expect.stringMatching(/^Cannot use store "redis:\/\/127\.0\.0\.1:\d+": connect ECONNREFUSED/),
    ]);
  });
});
