import type { Cluster, Redis } from 'ioredis';
import { objectOption } from '../options.ts';

/**
 * A connection of the application. It is known by its methods, so that checking options needs no
 * import of ioredis.
 */
export const redisOption = objectOption<Redis | Cluster>(
  'duplicate',
  'a Redis or Cluster of ioredis',
);

/**
 * A connection of the store's own, with settings under which no command is executed twice. By
 * default ioredis sends a command again if its answer was lost. Then the first use of a nonce would
 * come back as "used before".
 *
 * @param timeout milliseconds
 */
export function duplicate(redis: Redis | Cluster, timeout: number): Redis | Cluster {
  const common = { lazyConnect: false, enableAutoPipelining: false };
  const settings = {
    ...common,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    enableOfflineQueue: false,
    // Longer than the store itself waits.
    commandTimeout: 1.25 * timeout,
    connectTimeout: Math.max(timeout, 1_000),
    // Otherwise a dead connection can stay open for a quarter of an hour.
    socketTimeout: 2 * timeout,
    // It could make ioredis send a failed command again.
    reconnectOnError: null,
    retryStrategy: reconnectAfter,
    sentinelRetryStrategy: reconnectAfter,
    stringNumbers: false,
  };
  if (!redis.isCluster) return (redis as Redis).duplicate(settings);
  return (redis as Cluster).duplicate([], {
    ...common,
    // Nodes are connected to when they are first needed. Commands that wait for that were not
    // executed.
    enableOfflineQueue: true,
    // A replica may lag behind, and answer that a revoked key is good.
    scaleReads: 'master',
    // A command on a connection that closed may have been executed.
    retryDelayOnFailover: 0,
    // A dead node may be the one that is asked where the others are.
    slotsRefreshTimeout: timeout,
    clusterRetryStrategy: reconnectAfter,
    clusterNodeRetryStrategy: null,
    // ioredis 5 replaces the given options by these, so they must have the passwords too.
    redisOptions: { ...(redis as Cluster).options.redisOptions, ...settings },
  } as Parameters<Cluster['duplicate']>[1]);
}

/** It tries without end, whatever the given connection does: a store must recover by itself. */
function reconnectAfter(attempts: number): number {
  return Math.min(50 * attempts, 1_000);
}
