import { once } from 'node:events';
import { Cluster, Redis } from 'ioredis';
import type { RedisTls } from './redis-tls.ts';
import type { Place } from './store-url.ts';

export type RedisPlace = Exclude<Place, { kind: 'file' }>;
type SentinelPlace = Extract<Place, { kind: 'sentinel' }>;

/** Seconds: somebody waits, but no request does. */
export const TIMEOUT = 5;

/** For a connection that says what is wrong: it gives up at once. */
const PROBE = {
  lazyConnect: true,
  connectTimeout: TIMEOUT * 1000,
  disconnectTimeout: 100,
  retryStrategy: () => null,
  sentinelRetryStrategy: () => null,
};

/**
 * A connection that is never made: a store makes its own of it.
 *
 * @param tls `undefined` for a place without TLS
 */
export function connectionOf(place: RedisPlace, tls: RedisTls | undefined): Redis | Cluster {
  const options = { lazyConnect: true };
  if (place.kind !== 'cluster') return single(place, tls, options);
  return new Cluster([...place.nodes], {
    ...options,
    redisOptions: { ...passwordOf(place), ...tlsOf(tls) },
    // Certificates are checked for the host of a connection: it stays a name, not its address.
    ...(tls === undefined ? {} : { dnsLookup: (name, done) => done(null, name) }),
  });
}

/**
 * Makes sure that Redis answers, of a Cluster one node, through Sentinel the master: a store tries again and again, and
 * says no more than that it did not succeed.
 *
 * @throws what is wrong: nobody listens, the password, the certificate, another kind of Redis, or no answer
 */
export async function reach(place: RedisPlace, tls: RedisTls | undefined): Promise<void> {
  if (place.kind === 'redis') return probe(single(place, tls, PROBE), refuseSentinel);
  if (place.kind === 'cluster') {
    const options = { ...PROBE, ...passwordOf(place), ...tlsOf(tls) };
    return probeFirst(place.nodes, options, (node) => node.cluster('SLOTS'));
  }
  const { sentinelUsername: username, sentinelPassword: password } = place;
  // Its user need not be allowed INFO: stores do not ask for it either.
  const own = { ...PROBE, enableReadyCheck: false };
  const options = { ...own, ...passwordOf({ username, password }), ...tlsOf(tls) };
  await probeFirst(place.nodes, options, (node) => findMaster(node, place));
  return probe(single(place, tls, PROBE));
}

function single(
  place: Exclude<RedisPlace, { kind: 'cluster' }>,
  tls: RedisTls | undefined,
  options: { readonly lazyConnect: boolean },
): Redis {
  if (place.kind === 'redis') return new Redis(place.url, { ...options, ...tlsOf(tls) });
  const { nodes, master, db, sentinelUsername, sentinelPassword } = place;
  return new Redis({
    ...options,
    ...passwordOf(place),
    ...(sentinelUsername === '' ? {} : { sentinelUsername }),
    ...(sentinelPassword === '' ? {} : { sentinelPassword }),
    sentinels: [...nodes],
    name: master,
    db,
    ...(tls === undefined ? {} : { tls, sentinelTLS: tls, enableTLSForSentinelMode: true }),
  });
}

/** One of the nodes has to answer: of those that do not, the first says why. */
async function probeFirst(
  nodes: readonly { readonly host: string; readonly port: number }[],
  options: typeof PROBE,
  ask: (node: Redis) => Promise<unknown>,
): Promise<void> {
  const failures: unknown[] = [];
  for (const node of nodes) {
    try {
      return await probe(new Redis({ ...options, ...node }), ask);
    } catch (error) {
      failures.push(error);
    }
  }
  throw failures[0];
}

async function probe(redis: Redis, ask?: (redis: Redis) => Promise<unknown>): Promise<void> {
  const ready = once(redis, 'ready', { signal: AbortSignal.timeout(TIMEOUT * 1000) });
  // What is not listened to, ioredis prints.
  redis.on('error', () => undefined);
  const connected = redis.connect().then(() => ready);
  try {
    // What ends the connection is an error; without one, as where TLS is expected, only its end is.
    await Promise.race([ready, connected]);
    await ask?.(redis);
  } finally {
    redis.disconnect();
    await Promise.allSettled([ready, connected]);
  }
}

async function refuseSentinel(redis: Redis): Promise<void> {
  // If INFO is refused, the store says so.
  const info = await redis.info('server').catch(() => '');
  if (/^redis_mode:sentinel\r?$/m.test(info))
    throw new Error('it is a Sentinel; write redis-sentinel://HOST:PORT,HOST:PORT/MASTER-NAME');
}

async function findMaster(sentinel: Redis, { master }: SentinelPlace): Promise<void> {
  const address = await sentinel.call('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', master);
  if (Array.isArray(address)) return;
  throw new Error(`Sentinel knows no master "${master}"`);
}

function tlsOf(tls: RedisTls | undefined): { tls?: RedisTls } {
  return tls === undefined ? {} : { tls };
}

function passwordOf({
  username,
  password,
}: {
  readonly username: string;
  readonly password: string;
}): {
  username?: string;
  password?: string;
} {
  return {
    ...(username === '' ? {} : { username }),
    ...(password === '' ? {} : { password }),
  };
}
