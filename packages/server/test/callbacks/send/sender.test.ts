import { once } from 'node:events';
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net';
import { inspect } from 'node:util';
import {
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import {
  type CallbackEndpoint,
  type CallbackSender,
  type CallbackSenderOptions,
  createCallbackSender,
  type DeliveryReport,
  type Handler,
  MemoryCallbackQueue,
  standardWebhooks,
} from '@countersign/server/callbacks';
import { readHeaders } from '@countersign/shared';
import { describe, expect, it, onTestFinished } from 'vitest';
import { until } from '../../../../../test/support/deadline.ts';
import { NOW } from '../../../../../test/support/now.ts';
import {
  EndpointGate,
  type GateBounds,
  type Place,
} from '../../../src/callbacks/send/endpoint-gate.ts';
import { parseRetryAfter, STANDARD_SCHEDULE } from '../../../src/callbacks/send/retry-schedule.ts';
import { parties } from '../../http/sockets.ts';
import {
  deferred,
  LOOPBACK,
  OTHER_SECRET,
  type Received,
  SECRET,
  startReceiver,
} from './sender-support.ts';

/** A sender to one endpoint, and what its hooks were told. */
function senderTo(
  endpoint: Partial<CallbackEndpoint> & { url: string },
  options: Partial<CallbackSenderOptions> = {},
) {
  const told: { hook: string; report: DeliveryReport }[] = [];
  const listeners: { hook: string; count: number; resolve: () => void }[] = [];
  const record = (hook: string) => (report: DeliveryReport) => {
    told.push({ hook, report });
    for (const it of listeners)
      if (told.filter((one) => one.hook === it.hook).length >= it.count) it.resolve();
  };
  const sender = createCallbackSender({
    endpoints: (id) =>
      id === 'alice'
        ? { id, ...(endpoint.credentials ? {} : { secrets: [SECRET] }), ...endpoint }
        : undefined,
    schedule: [0.01, 0.01],
    ...LOOPBACK,
    onDelivered: record('delivered'),
    onFailed: record('failed'),
    onDead: record('dead'),
    ...options,
  });
  onTestFinished(() => sender.close());
  const heard = (hook: string, count = 1): Promise<void> => {
    const { promise, resolve } = deferred();
    if (told.filter((one) => one.hook === hook).length >= count) resolve();
    else listeners.push({ hook, count, resolve });
    return promise;
  };
  return { sender, told, heard, hooks: () => told.map(({ hook }) => hook) };
}

async function settled(sender: CallbackSender, id: string, state: string) {
  for (;;) {
    const delivery = await sender.find(id);
    if (delivery?.state === state) return delivery;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Whether a secret has signed what was received. */
function isSignedWith(secret: string, { headers, body }: Received): boolean {
  const scheme = standardWebhooks();
  const received = scheme.read(readHeaders(headers as Record<string, string>));
  if (received === undefined) return false;
  return scheme.parseKey(secret).verify(scheme.content(received, body), received.signatures);
}

describe('send()', () => {
  it('sends an event as the specification writes it', async () => {
    const { url, received, got } = await startReceiver();
    const { sender } = senderTo({ url: `${url}?of=alice` }, { clock: () => NOW });
    const sent = await sender.send('alice', {
      id: 'msg_1',
      type: 'video.parsed',
      data: { cats: 9 },
    });
    await got(1);
    const timestamp = new Date(NOW * 1000).toISOString();
    const [{ headers, body, target }] = received as [Received];
    expect(sent.eventId).toBe('msg_1');
    expect(target).toBe('/callbacks?of=alice');
    expect(body.toString()).toBe(
      `{"type":"video.parsed","timestamp":"${timestamp}","data":{"cats":9}}`,
    );
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'content-length': String(body.length),
      'user-agent': 'Countersign-Callbacks',
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(NOW),
    });
    expect(isSignedWith(SECRET, received[0] as Received)).toBe(true);
    expect(isSignedWith(OTHER_SECRET, received[0] as Received)).toBe(false);
  });

  it('signs with both secrets while they are rotated', async () => {
    const { url, received, got } = await startReceiver();
    const { sender } = senderTo({ url, secrets: [SECRET, OTHER_SECRET] });
    await sender.send('alice', { body: '{}' });
    await got(1);
    for (const secret of [SECRET, OTHER_SECRET])
      expect(isSignedWith(secret, received[0] as Received)).toBe(true);
  });

  it('sends bytes as they are', async () => {
    const { url, received, got } = await startReceiver();
    const { sender } = senderTo({ url });
    const body = Uint8Array.of(0xff, 0xfe, 0);
    await sender.send('alice', { body, contentType: 'application/octet-stream' });
    body.fill(0);
    await got(1);
    expect([...(received[0] as Received).body]).toEqual([0xff, 0xfe, 0]);
    expect((received[0] as Received).headers['content-type']).toBe('application/octet-stream');
  });

  it('signs each attempt anew, with the same id', async () => {
    const { url, received, got } = await startReceiver((_, res, count) =>
      res.writeHead(count < 3 ? 500 : 200).end(),
    );
    // The queue has the system's clock: by that clock each attempt is due at once.
    let now = NOW - 60;
    const { sender } = senderTo({ url }, { clock: () => now++ });
    await sender.send('alice', { id: 'msg_1', body: '{}' });
    await got(3);
    const values = (name: string) => new Set(received.map(({ headers }) => headers[name]));
    expect(values('webhook-id')).toEqual(new Set(['msg_1']));
    expect(values('webhook-timestamp').size).toBe(3);
    expect(values('webhook-signature').size).toBe(3);
    for (const request of received) expect(isSignedWith(SECRET, request)).toBe(true);
  });

  it('sends an event once, however often it is sent with its id', async () => {
    const { url, received, got } = await startReceiver();
    const { sender } = senderTo({ url });
    const sent = await Promise.all(
      [1, 2, 3].map(() => sender.send('alice', { id: 'msg_1', body: '{}' })),
    );
    await sender.send('alice', { id: 'msg_2', body: '{}' });
    await got(2);
    expect(new Set(sent.map(({ id }) => id)).size).toBe(1);
    expect(received.map(({ headers }) => headers['webhook-id'])).toEqual(['msg_1', 'msg_2']);
  });

  it('signs requests to a Countersign server as a client does, with a nonce for each attempt', async () => {
    // One that goes: the queue waits by it.
    const from = performance.now();
    const clock = () => NOW + (performance.now() - from) / 1000;
    const nonces = new MemoryNonceStore({ clock, bornAt: 0 });
    const { key, verifier } = parties({ clock, nonces });
    const outcomes: unknown[] = [];
    const { promise, resolve } = deferred();
    const receiver = await startReceiver(async ({ headers, body, target }, res, count) => {
      const verified = { method: 'POST', url: target, headers: headers as never, body };
      const identity = await verifier.verify(verified).catch((error) => error.code);
      outcomes.push(identity.subject ?? identity, headers['webhook-signature']);
      res.writeHead(count === 1 ? 500 : 204).end();
      if (count === 2) resolve();
    });
    const { accessKeyId, secretAccessKey } = key;
    const credentials = { accessKeyId, secretAccessKey };
    const { sender } = senderTo(
      { url: receiver.url, credentials, audience: 'video-api' },
      { clock },
    );
    await sender.send('alice', { body: '{"cats":9}' });
    await promise;
    expect(outcomes).toEqual(['alice', undefined, 'alice', undefined]);
  });

  it('can sign with a private key, whose public half the receiver has', async () => {
    const clock = () => NOW;
    const { accessKey, credentials } = generateAccessKey({
      subject: 'alice',
      algorithm: 'ed25519',
    });
    const verifier = createVerifier({
      audience: 'video-api',
      keys: new MemoryKeyStore([accessKey], clock),
      nonces: new MemoryNonceStore({ clock, bornAt: 0 }),
      clock,
    });
    const { promise, resolve } = deferred<unknown>();
    const receiver = await startReceiver(async ({ headers, body, target }, res) => {
      const received = { method: 'POST', url: target, headers: headers as never, body };
      resolve(await verifier.verify(received).catch((error) => error));
      res.writeHead(204).end();
    });
    const { accessKeyId, privateKey } = credentials;
    const endpoint = { url: receiver.url, audience: 'video-api' };
    const { sender } = senderTo(
      { ...endpoint, credentials: { accessKeyId, privateKey } },
      { clock },
    );
    await sender.send('alice', { body: '{"cats":9}' });
    expect(await promise).toMatchObject({ subject: 'alice', bodySigned: true });

    const { secretAccessKey } = generateAccessKey();
    for (const [wrong, why] of [
      [{ accessKeyId }, 'expected an access key with a secretAccessKey or a privateKey'],
      [
        { accessKeyId, privateKey, secretAccessKey },
        'expected an access key with a secretAccessKey or a privateKey',
      ],
      [
        { accessKeyId, privateKey: 'PRIVATE' },
        'expected a private key in PEM (PKCS #8) of Ed25519, P-256, P-384 or RSA',
      ],
    ] as const) {
      const refusing = senderTo({ ...endpoint, credentials: wrong }, { clock });
      const { message } = (await refusing.sender
        .send('alice', { body: '{}' })
        .catch((error: Error) => error)) as Error;
      expect(message).toContain(why);
      expect(message).not.toContain('PRIVATE');
    }
  });

  it('refuses what cannot be sent, and says why without a secret', async () => {
    const { sender } = senderTo({ url: 'http://127.0.0.1:9999/' }, { maxPayload: 10 });
    const refusal = (event: unknown, id = 'alice') =>
      sender.send(id, event as never).then(String, ({ message }: Error) => message);
    expect(await refusal({ body: '{}' }, 'bob')).toBe(
      'Cannot send to endpoint "bob": it is unknown',
    );
    expect(await refusal({ body: 'x'.repeat(11) })).toBe(
      'Cannot send 11 bytes: 10 are allowed. Send less, or raise maxPayload',
    );
    expect(await refusal({ id: 'a.b', body: '{}' })).toMatch(/^Cannot send event with id "a\.b"/);
    expect(await refusal({ type: 'a b', data: 1 })).toMatch(/^Cannot send event of type "a b"/);
    expect(await refusal({ body: 5 })).toBe(
      'Cannot send body of type number: expected text or bytes',
    );
    expect(await refusal({ body: '{}', contentType: 'a\nb' })).toMatch(/content type "a\\nb"/);
    for (const [endpoint, why] of [
      [
        { url: 'https://a.test/', secrets: ['whsec_secret', 'whsec_secret', 'whsec_secret'] },
        'option "secrets" is of type array: expected at most 2 entries',
      ],
      [
        { url: 'https://a.test/', secrets: 'whsec_secret' as never },
        'option "secrets" is of type string: expected a list',
      ],
      [
        { url: 'https://a.test/', secrets: undefined },
        'expected secrets, or credentials and an audience',
      ],
      [
        { url: 'https://a.test/', audience: 'video-api' },
        'expected secrets, or credentials and an audience',
      ],
      [{ url: 'ftp://a.test/' }, '"ftp://a.test/" is not an absolute https URL'],
      [
        { url: 'https://a.test/', disabled: true },
        'Cannot send to endpoint "alice": it is disabled',
      ],
      [
        { url: 'https://a.test/', order: 'none' as never },
        'option "order" is "none": expected "as-sent" or "any"',
      ],
    ] as const) {
      const error = await senderTo(endpoint)
        .sender.send('alice', { body: '{}' })
        .catch((it) => it);
      expect(error.message).toContain(why);
      expect(inspect(error)).not.toContain('whsec_secret');
    }
    expect(() => senderTo({ url: 'https://a.test/' }, { schedule: [-1] })).toThrow(
      'option "schedule.0" is -1',
    );
    expect(() => senderTo({ url: 'https://a.test/' }, { endpoints: 'x' as never })).toThrow(
      'option "endpoints" is "x": expected a function',
    );
  });
});

describe('attempts', () => {
  it('follow the schedule, are told of, and end among the dead', async () => {
    const { url } = await startReceiver((_, res) => res.writeHead(500).end('no\u001b[31m\nnever'));
    const { sender, hooks, told, heard } = senderTo({ url }, { keepResponse: 6 });
    const { id } = await sender.send('alice', { body: '{}' });
    await heard('dead');
    expect(hooks()).toEqual(['failed', 'failed', 'failed', 'dead']);
    const delivery = await settled(sender, id, 'dead');
    expect(delivery.attempts.map(({ status, response }) => [status, response])).toEqual(
      Array.from({ length: 3 }, () => [500, 'no\ufffd[31']),
    );
    const [first, second, third] = delivery.attempts as [never, never, never] as {
      at: number;
      nextAt?: number;
    }[];
    expect((second?.at ?? 0) - (first?.nextAt ?? 0)).toBeGreaterThanOrEqual(0);
    expect(third?.nextAt).toBeUndefined();
    expect(told.at(-1)?.report).toMatchObject({
      id,
      endpointId: 'alice',
      attempt: { status: 500 },
    });
    expect(await sender.list('dead')).toEqual([delivery]);
    expect(sender.counters()).toEqual({
      queued: 1,
      attempts: 3,
      delivered: 0,
      failed: 3,
      disabled: 0,
      dead: 1,
    });
  });

  it('begin anew when they are ordered', async () => {
    let status = 500;
    const { url } = await startReceiver((_, res) => res.writeHead(status).end());
    const { sender, heard } = senderTo({ url }, { schedule: [] });
    const { id } = await sender.send('alice', { body: '{}' });
    await heard('dead');
    await settled(sender, id, 'dead');
    status = 204;
    await sender.redeliver(id);
    const { attempts } = await settled(sender, id, 'delivered');
    expect(attempts.map((attempt) => attempt.status)).toEqual([500, 204]);
    await expect(sender.redeliver('dlv_other')).rejects.toThrow(
      'Cannot redeliver "dlv_other": no such delivery is known',
    );
    await expect(sender.list('dead', 0)).rejects.toThrow(
      'Cannot list "0" deliveries: expected a whole number from 1 to 10000',
    );
  });

  it('disable the endpoint when it answers 410, as soon as that is stored', async () => {
    const { url, received } = await startReceiver((_, res) => res.writeHead(410).end());
    const disabled: string[] = [];
    const endpoint = { url, disabled: false };
    const { sender, heard } = senderTo(endpoint, {
      endpoints: (id) => ({ id, secrets: [SECRET], ...endpoint }),
      onDisabled: async (id) => {
        disabled.push(id);
        if (disabled.length === 1) throw new Error('The database is away');
        endpoint.disabled = true;
      },
    });
    const { id } = await sender.send('alice', { body: '{}' });
    await until(() => disabled.length > 0, 'the endpoint is told to be gone');
    await new Promise((resolve) => setImmediate(resolve));
    expect(await sender.find(id)).toMatchObject({ state: 'waiting', attempts: [{ status: 410 }] });
    await sender.redeliver(id);
    await heard('dead');
    const { reason } = await settled(sender, id, 'dead');
    expect([disabled, reason]).toEqual([
      ['alice', 'alice'],
      'The receiver wants no more callbacks',
    ]);
    await expect(sender.send('alice', { body: '{}' })).rejects.toThrow('it is disabled');
    await sender.redeliver(id);
    await heard('dead', 2);
    expect((await settled(sender, id, 'dead')).reason).toBe('The endpoint is disabled');
    expect(received.length).toBe(2);
  });

  it('wait for an endpoint that cannot be looked up', async () => {
    const { url } = await startReceiver();
    let count = 0;
    const { sender } = senderTo(
      { url },
      {
        endpoints: async (id) => {
          count += 1;
          if (count === 2) throw new Error('The database is away');
          return { id, url, secrets: [SECRET] };
        },
      },
    );
    const { id } = await sender.send('alice', { body: '{}' });
    await until(() => count === 2, 'the endpoint is looked up for the attempt');
    await new Promise((resolve) => setImmediate(resolve));
    expect(await sender.find(id)).toMatchObject({ state: 'waiting', attempts: [] });
    await sender.redeliver(id);
    await settled(sender, id, 'delivered');
  });

  it('honour Retry-After, bounded', async () => {
    const { url } = await startReceiver((_, res) =>
      res.writeHead(429, { 'retry-after': '100000000' }).end(),
    );
    const { sender, heard, told } = senderTo({ url }, { maxRetryAfter: 1_000, random: () => 0 });
    const before = Date.now() / 1000;
    await sender.send('alice', { body: '{}' });
    await heard('failed');
    const attempt = told[0]?.report.attempt;
    expect((attempt?.nextAt ?? 0) - before).toBeGreaterThanOrEqual(1_000);
    expect((attempt?.nextAt ?? 0) - before).toBeLessThan(1_060);
  });

  it('are made later by jitter, never earlier', async () => {
    const { url } = await startReceiver((_, res) => res.writeHead(500).end());
    const { sender, heard, told } = senderTo(
      { url },
      { schedule: [100], jitter: 0.5, random: () => 1, clock: () => NOW },
    );
    await sender.send('alice', { body: '{}' });
    await heard('failed');
    expect(told[0]?.report.attempt?.nextAt).toBe(NOW + 150);
  });

  it.each([
    ['a connection that is never accepted as TLS', 'Cannot connect to'],
    ['an answer that does not come', 'Cannot get an answer within 0.1 s'],
  ])('give up %s', async (what, message) => {
    const sockets = new Set<Socket>();
    const server = createTcpServer((socket) => void sockets.add(socket)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const { port } = server.address() as { port: number };
    const protocol = what.includes('TLS') ? 'https' : 'http';
    const { sender, heard, told } = senderTo(
      { url: `${protocol}://127.0.0.1:${port}/` },
      { schedule: [], timeouts: { connect: 0.1, headers: 0.1, body: 0.1 } },
    );
    await sender.send('alice', { body: '{}' });
    await heard('dead');
    expect(told.at(-1)?.report.attempt?.error).toContain(message);
  });

  it('are done with 2xx, though the rest of the answer never comes or never ends', async () => {
    const { url } = await startReceiver((_, res, count) => {
      res.writeHead(200).write('x'.repeat(count === 1 ? 10 : 100_000));
    });
    const { sender, heard } = senderTo(
      { url },
      { timeouts: { body: 0.1 }, maxResponse: 1_000, keepResponse: 20 },
    );
    const { id } = await sender.send('alice', { body: '{}' });
    await heard('delivered');
    const other = await sender.send('alice', { body: '{}' });
    await heard('delivered', 2);
    const responses = [id, other.id].map(
      async (it) => (await settled(sender, it, 'delivered')).attempts[0]?.response?.length,
    );
    expect(await Promise.all(responses)).toEqual([10, 20]);
  });

  it('fail with what is not HTTP, and with a change of protocol', async () => {
    const answers = [
      'hello',
      'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n',
    ];
    const server = createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.end(answers.shift() ?? ''));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as { port: number };
    const { sender, heard, told } = senderTo(
      { url: `http://127.0.0.1:${port}/` },
      { schedule: [0.01] },
    );
    await sender.send('alice', { body: '{}' });
    await heard('dead');
    const errors = told
      .filter(({ hook }) => hook === 'failed')
      .map(({ report }) => report.attempt?.error);
    expect(errors[0]).toMatch(/^Parse Error/);
    expect(errors[1]).toBe('Cannot take an answer that changes the protocol');
  });

  it.each([
    ['receiver.example.org', 'receiver.example.org'],
    ['127.0.0.1', undefined],
  ])('ask by TLS for the name %s, though they connect to an address', async (host, name) => {
    const hello = deferred<Buffer>();
    const server = createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (data) => {
        hello.resolve(data);
        socket.destroy();
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const { sender, heard } = senderTo(
      { url: `https://${host}:${port}/` },
      { schedule: [], resolve: async () => ['127.0.0.1'] },
    );
    await sender.send('alice', { body: '{}' });
    const text = (await hello.promise).toString('latin1');
    expect(/[\w-]+(?:\.[\w-]+)+\.(?:org|1)/.exec(text)?.[0]).toBe(name);
    await heard('dead');
  });

  it('go to each address that was checked, and say why there is no answer at any', async () => {
    const { port } = await startReceiver(undefined, '127.0.0.3');
    const addresses = ['127.0.0.1', '127.0.0.2'];
    const { sender, heard, told } = senderTo(
      { url: `http://receiver.example.org:${port}/` },
      { schedule: [], resolve: async () => addresses },
    );
    await sender.send('alice', { body: '{}' });
    await heard('dead');
    expect(told.at(-1)?.report.attempt?.error).toContain('ECONNREFUSED');
    addresses.push('127.0.0.3');
    await sender.send('alice', { body: '{}' });
    await heard('delivered');
  });

  it('do not wait for DNS that does not answer', async () => {
    const { sender, heard, told } = senderTo(
      { url: 'https://receiver.example.org/' },
      { schedule: [], resolve: () => new Promise(() => undefined), timeouts: { connect: 0.05 } },
    );
    await sender.send('alice', { body: '{}' });
    await heard('dead');
    expect(told.at(-1)?.report.attempt?.error).toBe(
      'Cannot find the addresses of the endpoint within 0.05 s',
    );
  });

  it.each([
    [
      'whsec_not-a-secret!',
      'Cannot read callback key: what follows "whsec_" is not canonical base64',
    ],
    [
      `${SECRET}\n`,
      'Cannot read callback key: it begins or ends with a blank, a line break or a quote',
    ],
    [`whpk_${Buffer.alloc(32, 1).toString('base64')}`, 'Cannot sign callback with a public key'],
  ])('fail if a secret cannot sign, and do not say which it is: %j', async (secret, message) => {
    const { url, received } = await startReceiver();
    const { sender } = senderTo({ url, secrets: [SECRET, secret] });
    await expect(sender.send('alice', { body: '{}' })).rejects.toThrow(new TypeError(message));
    expect(received.length).toBe(0);
    // If the secrets change while a callback waits, nobody is there to be told but the hooks.
    const secrets = [[SECRET], [secret]];
    const later = senderTo(
      { url },
      { schedule: [], endpoints: (id) => ({ id, url, secrets: secrets.shift() }) },
    );
    await later.sender.send('alice', { body: '{}' });
    await later.heard('dead');
    expect(later.told.at(-1)?.report.attempt?.error).toBe(message);
    expect(JSON.stringify(later.told)).not.toContain(secret.slice(6, 18));
  });

  it('are not repeated for a hook that fails', async () => {
    const warnings: string[] = [];
    const record = (warning: Error) => void warnings.push(warning.message);
    process.on('warning', record);
    onTestFinished(() => void process.off('warning', record));
    const { url, received } = await startReceiver();
    const { sender } = senderTo({ url }, { onDelivered: () => Promise.reject(new Error('no')) });
    const { id } = await sender.send('alice', { body: '{}' });
    await settled(sender, id, 'delivered');
    await new Promise((resolve) => setImmediate(resolve));
    expect(received.length).toBe(1);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(`failed, first for delivery ${id}: Error: no`);
  });

  it('come in order where the endpoint wants that, whatever fails', async () => {
    const { url, received, got } = await startReceiver((_, res, count) =>
      res.writeHead(count % 3 === 0 ? 500 : 204).end(),
    );
    const { sender } = senderTo({ url, order: 'as-sent' }, { schedule: [0.005, 0.005, 0.005] });
    for (let index = 0; index < 10; index++)
      await sender.send('alice', { id: `msg_${index}`, body: '{}' });
    await got(14);
    const ids = received.map(({ headers }) => headers['webhook-id']);
    expect([...new Set(ids)]).toEqual(Array.from({ length: 10 }, (_, index) => `msg_${index}`));
    expect(ids.toSorted()).toEqual(ids);
  });

  it('are made elsewhere where this process only queues', async () => {
    const { url, received } = await startReceiver();
    const queue = new MemoryCallbackQueue();
    const here = senderTo({ url }, { queue, deliver: 'elsewhere' });
    const { id } = await here.sender.send('alice', { body: '{}' });
    await new Promise((resolve) => setImmediate(resolve));
    expect(received.length).toBe(0);
    const there = senderTo({ url }, { queue });
    await there.heard('delivered');
    expect((await settled(here.sender, id, 'delivered')).attempts.length).toBe(1);
  });
});

describe('one dead receiver among 50', () => {
  it('gets its own places and no more: all others are served while it holds them', async () => {
    let [open, most] = [0, 0];
    const holding: (() => void)[] = [];
    const dead = await startReceiver((_, res) => {
      open += 1;
      most = Math.max(most, open);
      holding.push(() => res.writeHead(204).end());
      res.on('close', () => {
        open -= 1;
      });
    });
    const alive = await startReceiver();
    const reached = new Set<string>();
    const { promise, resolve } = deferred();
    const sender = createCallbackSender({
      endpoints: (id) => ({ id, url: id === 'e0' ? dead.url : alive.url, secrets: [SECRET] }),
      ...LOOPBACK,
      concurrency: 8,
      onDelivered: ({ endpointId, eventId }) => {
        reached.add(`${endpointId}/${eventId}`);
        if (reached.size === 49 * 4) resolve();
      },
    });
    // The queue of the dead one is long, and before all others.
    for (let event = 0; event < 200; event++)
      await sender.send('e0', { id: `msg_${event}`, body: '{}' });
    await dead.got(4);
    for (let event = 0; event < 4; event++)
      for (let endpoint = 1; endpoint < 50; endpoint++)
        await sender.send(`e${endpoint}`, { id: `msg_${event}`, body: '{}' });
    await promise;
    expect([most, dead.received.length]).toEqual([4, 4]);
    const closed = sender.close();
    for (const answer of holding) answer();
    await closed;
  });
});

describe('STANDARD_SCHEDULE', () => {
  it('makes ten attempts over 75 hours, 35 minutes and 5 seconds', () => {
    expect(STANDARD_SCHEDULE.length + 1).toBe(10);
    const all = STANDARD_SCHEDULE.reduce((sum, pause) => sum + pause, 0);
    expect(all).toBe(75 * 3_600 + 35 * 60 + 5);
  });
});

it('begins no attempt after close(), though the queue has it in hand', async () => {
  const { url, received } = await startReceiver();
  const queue = new MemoryCallbackQueue();
  const handlers: Handler[] = [];
  const start = queue.start.bind(queue);
  queue.start = (handle, concurrency) => {
    handlers.push(handle);
    start(handle, concurrency);
  };
  const { sender } = senderTo({ url }, { queue });
  await sender.close();
  const callback = {
    id: 'dlv_1',
    endpointId: 'alice',
    eventId: 'evt_1',
    contentType: 'text/plain',
  };
  const progress = { attempts: [], tried: 0 };
  const [handle] = handlers as [Handler];
  const verdict = await handle({ ...callback, body: Buffer.from('{}'), createdAt: NOW }, progress);
  expect(verdict).toMatchObject({ outcome: 'again', progress });
  expect(received).toHaveLength(0);
  expect(sender.counters().attempts).toBe(0);
});

describe('parseRetryAfter()', () => {
  /** 2026-11-21 22:26:40 UTC. */
  const now = 1_795_300_000;

  it.each([
    ['120', now + 120],
    [' 0 ', now],
    ['99999', now + 1_000],
    ['Sat, 21 Nov 2026 22:27:40 GMT', now + 60],
    ['Sat, 21 Nov 2026 23:27:40 GMT', now + 1_000],
    ['Sat, 21 Nov 2020 22:27:40 GMT', undefined],
    ['2026-11-21', undefined],
    ['-5', undefined],
    ['1e9', undefined],
    ['99999999999', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('reads %o as %o', (value, expected) => {
    expect(parseRetryAfter(value, now, 1_000)).toBe(expected);
  });
});

describe('EndpointGate', () => {
  const failed = { isWell: false, seconds: 5 };
  const quick = { isWell: true, seconds: 0.01 };
  const slow = { isWell: true, seconds: 4 };

  function gateOf(bounds: Partial<GateBounds> = {}) {
    const gate = new EndpointGate({ concurrency: 64, perEndpoint: 2, perOwner: 64, ...bounds });
    const enter = (id: string, now = 0, owner = id) => gate.enter(id, owner, now);
    return {
      enter,
      leave: gate.leave.bind(gate),
      /** The place, where there must be one. */
      get(id: string, now = 0, owner = id): Place {
        const place = enter(id, now, owner);
        if (typeof place === 'number') throw new Error(`no place for ${id}`);
        return place;
      },
    };
  }

  it('lets so many in, and spreads the others', () => {
    const { enter, get, leave } = gateOf();
    const place = get('a');
    get('a');
    get('b');
    const times = Array.from({ length: 10 }, () => enter('a') as number);
    expect(times.every((time, index) => time >= (times[index - 1] ?? 0.02))).toBe(true);
    leave(place, quick, 1);
    get('a', 1);
  });

  it('lets those who wait for a slow one ask as seldom as it becomes free', () => {
    const { enter, get } = gateOf();
    get('a');
    get('a');
    // No attempt has ended in eight seconds: each place becomes free every eight, at the earliest.
    const times = Array.from({ length: 5 }, () => enter('a', 8));
    expect(times).toEqual([12, 16, 20, 24, 28]);
  });

  it('gives one that fails again and again a rest, then one attempt at a time, until it is well', () => {
    const { enter, get, leave } = gateOf();
    for (let index = 0; index < 5; index++) leave(get('dead'), failed, 0);
    expect(enter('dead', 0.5)).toBeGreaterThan(1);
    const place = get('dead', 1);
    expect(enter('dead', 1)).toBeGreaterThan(1);
    leave(place, failed, 6);
    expect(enter('dead', 7.9)).toBeGreaterThan(8);
    leave(get('dead', 8), quick, 8);
    get('dead', 8);
    get('dead', 8);
  });

  it('leaves one alone for as long as it asked', () => {
    const { enter, get, leave } = gateOf({ perEndpoint: 1 });
    leave(get('a'), { ...failed, restUntil: 30 }, 0);
    expect(enter('a', 29)).toBeGreaterThan(30);
    get('a', 30);
  });

  it('sends nobody away for longer than a minute after it opens, and not all to the same time', () => {
    const { enter, get } = gateOf({ perEndpoint: 1 });
    get('a');
    const times = Array.from({ length: 10_000 }, () => enter('a') as number);
    expect(Math.max(...times)).toBeLessThanOrEqual(60);
    const inTheLastSecond = times.filter((time) => time > 59).length;
    expect(inTheLastSecond).toBeLessThan(10_000 / 50);
  });

  it('gives all endpoints of one owner so many places', () => {
    const { enter, get, leave } = gateOf({ perOwner: 3 });
    const places = ['a', 'b', 'c'].map((id) => get(id, 0, 'mallory'));
    expect(enter('d', 0, 'mallory')).toBeGreaterThan(0);
    get('d', 0, 'alice');
    leave(places[0] as Place, quick, 1);
    get('d', 1, 'mallory');
    expect(enter('e', 1, 'mallory')).toBeGreaterThan(1);
  });

  it('keeps an eighth of the places for endpoints that were quick, and one each for most others', () => {
    const { enter, get, leave } = gateOf();
    leave(get('quick'), quick, 0);
    leave(get('slow'), slow, 0);
    // Half of the places: two for each.
    for (let index = 0; index < 16; index++) [get(`new${index}`), get(`new${index}`)];
    // Then one each.
    get('slow');
    expect(enter('slow')).toBeGreaterThan(0);
    for (let index = 16; index < 39; index++) get(`new${index}`);
    expect(enter('new39')).toBeGreaterThan(0);
    get('quick');
    get('quick');
  });

  it('forgives one slow attempt, and takes an endpoint for slow after more', () => {
    const { enter, get, leave } = gateOf({ concurrency: 2 });
    leave(get('a'), quick, 0);
    leave(get('b'), quick, 0);
    leave(get('a'), slow, 0);
    leave(get('b'), slow, 0);
    leave(get('b'), slow, 0);
    get('new');
    get('a');
    expect(enter('b')).toBeGreaterThan(0);
  });

  it('counts an attempt that was not made for nothing but its place', () => {
    const { get, leave } = gateOf({ perEndpoint: 1 });
    for (let index = 0; index < 10; index++) leave(get('a'), { isWell: undefined, seconds: 9 }, 0);
    get('a');
  });

  it('remembers ten thousand endpoints, and never forgets one that is called', () => {
    const { enter, get, leave } = gateOf({ perEndpoint: 1, perOwner: 1 });
    get('busy');
    for (let index = 0; index < 20_000; index++) leave(get(`e${index}`), failed, 0);
    expect(enter('busy')).toBeGreaterThan(0);
  });
});
