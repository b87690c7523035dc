import type { Cluster, Redis } from 'ioredis';
import { objectOption } from '../options.ts';

/** A connection that is given. Known by what it can do, so that nobody needs ioredis to check options. */
export const redisOption = objectOption<Redis | Cluster>(
  'duplicate',
  'a Redis or Cluster of ioredis',
);

/**
 * A connection of the store's own, with settings under which no command is executed twice. By default ioredis sends a command
 * again after its answer was lost, and then the first use of a nonce comes back as "used before".
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
    // Later than the store gives up by itself.
    commandTimeout: 1.25 * timeout,
    connectTimeout: Math.max(timeout, 1_000),
    // A connection that carries nothing any more can stay open for a quarter of an hour.
    socketTimeout: 2 * timeout,
    // It can ask for what failed to be sent again.
    reconnectOnError: null,
    retryStrategy: reconnectAfter,
    sentinelRetryStrategy: reconnectAfter,
    stringNumbers: false,
  };
  if (!redis.isCluster) return (redis as Redis).duplicate(settings);
  return (redis as Cluster).duplicate([], {
    ...common,
    // A node is connected to when it is first needed; what is sent to it meanwhile was not executed, and waits.
    enableOfflineQueue: true,
    // A replica may lag behind, and say that a key is still good.
    scaleReads: 'master',
    // What was sent on a connection that closed may have been executed.
    retryDelayOnFailover: 0,
    // A node that is gone may be the one that is asked where the others are.
    slotsRefreshTimeout: timeout,
    clusterRetryStrategy: reconnectAfter,
    clusterNodeRetryStrategy: null,
    // ioredis 5 puts these in place of the given ones, passwords and all.
    redisOptions: { ...(redis as Cluster).options.redisOptions, ...settings },
  } as Parameters<Cluster['duplicate']>[1]);
}

/** For ever, whatever the given connection does: the store must come back by itself. */
function reconnectAfter(attempts: number): number {
  return Math.min(50 * attempts, 1_000);
}
