import { once } from 'node:events';
import { Cluster, Redis } from 'ioredis';
import type { Place } from './store-url.ts';

type RedisPlace = Exclude<Place, { kind: 'file' }>;

/** Seconds: somebody waits, but no request does. */
export const TIMEOUT = 5;

/** A connection that is never made: a store makes its own of it. */
export function connectionOf(place: RedisPlace): Redis | Cluster {
  const options = { lazyConnect: true };
  if (place.kind === 'redis') return new Redis(place.url, options);
  return new Cluster([...place.nodes], { ...options, redisOptions: passwordOf(place) });
}

/**
 * Makes sure that somebody answers, of a Cluster one node: a store tries again and again, and says no more than that it did not
 * succeed.
 *
 * @throws what is wrong: nobody listens, the password, the certificate, or no answer
 */
export async function reach(place: RedisPlace): Promise<void> {
  const failures: unknown[] = [];
  for (const probe of probesOf(place)) {
    const ready = once(probe, 'ready', { signal: AbortSignal.timeout(TIMEOUT * 1000) });
    // What is not listened to, ioredis prints.
    probe.on('error', () => undefined);
    probe.connect().catch(() => undefined);
    try {
      await ready;
      if (place.kind === 'cluster') await probe.cluster('SLOTS');
      return;
    } catch (error) {
      failures.push(error);
    } finally {
      probe.disconnect();
    }
  }
  throw failures[0];
}

function probesOf(place: RedisPlace): Redis[] {
  const options = {
    lazyConnect: true,
    connectTimeout: TIMEOUT * 1000,
    disconnectTimeout: 100,
    retryStrategy: () => null,
  };
  if (place.kind === 'redis') return [new Redis(place.url, options)];
  return place.nodes.map((node) => new Redis({ ...options, ...node, ...passwordOf(place) }));
}

function passwordOf({ username, password }: Extract<Place, { kind: 'cluster' }>): {
  username?: string;
  password?: string;
} {
  return {
    ...(username === '' ? {} : { username }),
    ...(password === '' ? {} : { password }),
  };
}
