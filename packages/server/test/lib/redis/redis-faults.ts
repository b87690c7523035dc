import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { TRY_SCRIPT } from '../../../src/lib/redis/redis-permissions.ts';

/** What a proxy does with what Redis says. */
type Mode = 'pass' | 'lose the next reply' | 'swallow';

/** Stands between a client and Redis, and does to their connection what networks do. */
export interface RedisProxy {
  readonly port: number;
  /** The port of this machine that new connections lead to. */
  target: number;
  /** Replies that were lost so far. */
  readonly lost: number;
  /**
   * - `pass`: everything, as it comes.
   * - `lose the next reply`: the command is executed, its reply never comes, the connection closes;
   *   then `pass`.
   * - `swallow`: connections that are open stay so, and carry nothing any more; new ones are
   *   passed.
   */
  mode: Mode;
}

/** Starts a proxy to a port of this machine, until the test is over. */
export async function startProxy(target: number): Promise<RedisProxy> {
  const proxy = { port: 0, target, lost: 0, mode: 'pass' as Mode };
  proxy.port = await listen((client) => {
    const redis = connect({ port: proxy.target, host: '127.0.0.1', noDelay: true });
    const born = proxy.mode;
    const isSwallowed = () => proxy.mode === 'swallow' && born !== 'swallow';
    client.on('data', (data) => void (isSwallowed() || redis.write(data)));
    redis.on('data', (data) => {
      if (isSwallowed()) return;
      if (proxy.mode !== 'lose the next reply') return void client.write(data);
      proxy.mode = 'pass';
      proxy.lost++;
      client.destroy();
    });
    for (const [one, other] of [
      [client, redis],
      [redis, client],
    ] as const) {
      one.on('error', () => undefined).on('close', () => void (isSwallowed() || other.destroy()));
    }
    return redis;
  });
  return proxy;
}

/** Starts what says it is Redis, and answers commands as it is told: RESP, or anything. */
export async function startFake(
  answer: (command: readonly string[]) => string | undefined,
): Promise<number> {
  return listen((client) => {
    client.setEncoding('latin1').on('error', () => undefined);
    let text = '';
    client.on('data', (chunk) => {
      text += chunk;
      for (let command = take(); command !== undefined; command = take()) {
        // It refuses none of the commands that a store tries.
        const isTrial = command[1] === TRY_SCRIPT;
        const reply = isTrial ? '*0\r\n' : (answer(command) ?? handshake(command));
        if (reply !== '') client.write(reply);
      }
    });
    /** The next whole command of `text`: `*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n`. */
    function take(): string[] | undefined {
      const parts = text.split('\r\n');
      const length = Number(parts[0]?.slice(1));
      if (parts.length < 2 || parts.length < 2 * length + 2) return undefined;
      text = parts.slice(2 * length + 1).join('\r\n');
      return parts.slice(1, 2 * length + 1).filter((_, index) => index % 2 === 1);
    }
  });
}

const INFO = ['redis_version:7.0.15', 'role:master', 'connected_slaves:0'].concat([
  'master_replid:8371445ee34de4be9b1cd2a72c5c1ad1cb1b7b0d',
  'maxmemory_policy:noeviction',
]);

/** What a Redis that is fit for nonces answers when it is connected to. */
function handshake([name = '']: readonly string[]): string {
  if (/^info$/i.test(name)) return bulk(INFO.join('\r\n'));
  return /^hello$/i.test(name) ? "-ERR unknown command 'HELLO'\r\n" : '+OK\r\n';
}

/** Text as Redis writes it. */
export function bulk(text: string): string {
  return `$${text.length}\r\n${text}\r\n`;
}

async function listen(onConnection: (client: Socket) => Socket | undefined): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ noDelay: true }, (client) => {
    sockets.add(client);
    const further = onConnection(client);
    if (further !== undefined) sockets.add(further);
  });
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
