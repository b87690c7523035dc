import { readdir, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { startRedis } from '../support/redis.ts';
import { endure, expectPromise, nothing, openLab } from './lab.ts';
import { startLink } from './link.ts';
import { at, makeFolder, startVictim } from './victim.ts';

/** All that decides whether anything is forgotten to make room. */
const EVICTION_POLICIES = [
  'noeviction',
  ...['allkeys-lru', 'allkeys-lfu', 'allkeys-random'],
  ...['volatile-lru', 'volatile-lfu', 'volatile-random', 'volatile-ttl'],
];

describe('nothing is accepted twice, and every client is served again', {
  timeout: 600_000,
}, () => {
  it('where nothing happens', async () => {
    const redis = await startVictim();
    const lab = await openLab({ redis: at(redis) });
    await endure(lab, nothing);
  });

  it('after FLUSHALL, and DEL of the keys', async () => {
    const redis = await startVictim();
    const lab = await openLab({ redis: at(redis) });
    let flushes = true;
    await endure(lab, async () => {
      for (let times = 0; times < 2; times++) {
        if (flushes) await redis.admin.flushall();
        else await redis.admin.del(...(await redis.admin.keys('*')));
        flushes = !flushes;
        await lab.run(0.5);
      }
    });
  });

  it('after a kill -9 and an empty start', async () => {
    const redis = await startVictim();
    const lab = await openLab({ redis: at(redis) });
    await endure(lab, async () => {
      await redis.kill();
      await lab.run(0.5);
      await redis.start();
    });
  });

  it('after a kill -9 and an older snapshot', async () => {
    const redis = await startVictim(['--dir', await makeFolder()]);
    const lab = await openLab({ redis: at(redis) });
    await endure(lab, async () => {
      await redis.admin.save();
      await lab.run(1);
      await redis.kill();
      await redis.start();
      expect(await redis.admin.dbsize()).toBe(1);
    });
  });

  it('after a kill -9 of Redis and of all verifiers, and an older snapshot', async () => {
    const redis = await startVictim(['--dir', await makeFolder()]);
    const lab = await openLab({ redis: at(redis) });
    await endure(lab, async () => {
      await redis.admin.save();
      await lab.run(1);
      await redis.kill();
      // So that no server knows what there was.
      await lab.restartVerifiers(() => redis.start());
      expect(await redis.admin.dbsize()).toBe(1);
    });
  });

  it('after a kill -9 and an append-only file whose tail is cut off', async () => {
    const folder = await makeFolder();
    const redis = await startVictim(['--dir', folder, '--appendonly', 'yes']);
    const lab = await openLab({ redis: at(redis) });
    await endure(lab, async () => {
      await lab.run(1);
      await redis.kill();
      const files = (await readdir(folder, { recursive: true })).filter((name) =>
        /\.incr\.aof$|^appendonly\.aof$/.test(name),
      );
      const file = join(folder, files.toSorted().at(-1) as string);
      await truncate(file, Math.floor((await stat(file)).size * 0.7));
      await redis.start();
      expect(await redis.admin.dbsize()).toBe(1);
    });
  });

  it('after a rollback in place', async () => {
    const redis = await startVictim(['--dir', await makeFolder(), '--enable-debug-command', 'yes']);
    const lab = await openLab({ redis: at(redis) });
    await endure(lab, async () => {
      await redis.admin.save();
      await lab.run(1);
      await redis.admin.call('DEBUG', 'RELOAD', 'NOSAVE');
    });
  });

  it('while Redis is stopped, and when it goes on', async () => {
    const redis = await startVictim();
    const lab = await openLab({ redis: at(redis) });
    await endure(lab, async () => {
      process.kill(redis.pid(), 'SIGSTOP');
      await lab.run(2);
      process.kill(redis.pid(), 'SIGCONT');
    });
  });

  it('while Redis is out of memory, with every eviction policy', async () => {
    const redis = await startVictim();
    const lab = await openLab({ redis: at(redis) });
    await endure(lab, async () => {
      for (const policy of EVICTION_POLICIES) {
        const used = /used_memory:(\d+)/.exec(await redis.admin.info('memory'))?.[1];
        await redis.admin.config('SET', 'maxmemory-policy', policy);
        await redis.admin.config('SET', 'maxmemory', String(Number(used) + 100_000));
        // What makes it forget: more than there is room for.
        const filler = 'x'.repeat(1_000);
        const filling = redis.admin.pipeline();
        for (let count = 0; count < 200; count++) filling.set(`filler:${count}`, filler, 'EX', 100);
        await filling.exec();
        await lab.run(0.5);
        await redis.admin.config('SET', 'maxmemory', '0');
      }
      await redis.admin.config('SET', 'maxmemory-policy', 'noeviction');
      const fillers = await redis.admin.keys('filler:*');
      if (fillers.length > 0) await redis.admin.del(...fillers);
    });
  });

  it('while Redis answers READONLY, NOAUTH, NOPERM, OOM, BUSY and LOADING', async () => {
    const folder = await makeFolder();
    const redis = await startVictim(['--dir', folder, '--lua-time-limit', '50']);
    const lab = await openLab({ redis: at(redis) });
    await endure(lab, async () => {
      const { admin } = redis;
      await admin.replicaof('127.0.0.1', 1);
      await lab.run(0.5);
      await admin.replicaof('NO', 'ONE');
      await lab.run(0.3);

      await admin.config('SET', 'requirepass', 'hunter2-hunter2');
      await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      await lab.run(0.5);
      await admin.config('SET', 'requirepass', '');
      await lab.run(0.3);

      await admin.acl('SETUSER', 'default', '-zadd');
      await lab.run(0.5);
      await admin.acl('SETUSER', 'default', '+zadd');
      await lab.run(0.3);

      await admin.config('SET', 'maxmemory', '1');
      await lab.run(0.5);
      await admin.config('SET', 'maxmemory', '0');
      await lab.run(0.3);

      const busy = new Redis(redis.port);
      const loop = busy.eval('while true do end', 0).catch(() => undefined);
      await lab.run(0.7);
      await admin.call('SCRIPT', 'KILL');
      await loop;
      busy.disconnect();

      for (let count = 0; count < 1_000; count++) await admin.set(`filler:${count}`, 'x');
      await admin.save();
      await redis.kill();
      // A millisecond for each of its keys.
      const slow = ['--key-load-delay', '1000'];
      const loading = startRedis({ port: redis.port, args: ['--dir', folder, ...slow] });
      await loading.then((server) => server.stop()).catch(() => undefined);
      await redis.start();
    });
  });

  it('while replies are lost on their way, late, or never come', async () => {
    const redis = await startVictim();
    const link = await startLink(redis.port);
    const lab = await openLab({ redis: { host: '127.0.0.1', port: link.port } });
    await endure(lab, async () => {
      const until = performance.now() + 2_000;
      while (performance.now() < until) {
        link.loseReplies();
        await sleep(20);
      }
      link.delay = 150;
      await lab.run(1);
      link.delay = 700;
      await lab.run(1.5);
      link.delay = 0;
      link.isHalfOpen = true;
      await lab.run(1.5);
      link.isHalfOpen = false;
    });
    expect(link.lost).toBeGreaterThan(20);
  });

  it('while the clock of Redis is wrong by ten minutes, by -5 s, and wobbles', async () => {
    const redis = await startVictim();
    const lab = await openLab({ redis: at(redis), store: { clockCanBeSet: true } });
    await endure(lab, async () => {
      for (const skew of [600, 0, -5, 0, 3, 0, -600, 0]) {
        await redis.admin.set('skew', skew);
        await lab.run(0.7);
      }
      for (let count = 0; count < 40; count++) {
        await redis.admin.set('skew', (Math.random() - 0.5) * 0.3);
        await lab.run(0.05);
      }
      await redis.admin.set('skew', 0);
    });
  });
});

describe('these tests', { timeout: 120_000 }, () => {
  it('find what is wrong with SET NX PX: without any fault, and after FLUSHALL', async () => {
    const redis = await startVictim();
    const lab = await openLab({ redis: at(redis), store: { kind: 'naive' } });
    await lab.run(4);
    const { doubles } = lab.verdict();
    expect(doubles).toBeGreaterThan(0);
    await redis.admin.flushall();
    await lab.run(1);
    const verdict = await lab.end();
    expect(verdict.doubles).toBeGreaterThan(doubles + 10);
    expect(() => expectPromise(verdict)).toThrow('accepted twice');
  });
});
