import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import {
  type CallbackAddressError,
  type CallbackAddressOptions,
  checkCallbackUrl,
  createCallbackSender,
  MemoryCallbackQueue,
} from '@countersign/server/callbacks';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createResolver } from '../../../src/callbacks/send/resolve-host.ts';
import { startDns } from './sender-dns.ts';
import { deferred, LOOPBACK, SECRET, startReceiver } from './sender-support.ts';

/** Names and their addresses, chosen by an attacker, for a resolver of the test. */
const NAMES: Record<string, readonly string[]> = {
  'loopback.test': ['127.0.0.1'],
  'loopback6.test': ['::1'],
  'private.test': ['10.0.0.5'],
  'mixed.test': ['93.184.215.14', '127.0.0.1'],
  'mixed6.test': ['93.184.215.14', '::ffff:127.0.0.1'],
  'nat64.test': ['64:ff9b::7f00:1'],
  'zone.test': ['fe80::1%lo'],
  'word.test': ['localhost'],
  'octal.test': ['0177.0.0.1'],
  'empty.test': [],
  'public.test': ['93.184.215.14', '2606:2800:21f:cb07:6820:80da:af6b:8b2c'],
};

const resolve = async (name: string): Promise<readonly string[]> => NAMES[name] ?? [];

/**
 * URLs that name this machine, another one inside, or nothing that can be called. The test listens
 * on `PORT`.
 */
const HOSTILE = [
  // Not https, or not a URL.
  'http://public.test:PORT/',
  'http://127.0.0.1:PORT/',
  'ftp://127.0.0.1:PORT/',
  'file:///etc/passwd',
  'gopher://127.0.0.1:PORT/_x',
  'data:text/plain,x',
  'javascript:alert(1)',
  'ws://127.0.0.1:PORT/',
  '//127.0.0.1:PORT/',
  'https:127.0.0.1:PORT',
  'https:/127.0.0.1:PORT',
  'https:\\\\127.0.0.1:PORT',
  'https:///127.0.0.1:PORT',
  'https://',
  '',
  ' https://public.test/',
  'https://public.test/\n',
  'https://127.0\t.0.1:PORT/',
  `https://public.test/${'a'.repeat(3_000)}`,
  // Credentials, and characters that make parsers disagree on the host.
  'https://user:password@public.test/',
  'https://user@public.test/',
  'https://@127.0.0.1:PORT/',
  'https://public.test:443@127.0.0.1:PORT/',
  'https://public.test\\@127.0.0.1:PORT/',
  'https://127.0.0.1:PORT\\@public.test/',
  'https://127.0.0.1:PORT#@public.test/',
  'https://public.test/#fragment',
  'https://127.0.0.1:PORT?@public.test/',
  // Ports of other protocols.
  'https://public.test:22/',
  'https://public.test:25/',
  'https://public.test:80/',
  'https://public.test:0/',
  'https://public.test:99999/',
  // IPv4, in every spelling.
  'https://127.0.0.1:PORT/',
  'https://127.1:PORT/',
  'https://2130706433:PORT/',
  'https://0x7f000001:PORT/',
  'https://0x7f.0x0.0x0.0x1:PORT/',
  'https://0177.0.0.1:PORT/',
  'https://017700000001:PORT/',
  'https://127.0.0.1.:PORT/',
  'https://127.255.255.254:PORT/',
  'https://%31%32%37.0.0.1:PORT/',
  'https://１２７.０.０.１:PORT/',
  'https://127。0。0。1:PORT/',
  'https://①②⑦.⓪.⓪.①:PORT/',
  'https://0.0.0.0:PORT/',
  'https://0:PORT/',
  'https://0.1.2.3:PORT/',
  'https://10.0.0.1/',
  'https://172.16.0.1/',
  'https://172.31.255.255/',
  'https://192.168.1.1/',
  'https://169.254.169.254/latest/meta-data/',
  'https://2852039166/latest/meta-data/',
  'https://0xa9fea9fe/',
  'https://100.64.0.1/',
  'https://100.100.100.200/',
  'https://168.63.129.16/',
  'https://192.0.0.192/',
  'https://192.0.2.1/',
  'https://192.88.99.1/',
  'https://198.18.0.1/',
  'https://198.51.100.1/',
  'https://203.0.113.1/',
  'https://224.0.0.1/',
  'https://239.255.255.250/',
  'https://240.0.0.1/',
  'https://255.255.255.255/',
  // IPv6.
  'https://[::1]:PORT/',
  'https://[0:0:0:0:0:0:0:1]:PORT/',
  'https://[::]:PORT/',
  'https://[::ffff:127.0.0.1]:PORT/',
  'https://[::ffff:7f00:1]:PORT/',
  'https://[::127.0.0.1]:PORT/',
  'https://[::ffff:0:127.0.0.1]:PORT/',
  'https://[64:ff9b::127.0.0.1]:PORT/',
  'https://[64:ff9b:1::127.0.0.1]:PORT/',
  'https://[2002:7f00:1::]:PORT/',
  'https://[2001:0:7f00:1::]:PORT/',
  'https://[2606:4700::5efe:127.0.0.1]:PORT/',
  'https://[fe80::1]:PORT/',
  'https://[fe80::1%25lo]:PORT/',
  'https://[fec0::1]/',
  'https://[fc00::1]/',
  'https://[fd00:ec2::254]/latest/meta-data/',
  'https://[fd00:42::42]/user_data',
  'https://[fd00::a9fe:a9fe]/latest/meta-data/',
  'https://[ff02::1]/',
  'https://[100::1]/',
  'https://[2001:db8::1]/',
  'https://[3fff::1]/',
  'https://[4000::1]/',
  // Names.
  'https://localhost:PORT/',
  'https://LOCALHOST:PORT/',
  'https://localhost.:PORT/',
  'https://a.localhost:PORT/',
  'https://ⓛocalhost:PORT/',
  'https://printer.local/',
  'https://metadata.google.internal/',
  'https://redis:PORT/',
  'https://public.test./',
  'https://.public.test/',
  'https://public..test/',
  'https://loopback.test:PORT/',
  'https://loopback6.test:PORT/',
  'https://private.test/',
  'https://mixed.test:PORT/',
  'https://mixed6.test:PORT/',
  'https://nat64.test:PORT/',
  'https://zone.test:PORT/',
  'https://word.test:PORT/',
  'https://octal.test:PORT/',
  'https://empty.test/',
];

/** Listens on every address of this machine, and counts connections. */
async function countConnections(): Promise<{ port: number; connections: () => number }> {
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    socket.destroy();
  }).listen(0, '::');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, connections: () => count };
}

async function refusalOf(url: string, options: CallbackAddressOptions): Promise<string> {
  return checkCallbackUrl(url, options).then(
    () => 'accepted',
    ({ code }: CallbackAddressError) => code,
  );
}

describe('checkCallbackUrl()', () => {
  it('refuses every hostile URL', async () => {
    expect(HOSTILE.length).toBeGreaterThanOrEqual(60);
    for (const url of HOSTILE)
      expect(await refusalOf(url.replace('PORT', '8443'), { resolve }), url).toMatch(
        /^ERR_CALLBACK_/,
      );
  });

  it.each([
    ['https://public.test/callbacks?of=alice', 2],
    ['https://public.test:8443/', 2],
    ['https://93.184.215.14/', 1],
    ['https://[2606:4700::1111]/', 1],
    ['HTTPS://PUBLIC.TEST/', 2],
  ])('accepts %s, with all addresses of its host', async (url, count) => {
    expect((await checkCallbackUrl(url, { resolve })).addresses).toHaveLength(count);
  });

  it('accepts a host that is not ASCII, under its name in DNS', async () => {
    const asked: string[] = [];
    const { url } = await checkCallbackUrl('https://bücher.example.org/', {
      resolve: async (name) => {
        asked.push(name);
        return ['93.184.215.14'];
      },
    });
    expect([asked, url.host]).toEqual([['xn--bcher-kva.example.org'], 'xn--bcher-kva.example.org']);
  });

  it('allows private addresses if the option says so, and never those that hand out credentials', async () => {
    const options = { resolve, privateAddresses: 'allow-private-addresses' } as const;
    for (const url of [
      'https://127.0.0.1:8443/',
      'https://[::1]/',
      'https://private.test/',
      'https://[fd12::1]/',
    ])
      expect(await refusalOf(url, options), url).toBe('accepted');
    for (const host of [
      '169.254.169.254',
      '168.63.129.16',
      '100.100.100.200',
      '[fd00:ec2::254]',
      '[fd00:42::42]',
      '[fd00::a9fe:a9fe]',
      '[fd12:3456::169.254.169.254]',
      '224.0.0.1',
      '[::ffff:127.0.0.1]',
    ])
      expect(await refusalOf(`https://${host}/`, options), host).toBe(
        'ERR_CALLBACK_ADDRESS_REFUSED',
      );
    expect(await refusalOf('http://public.test/', options)).toBe('ERR_CALLBACK_URL_REFUSED');
    const plain = { resolve, http: 'allow-plain-http' } as const;
    expect(await refusalOf('http://public.test/', plain)).toBe('accepted');
    expect(await refusalOf('http://public.test:81/', plain)).toBe('ERR_CALLBACK_URL_REFUSED');
  });

  it('says what is wrong, without a password', async () => {
    const error = await checkCallbackUrl('https://user:hunter2@public.test/').catch((it) => it);
    expect(error.message).toBe(
      'Cannot use callback URL: "https://…@public.test/" has credentials in it',
    );
    const refused = await checkCallbackUrl('https://mixed.test/', { resolve }).catch((it) => it);
    expect(refused.message).toBe(
      'Cannot call host "mixed.test": "127.0.0.1" is refused, it is not public: loopback',
    );
  });

  it('refuses a host if its addresses cannot be found, or if it has none or too many', async () => {
    const failing = async () =>
      Promise.reject(Object.assign(new Error('no'), { code: 'ESERVFAIL' }));
    const many = async () => Array.from({ length: 33 }, (_, index) => `93.184.215.${index}`);
    for (const resolve of [failing, many, async () => []])
      expect(await refusalOf('https://public.test/', { resolve })).toBe(
        'ERR_CALLBACK_HOST_UNRESOLVED',
      );
    expect(await refusalOf(undefined as unknown as string, {})).toBe('ERR_CALLBACK_URL_REFUSED');
  });
});

describe('createResolver()', () => {
  it('asks DNS for both families, and reads no file of this machine', async () => {
    const dns = await startDns(({ name, type }) => {
      if (name === 'both.test') return type === 'A' ? ['93.184.215.14'] : ['2606:4700::1111'];
      if (name === 'four.test') return type === 'A' ? ['93.184.215.14'] : [];
      if (name === 'broken.test') return 'SERVFAIL';
      return [];
    });
    const ask = createResolver(1, [dns.server]);
    expect(await ask('both.test')).toEqual(['93.184.215.14', '2606:4700::1111']);
    expect(await ask('four.test')).toEqual(['93.184.215.14']);
    expect(await ask('none.test')).toEqual([]);
    await expect(ask('broken.test')).rejects.toMatchObject({ code: 'ESERVFAIL' });
  });
});

/** A queue with callbacks in it, as after a restart, when URLs may have changed. */
async function queueOf(ids: readonly string[]): Promise<MemoryCallbackQueue> {
  const queue = new MemoryCallbackQueue();
  for (const id of ids)
    await queue.add({
      id,
      endpointId: id,
      eventId: 'msg_1',
      contentType: 'application/json',
      body: Buffer.from('{}'),
      createdAt: 0,
    });
  return queue;
}

const secrets = [SECRET];

/** Receivers that record which of them was reached. */
function notes() {
  const reached: string[] = [];
  const noting = (name: string) => (_: unknown, res: ServerResponse) => {
    reached.push(name);
    res.writeHead(204).end();
  };
  return { reached, noting };
}

describe('createCallbackSender() and hostile endpoints', () => {
  it('makes no connection for any hostile URL', async () => {
    const { port, connections } = await countConnections();
    const urls = HOSTILE.map((url) => url.replace('PORT', String(port)));
    const queue = await queueOf(urls.map((_, index) => `e${index}`));
    const dead: string[] = [];
    const done = deferred();
    const sender = createCallbackSender({
      queue,
      resolve,
      schedule: [],
      endpoints: (id) => ({ id, url: urls[Number(id.slice(1))] as string, secrets }),
      onDead: ({ endpointId }) => {
        if (dead.push(endpointId) === urls.length) done.resolve();
      },
    });
    onTestFinished(() => sender.close());
    await done.promise;
    const { attempts, delivered } = sender.counters();
    expect({ attempts, delivered, connections: connections() }).toEqual({
      attempts: urls.length,
      delivered: 0,
      connections: 0,
    });
  });

  it('connects to the addresses that were checked, and not to those of the name a moment later', async () => {
    const { reached, noting } = notes();
    const { port } = await startReceiver(noting('checked'), '127.0.0.2');
    await startReceiver(noting('rebound'), '127.0.0.1', port);
    // From the second answer on it differs, so a sender that asks twice calls an unchecked address.
    const dns = await startDns(({ type, count }) => {
      if (type !== 'A') return [];
      return count === 1 ? ['127.0.0.2'] : ['127.0.0.1'];
    });
    const done = deferred();
    const sender = createCallbackSender({
      queue: await queueOf(['e0']),
      resolve: createResolver(1, [dns.server]),
      ...LOOPBACK,
      endpoints: (id) => ({ id, url: `http://rebind.test:${port}/`, secrets }),
      onDelivered: () => done.resolve(),
    });
    onTestFinished(() => sender.close());
    await done.promise;
    expect(reached).toEqual(['checked']);
    expect(dns.asked()).toEqual({ A: 1, AAAA: 1 });
  });

  it('checks again for each attempt, so a name that was rebound after registration is not called', async () => {
    const { port, connections } = await countConnections();
    const dns = await startDns(({ type, count }) => {
      if (type !== 'A') return [];
      return count === 1 ? ['93.184.215.14'] : ['127.0.0.1'];
    });
    const options = { resolve: createResolver(1, [dns.server]) };
    const url = `https://rebind.test:${port}/`;
    expect((await checkCallbackUrl(url, options)).addresses).toEqual(['93.184.215.14']);
    const done = deferred<string | undefined>();
    const sender = createCallbackSender({
      ...options,
      queue: await queueOf(['e0']),
      schedule: [],
      endpoints: (id) => ({ id, url, secrets }),
      onDead: ({ attempt }) => done.resolve(attempt?.error),
    });
    onTestFinished(() => sender.close());
    expect(await done.promise).toBe(
      'Cannot call host "rebind.test": "127.0.0.1" is refused, it is not public: loopback',
    );
    expect(connections()).toBe(0);
  });

  it('uses a kept connection only for the addresses that it was made for', async () => {
    const { reached, noting } = notes();
    const { port } = await startReceiver(noting('127.0.0.2'), '127.0.0.2');
    await startReceiver(noting('127.0.0.3'), '127.0.0.3', port);
    const answers = ['127.0.0.2', '127.0.0.2', '127.0.0.3'];
    const delivered: (() => void)[] = [];
    const sender = createCallbackSender({
      resolve: async () => [answers.shift() as string],
      ...LOOPBACK,
      endpoints: (id) => ({ id, url: `http://rebind.test:${port}/`, secrets }),
      onDelivered: () => delivered.shift()?.(),
    });
    onTestFinished(() => sender.close());
    for (const id of ['a', 'b', 'c']) {
      const done = new Promise<void>((resolve) => delivered.push(resolve));
      await sender.send('e0', { id, body: '{}' });
      await done;
    }
    expect(reached).toEqual(['127.0.0.2', '127.0.0.2', '127.0.0.3']);
  });

  it('does not follow a redirect', async () => {
    const { port, connections } = await countConnections();
    const location = `http://127.0.0.1:${port}/`;
    const receiver = await startReceiver((_, res) => res.writeHead(307, { location }).end());
    const done = deferred<number | undefined>();
    const sender = createCallbackSender({
      queue: await queueOf(['e0']),
      schedule: [],
      ...LOOPBACK,
      endpoints: (id) => ({ id, url: receiver.url, secrets }),
      onDead: ({ attempt }) => done.resolve(attempt?.status),
    });
    onTestFinished(() => sender.close());
    expect([await done.promise, connections()]).toEqual([307, 0]);
  });
});
