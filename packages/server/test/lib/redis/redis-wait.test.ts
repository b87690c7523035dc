import { Cluster, Redis } from 'ioredis';
import { expect, it, onTestFinished, vi } from 'vitest';
import { startRedisCluster } from '../../../../../test/support/redis.ts';
import { evalAndWait } from '../../../src/lib/redis/eval-and-wait.ts';

function connect(url: string | undefined): Redis {
  const redis = new Redis(url as string);
  redis.on('error', () => undefined);
  onTestFinished(() => redis.disconnect());
  return redis;
}

it('evalAndWait() follows a slot to a node that clients have not heard of', async () => {
  const own = await startRedisCluster({ masters: 3, replicas: 1 });
  onTestFinished(() => own.stop());
  const cluster = new Cluster([{ host: '127.0.0.1', port: own.nodes[0]?.port }]);
  onTestFinished(() => cluster.disconnect());
  const increase = () =>
    evalAndWait(cluster, "return redis.call('INCR', KEYS[1])", ['counter'], [], 1, 10_000);
  expect(await increase()).toEqual({ answer: 1, acknowledged: 1 });

  const { url, port } = await own.join();
  const target = connect(url);
  const targetId = (await target.cluster('MYID')) as string;
  const masters = own.nodes.slice(0, 3).map((node) => connect(node.url));
  const has = await Promise.all(masters.map((it) => it.exists('counter').catch(() => 0)));
  const source = masters[has.indexOf(1)] as Redis;
  const replica = connect(own.nodes[3]?.url);
  await vi.waitFor(() => replica.cluster('REPLICATE', targetId), 10_000);
  await vi.waitFor(
    async () => expect(await target.info('replication')).toContain('state=online'),
    10_000,
  );
  const slot = Number(await source.cluster('KEYSLOT', 'counter'));
  await target.cluster('SETSLOT', slot, 'IMPORTING', (await source.cluster('MYID')) as string);
  await source.cluster('SETSLOT', slot, 'MIGRATING', targetId);
  await source.migrate('127.0.0.1', port, 'counter', 0, 5_000);
  expect(cluster.nodes('all').map(({ options }) => options.port)).not.toContain(port);

  expect(await increase()).toEqual({ answer: 2, acknowledged: 1 });
  expect(await increase()).toEqual({ answer: 3, acknowledged: 1 });
});
