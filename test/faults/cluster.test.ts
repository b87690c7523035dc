import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { describe, it, onTestFinished } from 'vitest';
import { ensureProgram } from '../support/programs.ts';
import { type RedisCluster, startRedisCluster } from '../support/redis.ts';
import { endure, openLab } from './lab.ts';

interface Node {
  readonly id: string;
  readonly port: number;
  readonly isMaster: boolean;
  readonly master: string;
  readonly slots: string;
}

/** What the nodes that are up say of the cluster. */
async function nodesOf(admins: readonly Redis[]): Promise<Node[]> {
  for (const admin of admins) {
    const text = await Promise.race([
      (admin.cluster('NODES') as Promise<string>).catch(() => undefined),
      sleep(500),
    ]);
    if (text === undefined) continue;
    const lines = (text as string).trim().split('\n');
    return lines
      .map((line) => line.split(' '))
      .filter(([, , flags = '']) => !/fail|noaddr|handshake/.test(flags))
      .map(([id = '', address = '', flags = '', master = '', , , , ...slots]) => ({
        id,
        port: Number(/:(\d+)@/.exec(address)?.[1]),
        isMaster: flags.includes('master'),
        master,
        slots: slots.join(' '),
      }));
  }
  throw new Error('Cannot ask the cluster');
}

/** The slots of a master, such as `0-5460 9000`, in their order. */
function slotsOf({ slots }: Node): number[] {
  return slots.split(' ').flatMap((range) => {
    const [from = Number.NaN, to = from] = range.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
}

async function startCluster(): Promise<{ cluster: RedisCluster; admins: Redis[] }> {
  const cluster = await startRedisCluster({ masters: 3, replicas: 1 });
  onTestFinished(() => cluster.stop());
  const admins = cluster.nodes.map(({ port }) => {
    const admin = new Redis({ port, retryStrategy: () => 50, maxRetriesPerRequest: null });
    admin.on('error', () => undefined);
    onTestFinished(() => admin.disconnect());
    return admin;
  });
  return { cluster, admins };
}

async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 30_000;
  // A cluster that is not whole again yet answers with errors.
  while (!(await isSo().catch(() => false))) {
    if (performance.now() > end) throw new Error(`Cannot wait longer for ${what}`);
    await sleep(50);
  }
}

describe('nothing is accepted twice, and every client is served again', {
  timeout: 900_000,
}, () => {
  it('while a cluster of 3 + 3 loses masters, changes them, and moves slots', async () => {
    const { cluster, admins } = await startCluster();
    const adminAt = (port: number) =>
      admins[cluster.nodes.findIndex((node) => node.port === port)] as Redis;
    const pidAt = (port: number) =>
      (cluster.nodes.find((node) => node.port === port) as { pid: number }).pid;
    /**
     * The slots of a master whose sets hold nonces: of the others no client would notice anything.
     */
    const slotsInUse = async ({ port }: Node): Promise<number[]> => {
      const admin = adminAt(port);
      // Beside them lie the counts of owners.
      const keys = (await admin.keys('*')).filter((key) => /:\d+$/.test(key));
      const sizes = await Promise.all(keys.map((key) => admin.zcard(key)));
      // What is more than the store's own three members are nonces.
      const used = keys.filter((_, index) => (sizes[index] as number) > 3);
      return Promise.all(used.map((key) => admin.cluster('KEYSLOT', key).then(Number)));
    };
    const isInStep = async (replica: Node): Promise<boolean> =>
      (await adminAt(replica.port).info('replication')).includes('master_link_status:up');
    /** A master that clients need and that has a replica in step, and that replica. */
    const pair = async (): Promise<[Node, Node]> => {
      let found: [Node, Node] | undefined;
      await until(async () => {
        const nodes = await nodesOf(admins);
        for (const master of nodes.filter((it) => it.isMaster && it.slots !== '')) {
          const replica = nodes.find((it) => it.master === master.id);
          if (replica === undefined) continue;
          if (!(await isInStep(replica))) continue;
          if ((await slotsInUse(master)).length > 0) found = [master, replica];
        }
        return found !== undefined;
      }, 'a replica in step');
      return found as [Node, Node];
    };
    /** Until every slot has a master again, and each of these a replica that acknowledges. */
    const untilWhole = () =>
      until(async () => {
        const nodes = await nodesOf(admins);
        const masters = nodes.filter((it) => it.isMaster && it.slots !== '');
        const pairs = masters.map(async ({ id, port }) => {
          const info = (await adminAt(port).cluster('INFO')) as string;
          const replicas = nodes.filter(({ master }) => master === id);
          const inStep = await Promise.all(replicas.map(isInStep));
          return info.includes('cluster_state:ok') && inStep.includes(true);
        });
        return masters.length > 0 && (await Promise.all(pairs)).every(Boolean);
      }, 'a cluster that is whole');
    const untilMaster = (port: number) =>
      until(
        async () => (await nodesOf(admins)).some((it) => it.port === port && it.isMaster),
        'another master',
      );
    const nodes = cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port }));
    const lab = await openLab({ redis: { nodes }, store: { waitForReplicas: 1 }, accessKeys: 12 });

    const faults: Record<string, () => Promise<void>> = {
      async FAILOVER() {
        const [, replica] = await pair();
        await adminAt(replica.port).cluster('FAILOVER' as 'NODES');
        await untilMaster(replica.port);
      },
      async TAKEOVER() {
        const [, replica] = await pair();
        await adminAt(replica.port).call('CLUSTER', 'FAILOVER', 'TAKEOVER');
        await untilMaster(replica.port);
      },
      async 'a master that is paused'() {
        const [master, replica] = await pair();
        process.kill(pidAt(master.port), 'SIGSTOP');
        await untilMaster(replica.port);
        process.kill(pidAt(master.port), 'SIGCONT');
      },
      async 'a master that is killed'() {
        const [master, replica] = await pair();
        const index = cluster.nodes.findIndex(({ port }) => port === master.port);
        await cluster.nodes[index]?.stop();
        await untilMaster(replica.port);
        await lab.run(0.5);
        await cluster.restart(index);
      },
      async 'slots that move'() {
        const [master] = await pair();
        // So many, from the first, that a set of nonces is among them.
        const count = slotsOf(master).indexOf(Math.min(...(await slotsInUse(master)))) + 1;
        const others = (await nodesOf(admins)).filter(
          (it) => it.isMaster && it.slots !== '' && it.id !== master.id,
        );
        const cli = ensureProgram(['redis-cli', 'valkey-cli'], ['redis-tools']);
        await promisify(execFile)(cli, [
          ...['--cluster', 'reshard', `127.0.0.1:${master.port}`, '--cluster-yes'],
          ...['--cluster-from', master.id, '--cluster-to', (others[0] as Node).id],
          ...['--cluster-slots', String(count)],
        ]);
      },
    };
    const named = Object.entries(faults).map(([name, fault]) => {
      const endured = async () => {
        await fault();
        await untilWhole();
      };
      return Object.defineProperty(endured, 'name', { value: name });
    });
    await endure(lab, ...named);
  });
});
