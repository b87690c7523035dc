import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { Redis } from 'ioredis';

/**
 * Starts a private, empty Redis that writes nothing to disk, and connects to it. It ends with this
 * process.
 */
export async function startRedis() {
  const port = await freePort();
  const guard = fork(
    new URL('../../test/support/guard.mjs', import.meta.url),
    ['redis-server', '--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
    { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
  );
  const started = once(guard, 'message').then(() => true);
  const ended = once(guard, 'exit').then(() => false);
  if (!(await Promise.race([started, ended])))
    throw new Error(
      'Cannot start redis-server: install it, on the PATH (Debian: apt-get install redis-server)',
    );
  const redis = new Redis(port, '127.0.0.1', { enableAutoPipelining: false });
  redis.on('error', () => undefined);
  await redis.ping();
  return {
    redis,
    async stop() {
      redis.disconnect();
      guard.disconnect();
      await ended;
    },
  };
}

/** Reads a number from the answer of `INFO`. */
export async function readInfo(redis, field) {
  return Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(await redis.info())[1]);
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return String(port);
}

/** The processor time of Redis, in milliseconds. */
export async function processorTimeOf(redis) {
  const info = await redis.info('cpu');
  const [sys, user] = ['sys', 'user'].map((it) => new RegExp(`used_cpu_${it}:(.+)`).exec(info)[1]);
  return (Number(sys) + Number(user)) * 1000;
}
