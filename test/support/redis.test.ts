import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Cluster, Redis } from 'ioredis';
import { describe, expect, inject, it, vi } from 'vitest';
import { startRedis, startRedisCluster } from './redis.ts';

describe('startRedis()', () => {
  it('starts a server that is ready and keeps nothing', async () => {
    const server = await startRedis();
    const redis = new Redis(server.url);
    expect(await redis.set('key', 'value')).toBe('OK');
    expect(await redis.config('GET', 'save')).toContainEqual('');
    expect(await redis.dbsize()).toBe(1);
    redis.disconnect();
    await server.stop();
    expect(isAlive(server.pid)).toBe(false);
  });

  it('passes arguments on', async () => {
    const server = await startRedis({ args: ['--maxmemory', '10mb'] });
    const redis = new Redis(server.url);
    expect(JSON.stringify(await redis.config('GET', 'maxmemory'))).toContain('10485760');
    redis.disconnect();
    await server.stop();
  });

  it('stops a server that hangs, and starts it again on its port', async () => {
    const server = await startRedis();
    process.kill(server.pid, 'SIGSTOP');
    await server.stop();
    expect(isAlive(server.pid)).toBe(false);
    const again = await startRedis({ port: server.port });
    expect(again.port).toBe(server.port);
    await again.stop();
  });

  it('stops twice without harm, also one that was killed', async () => {
    const server = await startRedis();
    process.kill(server.pid, 'SIGKILL');
    await server.stop();
    await server.stop();
    expect(isAlive(server.pid)).toBe(false);
  });

  it('says why a server does not start', async () => {
    await expect(startRedis({ args: ['--no-such-option', '1'] })).rejects.toThrow(
      /^Cannot start Redis: .*no-such-option/s,
    );
  });
});

describe('the one Redis of this project', () => {
  it('answers on the URL that is provided', async () => {
    const redis = new Redis(inject('redisUrl'));
    expect(await redis.ping()).toBe('PONG');
    redis.disconnect();
  });
});

describe('guard.mjs', () => {
  it('kills the program when the process that forked it is killed', async () => {
    const guard = JSON.stringify(new URL('guard.mjs', import.meta.url).pathname);
    const script = `require('node:child_process').fork(${guard}, ['sleep', '60'])
      .on('message', ({ pid }) => console.log(pid))`;
    const tests = spawn(process.execPath, ['-e', script]);
    const [printed] = await once(tests.stdout, 'data');
    const pid = Number(printed);
    expect(isAlive(pid)).toBe(true);
    tests.kill('SIGKILL');
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false));
  });
});

describe('startRedisCluster()', () => {
  it('starts three masters that serve every slot', async () => {
    const cluster = await startRedisCluster({ masters: 3 });
    const client = new Cluster(cluster.nodes.map(({ port }) => ({ host: '127.0.0.1', port })));
    const keys = Array.from({ length: 32 }, (_, n) => `key-${n}`);
    await Promise.all(keys.map((key) => client.set(key, key)));
    const sizes = await Promise.all(client.nodes('master').map((node) => node.dbsize()));
    expect(sizes).toHaveLength(3);
    expect(sizes.reduce((sum, size) => sum + size)).toBe(32);
    client.disconnect();
    await cluster.stop();
    expect(cluster.nodes.some(({ pid }) => isAlive(pid))).toBe(false);
  });
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
