import type { Cluster, Redis } from 'ioredis';

/** Makes the queue's own connection. It reconnects as long as the queue is open. */
export function duplicateForQueue(
  redis: Redis | Cluster,
  given: { readonly maxRetriesPerRequest: number | null; readonly commandTimeout?: number },
): Redis | Cluster {
  const retryStrategy = (attempts: number) => Math.min(50 * attempts, 1_000);
  const settings = { ...given, lazyConnect: false, enableOfflineQueue: true, retryStrategy };
  if (!redis.isCluster) return (redis as Redis).duplicate(settings);
  return (redis as Cluster).duplicate([], {
    clusterRetryStrategy: retryStrategy,
    redisOptions: { ...(redis as Cluster).options.redisOptions, ...settings },
  } as Parameters<Cluster['duplicate']>[1]);
}
