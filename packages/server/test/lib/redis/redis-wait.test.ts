import { Cluster, Redis } from 'ioredis';
import { expect, it, onTestFinished, vi } from 'vitest';
import { startRedisCluster } from '../../../../../test/support/redis.ts';
import { evalAndWait } from '../../../src/lib/redis/eval-and-wait.ts';
import { NOEVICTION, testRedis } from '../../../src/lib/redis/self-test.ts';

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

it('a failover that the client has not heard of makes neither the self-test nor evalAndWait() fail', async () => {
  const own = await startRedisCluster({ masters: 3, replicas: 1 });
  onTestFinished(() => own.stop());
  const connectToAll = (): Cluster => {
    const cluster = new Cluster([{ host: '127.0.0.1', port: own.nodes[0]?.port }]);
    onTestFinished(() => cluster.disconnect());
    return cluster;
  };
  const [tested, waiting] = [connectToAll(), connectToAll()];
  const increase = () =>
    evalAndWait(waiting, "return redis.call('INCR', KEYS[1])", ['counter'], [], 1, 10_000);
  await tested.cluster('INFO');
  expect(await testRedis(tested, NOEVICTION)).toMatchObject({ flaw: undefined, replicas: 1 });
  expect(await increase()).toEqual({ answer: 1, acknowledged: 1 });
  const mastersOf = (cluster: Cluster): (number | undefined)[] =>
    cluster
      .nodes('master')
      .map(({ options }) => options.port)
      .sort();
  const before = own.nodes
    .slice(0, 3)
    .map(({ port }) => port)
    .sort();
  const after = own.nodes
    .slice(3)
    .map(({ port }) => port)
    .sort();

  const admins = own.nodes.map((node) => connect(node.url));
  for (const replica of admins.slice(3)) await replica.cluster('FAILOVER' as 'NODES');
  await vi.waitFor(async () => {
    for (const admin of admins) {
      const slots = (await admin.cluster('SLOTS')) as unknown as [0, 0, [string, number]][];
      expect(slots.map(([, , [, port]]) => port).sort()).toEqual(after);
    }
    for (const replica of admins.slice(3))
      expect(await replica.info('replication')).toContain('state=online');
  }, 20_000);

  expect(mastersOf(tested)).toEqual(before);
  expect(mastersOf(waiting)).toEqual(before);
  expect(await testRedis(tested, NOEVICTION)).toMatchObject({ flaw: undefined, replicas: 1 });
  expect(mastersOf(tested)).toEqual(after);
  expect(await increase()).toEqual({ answer: 2, acknowledged: 1 });
});
