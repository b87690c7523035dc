import type { Cluster, Redis } from 'ioredis';

/** The answer of a script, and how many replicas have its writes. */
export interface Waited {
  readonly answer: unknown;
  /** How many replicas acknowledged what the script wrote. */
  readonly acknowledged: number;
  /** Why the replicas could not be asked. The script still ran. */
  readonly failure?: Error;
}

type Results = Awaited<ReturnType<ReturnType<Redis['pipeline']>['exec']>>;

/**
 * Runs a script and waits for replicas, in one pipeline on one connection. `WAIT` only covers
 * writes of its own connection: on a new connection it would answer that all is well.
 *
 * @param replicas how many to wait for
 * @param timeout milliseconds; all later commands on this connection wait too
 * @throws Error if the script failed, or its outcome is unknown
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
    // Not EVALSHA: if the script is unknown, ioredis would send it again, behind the WAIT.
    ['eval', script, keys.length, ...keys, ...args],
    ['wait', replicas, Math.ceil(timeout)],
  ];
  let results = await redis.pipeline(commands).exec();
  const [refusal] = results?.[0] ?? [];
  // The script did not run. ioredis does not redirect such a pipeline.
  if (refusal && redis.isCluster) results = await redirected(redis as Cluster, refusal, commands);
  const [[failure, answer] = [], [failedToWait, acknowledged] = []] = results ?? [];
  if (failure) throw failure;
  if (failedToWait) return { answer, acknowledged: 0, failure: failedToWait };
  return { answer, acknowledged: Number(acknowledged) };
}

/** The message that fewer replicas have a change than required. */
export function formatLack(
  { acknowledged, failure }: Waited,
  replicas: number,
  what: string,
): string {
  const why = failure === undefined ? '' : `: ${failure.message}`;
  const count = acknowledged === 1 ? '1 replica' : `${acknowledged} replicas`;
  const verb = replicas === 1 ? 'is' : 'are';
  return `${count} of Redis acknowledged ${what}; ${replicas} ${verb} required${why}`;
}

/**
 * Sends commands again to the node that a redirection names: that node has the slot (MOVED), or is
 * receiving it (ASK). The map of slots is not used: after a failover it may come from a node that
 * does not know the new master yet.
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
  // A node that does not know its own name gives none. The next command finds the new map.
  if (host === '') throw refusal;
  const nodes = cluster.nodes('all');
  const known = nodes.find(({ options }) => options.host === host && options.port === port);
  // The client may not know a node yet that has no slots.
  const node = known ?? (nodes[0] as Redis).duplicate({ host, port });
  // The caller gets errors. Without a listener ioredis would print them.
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
