import { once } from 'node:events';
import { Agent } from 'node:http';
import { type ClientHttp2Session, connect, createServer as createHttp2Server } from 'node:http2';
import { createSigner, type SignedRequest, type Signer } from '@countersign/client';
import {
  generateAccessKey,
  MemoryNonceStore,
  type SignatureError,
  type Verifier,
  type VerifierOptions,
} from '@countersign/server';
import { identityOf, requireSignature } from '@countersign/server/express';
import { createFailureLimit, type FailureLimitOptions } from '@countersign/server/failures';
import { withSignature as withSignatureFetch } from '@countersign/server/fetch';
import { withSignature } from '@countersign/server/node';
import { createAdaptorServer, type HttpBindings } from '@hono/node-server';
import express from 'express';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type RedisServer, startRedis, startRedisCluster } from '../../../../test/support/redis.ts';
import { clientAddressName } from '../../src/failures/client-address-name.ts';
import { FailureCounts } from '../../src/failures/failure-counts.ts';
import { AUDIENCE, listen, listenOn, NOW, parties, send, stranger } from '../http/sockets.ts';

const HERE = '192.0.2.1';
const ELSEWHERE = '198.51.100.7';
const API = 'https://api.test/videos';

/** A signer that has the right id and guesses the secret. */
function guesserOf({ accessKeyId }: { accessKeyId: string }): Signer {
  const { secretAccessKey } = generateAccessKey();
  return createSigner({
    credentials: { accessKeyId, secretAccessKey },
    audience: AUDIENCE,
    clock: () => NOW,
  });
}

/**
 * Signs a request and has it verified as if it came from a client address; says what became of it.
 */
async function attempt(
  verifier: Verifier,
  signer: Signer,
  clientAddress: string | undefined,
): Promise<string> {
  const { method, headers, url } = await signer.sign({ method: 'GET', url: API });
  const received = { method, url: new URL(url).pathname, clientAddress };
  return verifier
    .verify({ ...received, headers: { host: 'api.test', ...headers } })
    .then(() => 'accepted', codeOf);
}

const codeOf = (error: unknown): string => (error as SignatureError).code ?? String(error);

/** How many of so many attempts came to which end. */
async function tally(count: number, attemptOne: () => Promise<string | number>) {
  const ends: Record<string, number> = {};
  for (let index = 0; index < count; index++) {
    const end = await attemptOne();
    ends[end] = (ends[end] ?? 0) + 1;
  }
  return ends;
}

function limited(limits: FailureLimitOptions = {}, options: Partial<VerifierOptions> = {}) {
  const failures = createFailureLimit(limits);
  onTestFinished(() => failures.close());
  return { failures, ...parties({ failures, ...options }) };
}

describe('createFailureLimit()', () => {
  it('stops guesses at one key from one client address, and no other request', async () => {
    const { verifier, key, signer, refused } = limited();
    const guesser = guesserOf(key);
    expect(await tally(50, () => attempt(verifier, guesser, HERE))).toEqual({
      ERR_SIGNATURE_MISMATCH: 10,
      ERR_TOO_MANY_FAILURES: 40,
    });
    expect(await attempt(verifier, signer, ELSEWHERE), 'the victim').toBe('accepted');
    expect(await attempt(verifier, signer, HERE), 'a right guess').toBe('ERR_TOO_MANY_FAILURES');
    expect(await attempt(verifier, stranger(), HERE), 'another key').toBe('ERR_KEY_UNKNOWN');
    expect(refused[10]).toMatchObject({
      code: 'ERR_TOO_MANY_FAILURES',
      reason: 'too-many-failures',
      message: `Cannot verify signatures of access key "${key.accessKeyId}" from this client address: too many have failed, wait 60 s`,
      checks: { time: 'passed', failures: 'failed', coverage: 'not made', key: 'not made' },
    });
  });

  it('does not count those who sign too little, nor ask a key store for them', async () => {
    const find = vi.fn(async () => undefined);
    const { verifier } = limited({}, { keys: { find } });
    const uncovered = async (from: string, to: string) => {
      const { headers } = await stranger().sign({ method: 'GET', url: API });
      const authorization = (headers['authorization'] ?? '').replace(from, to);
      return verifier
        .verify({
          method: 'GET',
          url: '/videos',
          clientAddress: HERE,
          headers: { host: 'api.test', ...headers, authorization },
        })
        .then(() => 'accepted', codeOf);
    };

    const unsigned = await tally(200, () => uncovered('SignedHeaders=host;', 'SignedHeaders='));
    const absent = await tally(200, () => uncovered('SignedHeaders=', 'SignedHeaders=absent;'));

    expect(unsigned).toEqual({ ERR_COMPONENT_NOT_COVERED: 200 });
    expect(absent).toEqual({ ERR_COMPONENT_NOT_COVERED: 200 });
    expect(find).not.toHaveBeenCalled();
  });

  it('says of each guess which key it was at, in errors that no caller can change', async () => {
    const failures = createFailureLimit({ perKey: 1 });
    const { verifier } = parties({ failures });
    const { method, headers } = await stranger().sign({ method: 'GET', url: API });
    const refusalOf = (accessKeyId: string): Promise<SignatureError> => {
      const authorization = headers['authorization']?.replace(/CSAK\w+/, accessKeyId);
      const received = { method, url: '/videos', clientAddress: HERE };
      return verifier
        .verify({ ...received, headers: { host: 'api.test', ...headers, authorization } })
        .then(
          () => expect.fail('accepted'),
          (error: SignatureError) => error,
        );
    };
    const ids = ['CSAKONE', 'CSAKOTHER'];
    for (const id of ids) expect((await refusalOf(id)).code).toBe('ERR_KEY_UNKNOWN');
    for (const id of [...ids, ...ids]) {
      const refusal = await refusalOf(id);
      expect(refusal).toMatchObject({ code: 'ERR_TOO_MANY_FAILURES', status: 429 });
      expect(refusal.message).toContain(`access key "${id}"`);
      // The next one that is blocked gets the same error.
      expect(() => Object.assign(refusal, { status: 200 })).toThrow('read only property');
    }
  });

  it('stops a client address that guesses at ever new keys, and remembers no more of them', async () => {
    const add = vi.spyOn(FailureCounts.prototype, 'add');
    onTestFinished(() => add.mockRestore());
    const { verifier, signer, refused } = limited({ perClientAddress: 20 });
    expect(await tally(200, () => attempt(verifier, stranger(), HERE))).toEqual({
      ERR_KEY_UNKNOWN: 20,
      ERR_TOO_MANY_FAILURES: 180,
    });
    expect(add).toHaveBeenCalledTimes(2 * 20);
    expect(await attempt(verifier, signer, HERE)).toBe('ERR_TOO_MANY_FAILURES');
    expect(await attempt(verifier, signer, ELSEWHERE)).toBe('accepted');
    expect(refused[20]?.message).toBe(
      'Cannot verify signatures from this client address: too many have failed, wait 60 s',
    );
  });

  it('lets no more through that are sent all at once, however slowly keys are found', async () => {
    const key = generateAccessKey();
    let find = (): void => undefined;
    const found = new Promise<void>((resolve) => {
      find = resolve;
    });
    const { verifier, refused } = limited({}, { keys: { find: () => found.then(() => key) } });
    const guesser = guesserOf(key);
    const attempts = Array.from({ length: 200 }, () => attempt(verifier, guesser, HERE));
    // All of them wait for the key by now, and it comes to all of them at once.
    await new Promise((resolve) => setTimeout(resolve, 50));
    find();
    const ends = await Promise.all(attempts);
    expect(ends.filter((end) => end === 'ERR_SIGNATURE_MISMATCH')).toHaveLength(10);
    expect(ends.filter((end) => end === 'ERR_TOO_MANY_FAILURES')).toHaveLength(190);
    expect(refused[10]).toMatchObject({
      code: 'ERR_TOO_MANY_FAILURES',
      checks: { failures: 'failed', coverage: 'passed', key: 'not made', signature: 'not made' },
    });
  });

  describe('counts presigned URLs apart', () => {
    /** Opens a presigned URL, as a browser does that loads a picture of an attacker's page. */
    async function open(
      verifier: Verifier,
      signer: Signer,
      clientAddress: string,
    ): Promise<string> {
      const url = new URL(await signer.presign({ url: API, expiresIn: 3_600 }));
      const received = { method: 'GET', url: url.pathname + url.search, clientAddress };
      return verifier
        .verify({ ...received, headers: { host: 'api.test' } })
        .then(() => 'accepted', codeOf);
    }

    it('so that wrong ones block no request that is signed in headers', async () => {
      const { verifier, key, signer } = limited({});
      expect(await tally(50, () => open(verifier, guesserOf(key), HERE))).toEqual({
        ERR_SIGNATURE_MISMATCH: 10,
        ERR_TOO_MANY_FAILURES: 40,
      });
      expect(await tally(200, () => open(verifier, stranger(), HERE))).toEqual({
        ERR_KEY_UNKNOWN: 90,
        ERR_TOO_MANY_FAILURES: 110,
      });
      expect(await attempt(verifier, signer, HERE)).toBe('accepted');
      expect(await open(verifier, signer, ELSEWHERE)).toBe('accepted');
    });

    it('so that wrong headers block no presigned URL', async () => {
      const { verifier, key, signer } = limited({});
      await tally(11, () => attempt(verifier, guesserOf(key), HERE));
      expect(await attempt(verifier, signer, HERE)).toBe('ERR_TOO_MANY_FAILURES');
      expect(await open(verifier, signer, HERE)).toBe('accepted');
    });

    it('and says so', async () => {
      const { verifier, key } = limited({ perKey: 1 });
      const guesser = guesserOf(key);
      await open(verifier, guesser, HERE);
      const url = new URL(await guesser.presign({ url: API, expiresIn: 60 }));
      const received = { method: 'GET', url: url.pathname + url.search, clientAddress: HERE };
      await expect(verifier.verify({ ...received, headers: { host: 'api.test' } })).rejects.toThrow(
        'Cannot verify presigned URLs of access key',
      );
    });
  });

  it('counts keys that are unknown or inactive like wrong signatures', async () => {
    for (const change of [{ status: 'disabled' as const }, { expiresAt: NOW - 1 }]) {
      const key = generateAccessKey();
      const { verifier } = limited(
        { perKey: 3 },
        { keys: { find: async () => ({ ...key, ...change }) } },
      );
      const signer = createSigner({ credentials: key, audience: AUDIENCE, clock: () => NOW });
      expect(await tally(5, () => attempt(verifier, signer, HERE))).toEqual({
        ERR_KEY_INACTIVE: 3,
        ERR_TOO_MANY_FAILURES: 2,
      });
    }
  });

  it('counts nothing that is not a guess', async () => {
    const { verifier, key, signer, failures } = limited({ perKey: 1, perClientAddress: 1 });
    const late = createSigner({ credentials: key, audience: AUDIENCE, clock: () => NOW - 500 });
    const { headers } = await signer.sign({ method: 'GET', url: API });
    const again = { method: 'GET', url: '/videos', clientAddress: HERE };
    const received = { ...again, headers: { host: 'api.test', ...headers } };
    await verifier.verify(received);
    const refusals = [
      await verifier.verify(received).catch(codeOf),
      await attempt(verifier, late, HERE),
      await verifier.verify({ ...again, headers: { host: 'api.test' } }).catch(codeOf),
      await verifier
        .verify({
          ...again,
          headers: { host: 'api.test', ...headers, authorization: 'COUNTERSIGN1-HMAC-SHA256 x' },
        })
        .catch(codeOf),
      await verifier
        .verify({ ...received, headers: { ...received.headers, 'x-countersign-more': '1' } })
        .catch(codeOf),
      await verifier.verify({ ...received, body: Buffer.from('other') }).catch(codeOf),
    ];
    expect(refusals).toEqual([
      'ERR_NONCE_REUSED',
      'ERR_SIGNATURE_EXPIRED',
      'ERR_SIGNATURE_MISSING',
      'ERR_SIGNATURE_MALFORMED',
      'ERR_COMPONENT_NOT_COVERED',
      'ERR_BODY_MISMATCH',
    ]);
    expect(failures.check(HERE, key.accessKeyId, 'headers')).toBeUndefined();
    expect(await attempt(verifier, signer, HERE)).toBe('accepted');
  });

  it('is asked for explanations, which count nothing', async () => {
    const { verifier, key, failures } = limited({ perKey: 1 });
    const { headers } = await guesserOf(key).sign({ method: 'GET', url: API });
    const received = {
      method: 'GET',
      url: '/videos',
      headers: { host: 'api.test', ...headers },
      clientAddress: HERE,
    };
    expect((await verifier.explain(received)).code).toBe('ERR_SIGNATURE_MISMATCH');
    expect((await verifier.explain(received)).code).toBe('ERR_SIGNATURE_MISMATCH');
    failures.record(HERE, key.accessKeyId, 'headers');
    expect((await verifier.explain(received)).code).toBe('ERR_TOO_MANY_FAILURES');
  });

  it('is asked before the key is looked up', async () => {
    const find = vi.fn(async () => undefined);
    const { verifier } = limited({ perClientAddress: 1 }, { keys: { find } });
    await tally(5, () => attempt(verifier, stranger(), HERE));
    expect(find).toHaveBeenCalledTimes(1);
  });

  it('writes nothing for requests that are accepted, and they forgive nothing', async () => {
    const { verifier, key, signer } = limited({ perKey: 2 });
    const add = vi.spyOn(FailureCounts.prototype, 'add');
    onTestFinished(() => add.mockRestore());
    await tally(20, () => attempt(verifier, signer, HERE));
    expect(add).not.toHaveBeenCalled();
    const guesser = guesserOf(key);
    await attempt(verifier, guesser, HERE);
    expect(await attempt(verifier, signer, HERE)).toBe('accepted');
    await attempt(verifier, guesser, HERE);
    expect(await attempt(verifier, signer, HERE)).toBe('ERR_TOO_MANY_FAILURES');
  });

  it('forgives after a while', async () => {
    const { verifier, key, signer } = limited({ perKey: 1, per: 1 });
    await attempt(verifier, guesserOf(key), HERE);
    expect(await attempt(verifier, signer, HERE)).toBe('ERR_TOO_MANY_FAILURES');
    await expect.poll(() => attempt(verifier, signer, HERE), { timeout: 10_000 }).toBe('accepted');
    await attempt(verifier, guesserOf(key), HERE);
    expect(await attempt(verifier, signer, HERE)).toBe('ERR_TOO_MANY_FAILURES');
  });

  it('limits nothing where the client address is not known', async () => {
    const { verifier, key, signer } = limited({ perKey: 1, perClientAddress: 1 });
    const guesser = guesserOf(key);
    for (const clientAddress of [undefined, '', null, 7, {}] as (string | undefined)[]) {
      expect(await tally(3, () => attempt(verifier, guesser, clientAddress))).toEqual({
        ERR_SIGNATURE_MISMATCH: 3,
      });
    }
    expect(await attempt(verifier, signer, undefined)).toBe('accepted');
  });

  it.each([
    'unknown',
    '-',
    '\ud800',
    '\0',
    '999.1.1.1',
    '::ffff:999.1.1.1',
    '[::1',
    ':'.repeat(100_000),
    '1'.repeat(100_000),
    '%',
    '::1%',
  ])('takes what is no address as it stands: case %#', async (clientAddress) => {
    const { verifier, key, signer } = limited({ perKey: 1 });
    const guesser = guesserOf(key);
    expect(await attempt(verifier, guesser, clientAddress)).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await attempt(verifier, guesser, clientAddress)).toBe('ERR_TOO_MANY_FAILURES');
    expect(await attempt(verifier, signer, `${clientAddress}x`)).toBe('accepted');
  });

  it.each([
    [{ perClientAddress: 0 }, RangeError, /option "perClientAddress" is 0: expected/],
    [{ perKey: Number.NaN }, TypeError, /option "perKey" is NaN: expected a number$/],
    [{ per: 100_000 }, RangeError, /option "per" is 100000: expected/],
    [{ per: 1.5 }, TypeError, /option "per" is 1.5: expected/],
    [{ maxEntries: 0 }, RangeError, /option "maxEntries" is 0: expected/],
    [{ redis: {} }, TypeError, /option "redis" is of type object: expected a Redis or Cluster/],
    [{ prefix: '' }, RangeError, /option "prefix" is "": expected/],
    [{ perkey: 1 }, TypeError, /unknown option "perkey"/],
  ])('refuses options %j', (options, error, message) => {
    const build = () => createFailureLimit(options as unknown as FailureLimitOptions);
    expect(build).toThrow(error);
    expect(build).toThrow(message);
  });

  it.each([true, {}, { check: () => undefined }, null])('is not %j', (failures) => {
    expect(() => parties({ failures } as unknown as VerifierOptions)).toThrow(
      /option "failures" is .*: expected what createFailureLimit\(\) gives/,
    );
  });
});

describe('clientAddressName()', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['192.0.2.1:5678', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:201', '192.0.2.1'],
    ['::ffff:0:192.0.2.1', '192.0.2.1'],
    ['64:ff9b::c000:201', '192.0.2.1'],
    ['[::ffff:192.0.2.1]:443', '192.0.2.1'],
    ['::ffff:192.0.2.1:443', '192.0.2.1'],
    ['2001:db8:1:2::1', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002:ffff:ffff:ffff:ffff', '2001:db8:1:2::/64'],
    ['[2001:db8:1:2::1]:443', '2001:db8:1:2::/64'],
    ['2001:db8:1:3::1', '2001:db8:1:3::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['no address', 'no address'],
  ])('%s is %s', (clientAddress, name) => {
    expect(clientAddressName(clientAddress)).toBe(name);
  });
});

describe('FailureCounts', () => {
  it('keeps no more names than it may, and forgets the older half first', () => {
    const counts = new FailureCounts(1, 60, 100, () => performance.now());
    for (let index = 0; index < 10_000; index++) {
      counts.add(`address ${index}`);
      expect(counts.size).toBeLessThanOrEqual(100);
    }
    expect(counts.blockedFor('address 9899')).toBe(0);
    expect(counts.blockedFor('address 9900')).toBeGreaterThan(0);
    expect(counts.blockedFor('address 9999')).toBeGreaterThan(0);
  });

  it('takes no longer the more names there are', () => {
    const counts = new FailureCounts(10, 60, 100_000, () => performance.now());
    const start = performance.now();
    for (let index = 0; index < 500_000; index++) counts.add(`address ${index}`);
    // A microsecond each. It was 150 when each search for the oldest passed all that had been
    // deleted.
    expect(performance.now() - start).toBeLessThan(20_000);
  });

  it('forgets what has ended, as new names come', async () => {
    const counts = new FailureCounts(1, 0.05, 1_000, () => performance.now());
    for (let index = 0; index < 100; index++) counts.add(`address ${index}`);
    await expect.poll(() => counts.blockedFor('address 99')).toBe(0);
    expect(counts.blocks).toBe(false);
    counts.add('new');
    await expect.poll(() => counts.blocks).toBe(false);
    counts.add('newer');
    expect(counts.size).toBe(2);
  });

  it('hears of too much only, for no longer than it counts itself', () => {
    const counts = new FailureCounts(10, 60, 100, () => performance.now());
    counts.record('a', 9, 60_000);
    counts.record('b', Number.NaN, 60_000);
    counts.record('c', 10, Number.NaN);
    counts.record('d', 10, -1);
    expect(counts.blocks).toBe(false);
    counts.record('e', 10, 1e9);
    expect(counts.blockedFor('e')).toBeGreaterThan(59_000);
    expect(counts.blockedFor('e')).toBeLessThanOrEqual(60_000);
    counts.record('e', 11, 5);
    expect(counts.blockedFor('e'), 'never shorter').toBeGreaterThan(59_000);
  });

  it('does not keep the header that an address was cut out of', () => {
    const counts = new FailureCounts(1, 60, 10_000, () => performance.now());
    const before = process.memoryUsage().heapUsed;
    for (let index = 0; index < 2_000; index++) {
      const header = `${index}`.padStart(32_000, 'x');
      counts.add(header.slice(-20));
    }
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(40_000_000);
  });
});

/** What Redis was asked since the last `CONFIG RESETSTAT`, beside that and this. */
async function commandsOf(redis: Redis): Promise<string[]> {
  const stats = await redis.info('commandstats');
  const names = [...stats.matchAll(/^cmdstat_([^:]+):/gm)].map(([, name]) => name as string);
  return names.filter((name) => !/^(info|config|select|client)/.test(name)).sort();
}

describe('createFailureLimit() with Redis', () => {
  let server: RedisServer | undefined;
  let redis: Redis | undefined;
  afterEach(async () => {
    redis?.disconnect();
    await server?.stop();
  });

  async function redisToUse(): Promise<Redis> {
    server = await startRedis();
    redis = new Redis(server.url, { retryStrategy: () => 20 });
    redis.on('error', () => undefined);
    await redis.ping();
    return redis;
  }

  /** Servers that count together, each with a connection of its own that is there. */
  async function servers(count: number, limits: FailureLimitOptions, admin: Redis) {
    const key = generateAccessKey();
    const keys = { find: async () => key };
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const all = Array.from({ length: count }, () =>
      limited({ ...limits, redis: admin }, { keys, nonces }),
    );
    await expect
      .poll(
        async () =>
          String(await admin.client('LIST'))
            .trim()
            .split('\n').length,
      )
      .toBe(count + 1);
    const signer = createSigner({ credentials: key, audience: AUDIENCE, clock: () => NOW });
    return { key, signer, verifiers: all.map(({ verifier }) => verifier) };
  }

  function warnings(): string[] {
    const seen: string[] = [];
    const listener = (warning: Error & { code?: string }): void => {
      if (warning.code === 'COUNTERSIGN_FAILURE_LIMIT_UNREACHABLE') seen.push(warning.message);
    };
    process.on('warning', listener);
    onTestFinished(() => void process.off('warning', listener));
    return seen;
  }

  it('counts over all servers: the limit, and one guess for each further one', async () => {
    const admin = await redisToUse();
    const { key, signer, verifiers } = await servers(3, {}, admin);
    const [first, second, third] = verifiers as [Verifier, Verifier, Verifier];
    const guesser = guesserOf(key);
    expect(await tally(20, () => attempt(first, guesser, HERE))).toMatchObject({
      ERR_SIGNATURE_MISMATCH: 10,
    });
    const counted = 'countersign:failures:headers:keys';
    const failures = async () =>
      (await admin.hget(counted, `${key.accessKeyId} ${HERE}`))?.split(' ')[0];
    await expect.poll(failures).toBe('10');
    for (const verifier of [second, third]) {
      expect(await attempt(verifier, guesser, HERE)).toBe('ERR_SIGNATURE_MISMATCH');
      await expect.poll(() => attempt(verifier, signer, HERE)).toBe('ERR_TOO_MANY_FAILURES');
      expect(await attempt(verifier, signer, ELSEWHERE)).toBe('accepted');
    }
    expect(await admin.pttl(counted)).toBeGreaterThan(0);
    expect(await admin.pttl(counted)).toBeLessThanOrEqual(120_000);
  });

  it('asks and tells Redis nothing for requests that are accepted, nor for those that are stopped', async () => {
    const admin = await redisToUse();
    const { key, signer, verifiers } = await servers(1, { perKey: 2 }, admin);
    const [verifier] = verifiers as [Verifier];
    await admin.config('RESETSTAT');
    expect(await tally(50, () => attempt(verifier, signer, HERE))).toEqual({ accepted: 50 });
    expect(await commandsOf(admin)).toEqual([]);
    const guesser = guesserOf(key);
    await tally(2, () => attempt(verifier, guesser, HERE));
    await expect.poll(() => commandsOf(admin)).toContain('hset');
    await expect.poll(() => admin.dbsize()).toBe(2);
    await admin.config('RESETSTAT');
    expect(await tally(50, () => attempt(verifier, guesser, HERE))).toEqual({
      ERR_TOO_MANY_FAILURES: 50,
    });
    expect(await commandsOf(admin)).toEqual([]);
  });

  it('keeps no more names in Redis than a client address has guesses', async () => {
    const admin = await redisToUse();
    const { verifiers } = await servers(1, { perClientAddress: 5 }, admin);
    await tally(100, () => attempt(verifiers[0] as Verifier, stranger(), HERE));
    // With one field that tells when the hash was begun.
    await expect.poll(() => admin.hlen('countersign:failures:headers:keys')).toBe(5 + 1);
    expect(await admin.hlen('countersign:failures:headers:sources')).toBe(1 + 1);
    expect(await admin.dbsize()).toBe(2);
  });

  it('keeps no more names in Redis than it may, however many client addresses fail', async () => {
    const admin = await redisToUse();
    const { key, verifiers } = await servers(1, { maxEntries: 100, perKey: 2 }, admin);
    const [verifier] = verifiers as [Verifier];
    const guesser = guesserOf(key);
    for (let clientAddress = 0; clientAddress < 500; clientAddress++) {
      expect(
        await attempt(verifier, guesser, `192.0.${clientAddress >> 8}.${clientAddress & 255}`),
      ).toBe('ERR_SIGNATURE_MISMATCH');
    }
    const names = async () => {
      const hashes = ['sources', 'sources:old', 'keys', 'keys:old'];
      return Promise.all(hashes.map((name) => admin.hlen(`countersign:failures:headers:${name}`)));
    };
    const counted = async () => await admin.hgetall('countersign:failures:headers:keys');
    await expect
      .poll(async () => Object.keys(await counted()).at(-1) ?? '')
      .toMatch(/ 192\.0\.1\.\d+$/);
    await expect
      .poll(async () => (await counted())[`${key.accessKeyId} 192.0.1.243`])
      .toMatch(/^1 /);
    const [young = 0, old = 0, youngPairs = 0, oldPairs = 0] = await names();
    for (const size of [young, old, youngPairs, oldPairs]) {
      expect(size).toBeGreaterThan(0);
      expect(size).toBeLessThanOrEqual(51);
    }
    expect(await admin.dbsize()).toBe(4);
  });

  it('forgets in Redis what has ended', async () => {
    const admin = await redisToUse();
    const { verifiers } = await servers(1, { per: 1 }, admin);
    await attempt(verifiers[0] as Verifier, stranger(), HERE);
    await expect.poll(() => admin.dbsize()).toBe(2);
    await expect.poll(() => admin.dbsize(), { timeout: 10_000 }).toBe(0);
  });

  it('counts again once a count has ended, though its name is still there', async () => {
    const admin = await redisToUse();
    const { key, verifiers } = await servers(1, { perKey: 3 }, admin);
    const [verifier] = verifiers as [Verifier];
    const keys = 'countersign:failures:headers:keys';
    const pair = `${key.accessKeyId} ${HERE}`;
    await admin.hset(keys, '', Date.now(), pair, '2 1000');
    await attempt(verifier, guesserOf(key), HERE);
    await expect.poll(() => admin.hget(keys, pair)).toMatch(/^1 \d{13}$/);
  });

  it.each(['is gone', 'hangs'])(
    'limits all the same where Redis %s, and says so once',
    async (what) => {
      const admin = await redisToUse();
      const { pid, port } = server as RedisServer;
      const { key, signer, verifiers } = await servers(1, { perKey: 3 }, admin);
      const [verifier] = verifiers as [Verifier];
      const seen = warnings();
      if (what === 'hangs') process.kill(pid, 'SIGSTOP');
      else await server?.stop();
      const guesser = guesserOf(key);
      expect(await tally(10, () => attempt(verifier, guesser, HERE))).toEqual({
        ERR_SIGNATURE_MISMATCH: 3,
        ERR_TOO_MANY_FAILURES: 7,
      });
      expect(await attempt(verifier, signer, ELSEWHERE)).toBe('accepted');
      await expect.poll(() => seen, { timeout: 10_000 }).toHaveLength(1);
      expect(seen[0]).toMatch(
        /^Cannot count failed signatures in Redis, each server counts alone: (?:connect ECONNREFUSED|it is not connected|Command timed out)/,
      );
      if (what === 'hangs') process.kill(pid, 'SIGCONT');
      else server = await startRedis({ port });
      // Counted together again, by itself.
      await expect
        .poll(
          async () => {
            await attempt(verifier, stranger(), ELSEWHERE);
            return admin.hexists('countersign:failures:headers:sources', ELSEWHERE);
          },
          { timeout: 15_000, interval: 200 },
        )
        .toBe(1);
      expect(seen).toHaveLength(1);
    },
  );

  it('counts here alone once it is closed', async () => {
    const admin = await redisToUse();
    const seen = warnings();
    const failures = createFailureLimit({ redis: admin, perKey: 2 });
    failures.close();
    failures.record(HERE, 'a');
    failures.record(HERE, 'a');
    expect(failures.check(HERE, 'a')).toEqual({ of: 'access key', seconds: 60 });
    await admin.ping();
    expect(await admin.dbsize()).toBe(0);
    expect(seen).toEqual([]);
  });

  it('counts in a cluster', async () => {
    const cluster = await startRedisCluster();
    onTestFinished(() => cluster.stop());
    const { Cluster } = await import('ioredis');
    const given = new Cluster(cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port })));
    onTestFinished(() => given.disconnect());
    const one = createFailureLimit({ redis: given, perKey: 5 });
    const other = createFailureLimit({ redis: given, perKey: 5 });
    onTestFinished(() => {
      one.close();
      other.close();
    });
    // Once both connections are there, whatever one counts the other hears of.
    await expect
      .poll(
        () => {
          one.record(HERE, 'a');
          other.record(HERE, 'a');
          return one.check(HERE, 'a') !== undefined && other.check(HERE, 'a') !== undefined;
        },
        { timeout: 10_000 },
      )
      .toBe(true);
    for (let index = 0; index < 4; index++) one.record(ELSEWHERE, 'b');
    await expect
      .poll(() => given.hget('{countersign:failures}:headers:keys', `b ${ELSEWHERE}`))
      .toMatch(/^4 /);
    other.record(ELSEWHERE, 'b');
    await expect.poll(() => other.check(ELSEWHERE, 'b')).toEqual({ of: 'access key', seconds: 60 });
  });
});

describe('the client address of a request', () => {
  const LIMITS = { perKey: 3 };

  /** An agent whose connections come from an address. */
  function from(localAddress: string): Agent {
    const agent = new Agent({ keepAlive: true, localAddress });
    onTestFinished(() => agent.destroy());
    return agent;
  }

  const get = (signer: Signer, origin: string): Promise<SignedRequest> =>
    signer.sign({ method: 'GET', url: `${origin}/videos` });

  /**
   * Guesses from one address until it is stopped; says whether the owner of the key is served from
   * there, and from another.
   */
  async function attack(
    origin: string,
    { key, signer }: { key: { accessKeyId: string }; signer: Signer },
    headers: Readonly<Record<string, string>> = {},
  ) {
    const guesser = guesserOf(key);
    const attacker = { agent: from('127.0.0.2'), headers };
    const guesses = await tally(
      6,
      async () => (await send(await get(guesser, origin), attacker)).status,
    );
    const stopped = await send(await get(guesser, origin), attacker);
    const elsewhere = { agent: from('127.0.0.1'), headers: { 'x-forwarded-for': '203.0.113.9' } };
    const owner = await send(await get(signer, origin), elsewhere);
    return { guesses, stopped, owner: owner.status };
  }

  const STOPPED = {
    guesses: { 401: 3, 429: 3 },
    stopped: {
      status: 429,
      headers: { 'retry-after': '60', 'content-type': 'application/problem+json' },
    },
    owner: 200,
  };
  const NOT_STOPPED = { guesses: { 401: 6 }, stopped: { status: 401 }, owner: 200 };

  it('is the address of the connection, through Express', async () => {
    const party = limited(LIMITS);
    const app = express();
    app.use(requireSignature(party.verifier));
    app.get('/videos', (req, res) => void res.send(identityOf(req).subject));
    const { origin } = await listen(app);
    const result = await attack(origin, party, { 'x-forwarded-for': '203.0.113.9' });
    expect(result).toMatchObject(STOPPED);
    expect(JSON.parse(result.stopped.body)).toEqual({
      type: 'urn:countersign:error:too-many-failures',
      title: 'Too many requests were refused',
      status: 429,
      reason: 'too-many-failures',
      retry: 'later',
      detail: `Cannot verify signatures of access key "${party.key.accessKeyId}" from this client address: too many have failed, wait 60 s`,
    });
  });

  it('is what a proxy says, where Express trusts it', async () => {
    const party = limited(LIMITS);
    const app = express().set('trust proxy', 'loopback');
    app.use(requireSignature(party.verifier));
    app.get('/videos', (_req, res) => void res.sendStatus(200));
    const { origin } = await listen(app);
    expect(await attack(origin, party, { 'x-forwarded-for': '203.0.113.66' })).toMatchObject(
      STOPPED,
    );
    // Not the proxy's address that was limited, but the caller's.
    const proxy = { agent: from('127.0.0.2'), headers: { 'x-forwarded-for': '203.0.113.7' } };
    expect((await send(await get(party.signer, origin), proxy)).status).toBe(200);
  });

  it('is the address of the connection, with node:http', async () => {
    const party = limited(LIMITS);
    const { origin } = await listen(withSignature((_req, res) => void res.end(), party.verifier));
    expect(
      await attack(origin, party, {
        'x-forwarded-for': '203.0.113.9',
        forwarded: 'for=203.0.113.9',
      }),
    ).toMatchObject(STOPPED);
  });

  it('is what the application says, with node:http', async () => {
    const party = limited(LIMITS);
    const clientAddress = (req: { headers: NodeJS.Dict<string | string[]> }) =>
      String(req.headers['x-real-ip']);
    const { origin } = await listen(
      withSignature((_req, res) => void res.end(), party.verifier, { clientAddress }),
    );
    const result = await attack(origin, party, { 'x-real-ip': '203.0.113.9' });
    expect(result).toMatchObject(STOPPED);
  });

  it('is the address of the connection, with node:http2', async () => {
    const party = limited(LIMITS);
    const server = createHttp2Server(
      withSignature((_req: unknown, res: { end(): unknown }) => void res.end(), party.verifier),
    );
    const sessions: ClientHttp2Session[] = [];
    const { origin } = await listenOn(server, () => {
      for (const session of sessions) session.destroy();
    });
    const session = (localAddress: string): ClientHttp2Session => {
      const made = connect(origin, { localAddress } as object);
      sessions.push(made);
      return made;
    };
    async function ask(client: ClientHttp2Session, signer: Signer): Promise<number> {
      const { headers } = await get(signer, origin);
      const own = { ':method': 'GET', ':path': '/videos', ':authority': new URL(origin).host };
      const stream = client.request({ ...own, ...headers });
      const [answer] = await once(stream, 'response');
      stream.resume();
      await once(stream, 'close');
      return answer[':status'];
    }
    const attacker = session('127.0.0.2');
    const guesser = guesserOf(party.key);
    expect(await tally(6, () => ask(attacker, guesser))).toEqual({ 401: 3, 429: 3 });
    expect(await ask(session('127.0.0.1'), party.signer)).toBe(200);
  });

  it('is what the runtime tells, with fetch handlers', async () => {
    const party = limited(LIMITS);
    const handler = withSignatureFetch(
      (_request, _identity, _bindings: HttpBindings) => new Response('ok'),
      party.verifier,
      { clientAddress: (_request, { incoming }) => incoming.socket.remoteAddress },
    );
    const server = createAdaptorServer({
      fetch: (request, bindings) => handler(request, bindings as HttpBindings),
    });
    const { origin } = await listen(server as Parameters<typeof listen>[0]);
    expect(await attack(origin, party, { 'x-forwarded-for': '203.0.113.9' })).toMatchObject(
      STOPPED,
    );
  });

  it('is not known of a Request by itself, and then nothing is limited', async () => {
    const party = limited(LIMITS);
    const handler = withSignatureFetch(() => new Response('ok'), party.verifier);
    const server = createAdaptorServer({ fetch: (request) => handler(request) });
    const { origin } = await listen(server as Parameters<typeof listen>[0]);
    expect(await attack(origin, party, { 'x-forwarded-for': '203.0.113.9' })).toMatchObject(
      NOT_STOPPED,
    );
  });

  it('must be a function, where it can be given', () => {
    const { verifier } = limited();
    const options = { clientAddress: 'x-forwarded-for' } as object;
    const message =
      /^Cannot build adapter: option "clientAddress" is "x-forwarded-for": expected a function that tells the caller's network address$/;
    expect(() => withSignature(() => undefined, verifier, options)).toThrow(message);
    expect(() => withSignatureFetch(() => new Response(), verifier, options)).toThrow(message);
    expect(() => requireSignature(verifier, options)).toThrow(
      'Cannot build adapter: unknown option "clientAddress"',
    );
  });
});
