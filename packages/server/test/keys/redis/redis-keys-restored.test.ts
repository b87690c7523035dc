import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateMasterKey } from '@countersign/server';
import { RedisKeyStore } from '@countersign/server/redis';
import { Cluster, Redis } from 'ioredis';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { NOW } from '../../../../../test/support/now.ts';
import { startRedis, startRedisCluster } from '../../../../../test/support/redis.ts';
import { StoreHistory } from '../../../src/keys/store-history.ts';
import { startProxy } from '../../lib/redis/redis-faults.ts';
import { restoredStoreContract } from '../key-restored-contract.ts';
import { judge } from '../key-store-contract.ts';

const masterKey = generateMasterKey();

function connect(url: string): Redis {
  const redis = new Redis(url);
  redis.on('error', () => undefined);
  onTestFinished(() => redis.disconnect());
  return redis;
}

function storeOn(port: number): RedisKeyStore {
  const redis = connect(`redis://127.0.0.1:${port}`);
  const keys = new RedisKeyStore({ redis, masterKey, timeout: 2, clock: () => NOW });
  onTestFinished(() => keys.close());
  return keys;
}

/** A Redis with a snapshot, and two ways to it: servers that run come by the proxy. */
async function startWithSnapshot() {
  const folder = await mkdtemp(join(tmpdir(), 'countersign-rdb-'));
  const args = ['--dir', folder, '--dbfilename', 'now.rdb'];
  let server = await startRedis({ args });
  onTestFinished(async () => {
    await server.stop();
    await rm(folder, { recursive: true });
  });
  const proxy = await startProxy(server.port);
  const restart = async (meanwhile?: () => Promise<void>) => {
    await server.stop();
    proxy.target = 1;
    server = await startRedis({ args, port: server.port });
    await meanwhile?.();
    proxy.target = server.port;
  };
  const save = async (name: string) => {
    const admin = connect(server.url);
    await admin.save();
    await copyFile(join(folder, 'now.rdb'), join(folder, name));
    admin.disconnect();
  };
  const load = (name: string) => copyFile(join(folder, name), join(folder, 'now.rdb'));
  return { port: server.port, proxy, restart, save, load };
}

restoredStoreContract('RedisKeyStore', async () => {
  const { port, proxy, restart, save, load } = await startWithSnapshot();
  let copies = 0;
  return {
    // Those that are opened while the proxy leads nowhere are no servers that run.
    open: () => storeOn(proxy.target === 1 ? port : proxy.port),
    async copy() {
      const name = `${++copies}.rdb`;
      await save(name);
      return async (meanwhile) => {
        await load(name);
        await restart(meanwhile);
      };
    },
  };
});

restoredStoreContract('RedisKeyStore on a cluster', async () => {
  const { nodes, stop } = await startRedisCluster({ masters: 3 });
  onTestFinished(stop);
  const masters = nodes.map(({ url }) => connect(url));
  return {
    open() {
      const redis = new Cluster(nodes.map(({ port }) => ({ host: '127.0.0.1', port })));
      redis.on('error', () => undefined);
      onTestFinished(() => redis.disconnect());
      const keys = new RedisKeyStore({ redis, masterKey, timeout: 2, clock: () => NOW });
      onTestFinished(() => keys.close());
      return keys;
    },
    async copy() {
      const dumps = await Promise.all(
        masters.map(async (master) => {
          const keys = await master.keys('*');
          const dump = (key: string) => master.dumpBuffer(key) as Promise<Buffer>;
          return Promise.all(keys.map(async (key) => [key, await dump(key)] as const));
        }),
      );
      return async (meanwhile) => {
        for (const [index, master] of masters.entries()) {
          const then = new Map(dumps[index]);
          for (const key of await master.keys('*')) if (!then.has(key)) await master.del(key);
          for (const [key, dump] of then) await master.restore(key, 0, dump, 'REPLACE');
        }
        await meanwhile?.();
      };
    },
  };
});

describe('RedisKeyStore', () => {
  it('K9: an older copy is refused of which a change was heard of and never read', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const recordChange = vi.spyOn(StoreHistory.prototype, 'recordChange');
    onTestFinished(() => void vi.restoreAllMocks());
    const { port, proxy, restart, save, load } = await startWithSnapshot();
    const [admin, edge] = [storeOn(port), storeOn(proxy.port)];
    const key = await admin.create();
    // Both have subscribed, and one change after the other was heard.
    await vi.waitFor(async () => {
      recordChange.mockClear();
      await admin.enable(key.accessKeyId);
      await edge.find('CSAK1');
      expect(recordChange).toHaveBeenCalledTimes(2);
    }, 10_000);
    await save('older.rdb');
    recordChange.mockClear();
    await admin.revoke({ accessKeyId: key.accessKeyId });
    await vi.waitFor(() => expect(recordChange).toHaveBeenCalledTimes(2), 10_000);
    await load('older.rdb');
    await restart();
    await vi.waitFor(
      () => expect(edge.find(key.accessKeyId)).rejects.toThrow('went back in time'),
      10_000,
    );
    expect(warn).toHaveBeenCalledWith(expect.stringContaining('went back in time'), {
      code: 'COUNTERSIGN_KEY_STORE_WENT_BACK',
    });
  });

  it('goes on after an ordinary restart, and after many changes that it did not hear of', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => warn.mockRestore());
    const { port, proxy, restart, save } = await startWithSnapshot();
    const [admin, edge] = [storeOn(port), storeOn(proxy.port)];
    const key = await admin.create();
    expect(await judge(edge, key)).toBe('accepted');
    await admin.disable(key.accessKeyId);
    await admin.enable(key.accessKeyId);
    await vi.waitFor(async () => expect(await judge(edge, key)).toBe('accepted'), 10_000);
    await save('same.rdb');
    await restart(async () => {
      await vi.waitFor(() => admin.enable(key.accessKeyId), 10_000);
      for (let change = 0; change < 70; change++) await admin.enable(key.accessKeyId);
    });
    // Read again, not remembered.
    await vi.waitFor(async () => expect(await edge.find('CSAK1')).toBeUndefined(), 10_000);
    await vi.waitFor(async () => expect(await judge(edge, key)).toBe('accepted'), 10_000);
    expect(warn).not.toHaveBeenCalled();
  });

  it('goes on if a replica takes over that has all changes', async () => {
    const warn = vi.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    onTestFinished(() => warn.mockRestore());
    const [server, replica] = await Promise.all([
      startRedis({ args: ['--repl-diskless-sync-delay', '0'] }),
      startRedis(),
    ]);
    onTestFinished(() => Promise.all([server.stop(), replica.stop()]).then(() => undefined));
    const follower = connect(replica.url);
    await follower.replicaof('127.0.0.1', server.port);
    const master = connect(server.url);
    await vi.waitFor(async () => {
      await master.set('written', 'before');
      expect(await master.wait(1, 200)).toBe(1);
    }, 10_000);
    const proxy = await startProxy(server.port);
    const edge = storeOn(proxy.port);
    const [key, ended] = [await edge.create(), await edge.create()];
    await edge.revoke({ accessKeyId: ended.accessKeyId });
    expect(await judge(edge, key)).toBe('accepted');
    proxy.target = replica.port;
    await server.stop();
    await follower.replicaof('NO', 'ONE');
    await vi.waitFor(async () => expect(await edge.find('CSAK1')).toBeUndefined(), 10_000);
    expect(await judge(edge, key)).toBe('accepted');
    expect(await judge(edge, ended)).toBe('ERR_KEY_INACTIVE: it is revoked');
    expect(warn).not.toHaveBeenCalledWith(expect.stringContaining('went back'), expect.anything());
  });
});
