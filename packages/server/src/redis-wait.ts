import type { Cluster, Redis } from 'ioredis';

/**
 * Runs a script and waits for replicas, in one go, on one connection: `WAIT` speaks of what was written on its own, and says of a
 * connection that was made anew that all is well.
 *
 * @param replicas how many are waited for
 * @param timeout milliseconds; others wait behind it
 * @returns what the script gave, and how many replicas have acknowledged what it wrote
 */
export async function evalAndWait(
  redis: Redis | Cluster,
  script: string,
  key: string,
  args: readonly (string | number)[],
  replicas: number,
  timeout: number,
  isRetry = false,
): Promise<[answer: unknown, acknowledged: number]> {
  const results = await redis
    // Not by its digest: a script that is not known would be sent again behind the WAIT.
    .pipeline([
      ['eval', script, 1, key, ...args],
      ['wait', replicas, Math.ceil(timeout)],
    ])
    .exec();
  const [[failure, answer] = [], [failedToWait, acknowledged] = []] = results ?? [];
  if (failure && /^MOVED /.test(failure.message) && !isRetry) {
    // Not executed. ioredis leaves such a pipeline as it is.
    await new Promise((resolve) => (redis as Cluster).refreshSlotsCache(resolve));
    return evalAndWait(redis, script, key, args, replicas, timeout, true);
  }
  if (failure ?? failedToWait) throw failure ?? failedToWait;
  return [answer, Number(acknowledged)];
}
