import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort, startGuarded } from './guarded-server.ts';
import { ensureProgram } from './programs.ts';

/** A Redis of one's own: break it as you like. */
export interface RedisServer {
  readonly url: string;
  readonly port: number;
  /** Of redis-server itself, for signals: SIGSTOP makes it hang, SIGKILL makes it gone. */
  readonly pid: number;
  /** Kills it, stopped or not, and removes its folder. */
  stop(): Promise<void>;
}

export interface RedisCluster {
  /** Masters first; the replicas after them. */
  readonly nodes: readonly RedisServer[];
  /** Starts a node that was stopped, where it was and as what it was. */
  restart(node: number): Promise<void>;
  /** Starts a master without slots, which is not among the nodes. */
  join(): Promise<RedisServer>;
  stop(): Promise<void>;
}

export interface RedisOptions {
  /** More arguments for redis-server, after ours (the last one wins). */
  args?: string[];
  /** The path of a configuration file. */
  config?: string;
  /** The port of one that was stopped, to start it again; otherwise a free one. */
  port?: number;
}

/**
 * Starts a private, empty Redis (or Valkey) that keeps nothing on disk, on a loopback port. It is
 * killed when the test process ends, whichever way that ends.
 */
export async function startRedis({
  args = [],
  config,
  port,
}: RedisOptions = {}): Promise<RedisServer> {
  const program = ensureProgram(['redis-server', 'valkey-server'], ['redis-server']);
  const chosen = port ?? (await freePort());
  const own = ['--port', `${chosen}`, '--bind', '127.0.0.1'];
  const memoryOnly = ['--save', '', '--appendonly', 'no'];
  const file = config === undefined ? [] : [config];
  const command = [program, ...file, ...own, ...memoryOnly, ...args];
  const { pid, stop } = await startGuarded('Redis', command, async () => {
    const reply = await ask(chosen, 'PING');
    if (!reply.startsWith('+PONG')) throw new Error(`Cannot reach Redis on port ${chosen}`);
  });
  return { url: `redis://127.0.0.1:${chosen}`, port: chosen, pid, stop: () => stop() };
}

/** Starts a cluster, every slot covered, replicas in step with their masters. */
export async function startRedisCluster({
  masters = 3,
  replicas = 0,
}: {
  masters?: number;
  /** For each master. */
  replicas?: number;
} = {}): Promise<RedisCluster> {
  const cli = ensureProgram(['redis-cli', 'valkey-cli'], ['redis-tools']);
  const nodes: RedisServer[] = [];
  // What a node knows of the cluster outlives it here.
  const folder = await mkdtemp(join(tmpdir(), 'countersign-cluster-'));
  const argsOf: string[][] = [];
  let joined: RedisServer | undefined;
  const stop = async () => {
    await Promise.all([...nodes, joined].map((node) => node?.stop()));
    await rm(folder, { recursive: true, force: true });
  };
  const argsFor = (name: string | number, busPort: number) => {
    const bus = ['--cluster-port', `${busPort}`, '--cluster-node-timeout', '1000'];
    const file = ['--cluster-config-file', join(folder, `${name}.conf`)];
    const sync = ['--repl-diskless-sync-delay', '0'];
    return ['--cluster-enabled', 'yes', ...bus, ...file, ...sync];
  };
  const joinNode = async () => {
    const busPort = await freePort();
    joined = await startRedis({ args: argsFor('joined', busPort) });
    const { port } = joined;
    await ask((nodes[0] as RedisServer).port, `CLUSTER MEET 127.0.0.1 ${port} ${busPort}`);
    await until(
      async () => (await ask(port, 'CLUSTER INFO')).includes('cluster_state:ok'),
      `the cluster node on port ${port}`,
    );
    return joined;
  };
  const restart = async (node: number) => {
    const { port } = nodes[node] as RedisServer;
    nodes[node] = await startRedis({ port, args: argsOf[node] as string[] });
  };
  try {
    while (nodes.length < masters * (1 + replicas)) {
      argsOf.push(argsFor(nodes.length, await freePort()));
      nodes.push(await startRedis({ args: argsOf.at(-1) as string[] }));
    }
    const hosts = nodes.map(({ port }) => `127.0.0.1:${port}`);
    const create = ['--cluster', 'create', ...hosts, '--cluster-replicas', `${replicas}`];
    await promisify(execFile)(cli, [...create, '--cluster-yes']);
    await Promise.all(
      nodes.map(async ({ port }) => {
        await until(async () => {
          const state = await ask(port, 'CLUSTER INFO');
          const replication = await ask(port, 'INFO replication');
          return state.includes('cluster_state:ok') && !/link_status:down/.test(replication);
        }, `the cluster node on port ${port}`);
      }),
    );
    return { nodes, restart, join: joinNode, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function until(isDone: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!(await isDone())) {
    if (Date.now() > deadline) throw new Error(`Cannot wait longer for ${what}`);
    await sleep(5);
  }
}

/** The reply to one command, as it stands on the wire; empty if no server answers. */
function ask(port: number, command: string): Promise<string> {
  return new Promise((resolve) => {
    let reply = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(`${command}\r\nQUIT\r\n`));
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      reply += chunk;
    });
    // A Sentinel does not know QUIT.
    socket.setTimeout(500, () => socket.destroy());
    socket.on('error', () => undefined).on('close', () => resolve(reply));
  });
}
