import type { Cluster, Redis } from 'ioredis';

/** What a store finds out about a Redis before it relies on it. */
export interface SelfTest {
  /** What is wrong, and what to do; `undefined` if Redis can be relied on. */
  readonly flaw: string | undefined;
  /** Whether the connection leads to a replica. For a cluster never: it finds the masters. */
  readonly isReplica: boolean;
  readonly replicas: number;
  /** Bytes that the smallest master may use: `Infinity` if there is no limit, or it is unknown. */
  readonly maxMemory: number;
  /** The used share of that, of the master that uses most: 0 if there is no limit. */
  readonly memoryUse: number;
}

const OLDEST: readonly [number, number] = [6, 2];
/** The policy that evicts nothing. */
export const NOEVICTION = /^noeviction$/;
/** Policies that keep every key without an expiry. */
export const NEVER_EVICTED = /^(?:noeviction|volatile-\w+)$/;

/**
 * Asks all masters about themselves. If some masters of a cluster are down, only requests for their
 * keys fail.
 *
 * @param policies the eviction policies that keep what the store writes
 * @throws Error if no master answers
 */
export async function testRedis(redis: Redis | Cluster, policies: RegExp): Promise<SelfTest> {
  const infos = redis.isCluster
    ? await askCluster(redis as Cluster)
    : [await askInfo(redis as Redis)];
  const tests = infos.map((info) => judgeRedis(info, policies));
  const { flaw } = tests.find((it) => it.flaw !== undefined) ?? { flaw: undefined };
  return {
    flaw,
    isReplica: infos.some(isReplica),
    replicas: Math.max(...tests.map((it) => it.replicas)),
    maxMemory: Math.min(...tests.map((it) => it.maxMemory)),
    memoryUse: Math.max(...tests.map((it) => it.memoryUse)),
  };
}

/**
 * The answers of all masters of a cluster. After a failover the client may still take a replica for
 * a master. It learns better only from the answer to a command, and no command is sent before this
 * test has passed. So this test makes the client ask for the masters again.
 *
 * @throws Error if no master answers
 */
async function askCluster(cluster: Cluster): Promise<string[]> {
  const first = await askAll(cluster.nodes('master'));
  if (!first.some(isReplica)) return first;
  await new Promise((resolve) => cluster.refreshSlotsCache(resolve));
  // The node that was asked may be behind, too. Then the replica redirects the command itself.
  const masters = (await askAll(cluster.nodes('master'))).filter((info) => !isReplica(info));
  if (masters.length === 0) throw new Error('There is no master');
  return masters;
}

async function askAll(nodes: readonly Redis[]): Promise<string[]> {
  const results = await Promise.allSettled(nodes.map(askInfo));
  const infos = results.flatMap((it) => (it.status === 'fulfilled' ? [it.value] : []));
  if (infos.length > 0) return infos;
  const [failure] = results as PromiseRejectedResult[];
  throw failure?.reason ?? new Error('There is no master');
}

function isReplica(info: string): boolean {
  return field(info, 'role') === 'slave';
}

/**
 * The answer to INFO. If it is refused, the answer is the reason, without any of the other fields.
 */
async function askInfo(redis: Redis): Promise<string> {
  try {
    return await redis.info();
  } catch (error) {
    if ((error as Error).name !== 'ReplyError') throw error;
    return `error:${(error as Error).message}`;
  }
}

/**
 * Judges a master by its answer. Checked in the positive: a field that is missing is a flaw.
 *
 * @param info the answer to `INFO`
 * @param policies the eviction policies that keep what the store writes
 */
function judgeRedis(info: string, policies: RegExp): Omit<SelfTest, 'isReplica'> {
  const replicas = countReplicas(info);
  // Zero means no limit.
  const maxMemory = Number(field(info, 'maxmemory')) || Number.POSITIVE_INFINITY;
  const memoryUse = Number(field(info, 'used_memory') ?? 0) / maxMemory;
  return { flaw: findFlaw(info, policies), replicas, maxMemory, memoryUse };
}

/**
 * Counts the replicas. Redis also lists a client that copies all data for a backup (`redis-cli
 * --rdb`), without a port. It acknowledges nothing, so a store that waits for it would refuse
 * everything after the backup.
 */
function countReplicas(info: string): number {
  const copying = info.match(/,port=0,/g)?.length ?? 0;
  return Number(field(info, 'connected_slaves') ?? 0) - copying;
}

function findFlaw(info: string, policies: RegExp): string | undefined {
  const error = field(info, 'error');
  if (error !== undefined)
    return `INFO is refused with "${error}": let the user of the store run it`;
  for (const name of ['redis_version', 'role', 'master_replid', 'maxmemory_policy']) {
    if (field(info, name) === undefined)
      return `INFO does not tell "${name}": without it a restored snapshot or another master cannot be noticed; let the user of the store run INFO`;
  }
  const version = field(info, 'redis_version') as string;
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (!(major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])))
    return `it is version ${version}: at least ${OLDEST.join('.')} is needed`;
  const role = field(info, 'role');
  if (role !== 'master') return `its role is "${role}": connect to the master`;
  const policy = field(info, 'maxmemory_policy') as string;
  if (!policies.test(policy))
    return `its maxmemory-policy is "${policy}", with which it forgets what it must keep: set it to noeviction`;
  return undefined;
}

function field(info: string, name: string): string | undefined {
  return new RegExp(`^${name}:(.+?)\\r?$`, 'm').exec(info)?.[1];
}
