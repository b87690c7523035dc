import { once } from 'node:events';
import { Cluster, Redis } from 'ioredis';
import type { RedisTls } from './redis-tls.ts';
import type { Place } from './store-url.ts';

export type RedisPlace = Exclude<Place, { kind: 'file' }>;
type SentinelPlace = Extract<Place, { kind: 'sentinel' }>;

/** In seconds. A person waits for the command, but no request does. */
export const TIMEOUT = 5;

/** For a connection that reports the first failure, and does not try again. */
const PROBE = {
  lazyConnect: true,
  connectTimeout: TIMEOUT * 1000,
  disconnectTimeout: 100,
  retryStrategy: () => null,
  sentinelRetryStrategy: () => null,
};

/**
 * A connection that is never opened: a store copies its settings.
 *
 * @param tls `undefined` for a place without TLS
 */
export function connectionOf(place: RedisPlace, tls: RedisTls | undefined): Redis | Cluster {
  const options = { lazyConnect: true };
  if (place.kind !== 'cluster') return single(place, tls, options);
  return new Cluster([...place.nodes], {
    ...options,
    redisOptions: { ...passwordOf(place), ...tlsOf(tls) },
    // A certificate is checked for the host of the connection, so keep the name: do not resolve it.
    ...(tls === undefined ? {} : { dnsLookup: (name, done) => done(null, name) }),
  });
}

/**
 * Checks that Redis answers: one node of a Cluster, or the master that Sentinel names. A store
 * would try again and again, and say only that it did not succeed.
 *
 * @throws the reason: nothing listens, a wrong password or certificate, another kind of Redis, or
 *   no answer
 */
export async function reach(place: RedisPlace, tls: RedisTls | undefined): Promise<void> {
  if (place.kind === 'redis') return probe(single(place, tls, PROBE), refuseSentinel);
  if (place.kind === 'cluster') {
    const options = { ...PROBE, ...passwordOf(place), ...tlsOf(tls) };
    return probeFirst(place.nodes, options, (node) => node.cluster('SLOTS'));
  }
  const { sentinelUsername: username, sentinelPassword: password } = place;
  // The user of a Sentinel need not have INFO, because stores do not use it either.
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

/** Checks that one of the nodes answers. If none does, throws the failure of the first. */
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
  // ioredis prints errors that have no listener.
  redis.on('error', () => undefined);
  const connected = redis.connect().then(() => ready);
  try {
    // An error ends the connection. A server that expects TLS may close it without an error.
    await Promise.race([ready, connected]);
    await ask?.(redis);
  } finally {
    redis.disconnect();
    await Promise.allSettled([ready, connected]);
  }
}

async function refuseSentinel(redis: Redis): Promise<void> {
  // If INFO is refused, the store reports it.
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
