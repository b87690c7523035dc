import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** The way to a Redis, and what may happen on it. */
export interface Link {
  readonly port: number;
  /** Connections that were cut with replies on their way. */
  readonly lost: number;
  /** Milliseconds by which replies are late. */
  delay: number;
  /** Whether connections stay open and carry nothing. */
  isHalfOpen: boolean;
  /**
   * Commands go on to Redis and are executed; the next reply of each connection is lost, and the
   * connection with it.
   */
  loseReplies(): void;
  /** Leads elsewhere from now on; what is connected is cut off. */
  lead(port: number): void;
}

/** Starts a way to a port of this machine, until the test is over. */
export async function startLink(target: number): Promise<Link> {
  let leadsTo = target;
  const pairs = new Set<{ client: Socket; redis: Socket; losesNext: boolean }>();
  const server = createServer({ noDelay: true }, (client) => {
    const redis = connect({ port: leadsTo, host: '127.0.0.1', noDelay: true });
    const pair = { client, redis, losesNext: false };
    pairs.add(pair);
    client.on('data', (data) => void (link.isHalfOpen || redis.write(data)));
    redis.on('data', (data) => {
      if (link.isHalfOpen) return;
      if (pair.losesNext) {
        counts.lost++;
        client.destroy();
      } else if (link.delay === 0) client.write(data);
      else setTimeout(() => client.destroyed || client.write(data), link.delay);
    });
    for (const [one, other] of [
      [client, redis],
      [redis, client],
    ] as const) {
      one.on('error', () => undefined);
      one.on('close', () => {
        pairs.delete(pair);
        if (!link.isHalfOpen) other.destroy();
      });
    }
  });
  const counts = { lost: 0 };
  const cut = (): void => {
    for (const { client, redis } of pairs) {
      client.destroy();
      redis.destroy();
    }
  };
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.close();
    cut();
  });
  const link: Link = {
    port: (server.address() as AddressInfo).port,
    get lost() {
      return counts.lost;
    },
    delay: 0,
    isHalfOpen: false,
    loseReplies() {
      for (const pair of pairs) pair.losesNext = true;
    },
    lead(port) {
      leadsTo = port;
      cut();
    },
  };
  return link;
}
