import type { Cluster, Redis } from 'ioredis';

/** What a script gave, and what became of it. */
export interface Waited {
  readonly answer: unknown;
  /** How many replicas have what the script wrote. */
  readonly acknowledged: number;
  /** Why they could not be asked; the script ran all the same. */
  readonly failure?: Error;
}

type Results = Awaited<ReturnType<ReturnType<Redis['pipeline']>['exec']>>;

/**
 * Runs a script and waits for replicas, in one go, on one connection: `WAIT` speaks of what was written on its own, and says of a
 * connection that was made anew that all is well.
 *
 * @param replicas how many are waited for
 * @param timeout milliseconds; whatever is sent on the same connection waits behind it
 * @throws Error where the script failed, or nobody knows what became of it
 */
export async function evalAndWait(
  redis: Redis | Cluster,
  script: string,
  keys: readonly string[],
  args: readonly (string | number)[],
  replicas: number,
  timeout: number,
): Promise<Waited> {
  const commands = [
    // Not by its digest: a script that is not known would be sent again behind the WAIT.
    ['eval', script, keys.length, ...keys, ...args],
    ['wait', replicas, Math.ceil(timeout)],
  ];
  let results = await redis.pipeline(commands).exec();
  const [refusal] = results?.[0] ?? [];
  // Not executed. ioredis leaves such a pipeline as it is.
  if (refusal && redis.isCluster) results = await redirected(redis as Cluster, refusal, commands);
  const [[failure, answer] = [], [failedToWait, acknowledged] = []] = results ?? [];
  if (failure) throw failure;
  if (failedToWait) return { answer, acknowledged: 0, failure: failedToWait };
  return { answer, acknowledged: Number(acknowledged) };
}

/** Says that fewer replicas have something than must. */
export function formatLack(
  { acknowledged, failure }: Waited,
  replicas: number,
  what: string,
): string {
  const why = failure === undefined ? '' : `: ${failure.message}`;
  return `Of the replicas of Redis ${acknowledged} have acknowledged ${what}, ${replicas} must${why}`;
}

/**
 * Sends commands again, to the node that a node of a cluster names: it has the slot of the key for
 * good (MOVED), or while the slot moves (ASK). The node itself is asked, and not the map of slots:
 * after a failover the map comes from any node, and that one may not have heard of it.
 */
async function redirected(
  cluster: Cluster,
  refusal: Error,
  commands: (string | number)[][],
): Promise<Results> {
  const [what = '', , address = ''] = refusal.message.split(' ');
  if (what !== 'MOVED' && what !== 'ASK') throw refusal;
  if (what === 'MOVED') cluster.refreshSlotsCache();
  const { host, port } = reachable(cluster, address);
  // A node that is not told its own name names none. The next command finds the new map.
  if (host === '') throw refusal;
  const nodes = cluster.nodes('all');
  const known = nodes.find(({ options }) => options.host === host && options.port === port);
  // The client may not know a node yet that has no slots.
  const node = known ?? (nodes[0] as Redis).duplicate({ host, port });
  // The caller hears of errors. Without a listener ioredis would print them.
  if (known === undefined) node.on('error', () => undefined);
  try {
    if (what === 'MOVED') return await node.pipeline(commands).exec();
    const results = await node.pipeline([['asking'], ...commands]).exec();
    return results?.slice(1) ?? null;
  } finally {
    if (known === undefined) node.disconnect();
  }
}

function reachable(cluster: Cluster, address: string): { host: string; port: number } {
  const { natMap } = cluster.options;
  const mapped = typeof natMap === 'function' ? natMap(address) : natMap?.[address];
  const colon = address.lastIndexOf(':');
  return mapped ?? { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}
