import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { endure, expectPromise, FLOOR, type Lab, openLab } from './lab.ts';
import { type Link, startLink } from './link.ts';
import { at, makeHasty, startSentinel, startVictim, type Victim } from './victim.ts';

/**
 * Replicas are in step at once, not after the five seconds for which a master waits for more of
 * them.
 */
const QUICK = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];

/** A master with two replicas that follow it, and are in step. */
async function startReplicated(): Promise<[Victim, Victim, Victim]> {
  const [master, ...replicas] = await Promise.all([
    startVictim(QUICK),
    startVictim(QUICK),
    startVictim(QUICK),
  ]);
  for (const replica of replicas) await follow(replica, master);
  await Promise.all(replicas.map((replica) => untilInStep(replica)));
  return [master, replicas[0] as Victim, replicas[1] as Victim];
}

async function follow(replica: Victim, master: Victim): Promise<void> {
  await replica.admin.replicaof(master.host, master.port);
}

async function untilInStep({ admin }: Victim): Promise<void> {
  const until = performance.now() + 20_000;
  while (!(await admin.info('replication')).includes('master_link_status:up')) {
    if (performance.now() > until) throw new Error('Cannot wait longer for a replica');
    await sleep(20);
  }
}

const promote = ({ admin }: Victim) => admin.replicaof('NO', 'ONE');

/** How many honest requests of these verifiers were accepted after a moment. */
const acceptedSince = ({ traffic }: Lab, since: number, verifiers: readonly number[]): number =>
  traffic.log.filter(
    ({ at: when, status, sender, verifier }) =>
      when >= since && status === 200 && sender !== 'replay' && verifiers.includes(verifier),
  ).length;

/** Verifiers 0 and 1 on one way to Redis, 2 and 3 on another. */
async function openSplitLab(
  master: Victim,
  store: { readonly [option: string]: unknown } = { waitForReplicas: 1 },
): Promise<{ lab: Lab; ways: [Link, Link] }> {
  const ways: [Link, Link] = [await startLink(master.port), await startLink(master.port)];
  const redis = [0, 0, 1, 1].map((way) => ({ host: '127.0.0.1', port: (ways[way] as Link).port }));
  return { lab: await openLab({ redis, store }), ways };
}

describe('nothing is accepted twice, and every client is served again', {
  timeout: 600_000,
}, () => {
  it('after a lagging replica was promoted', async () => {
    let [master, next, other] = await startReplicated();
    const way = await startLink(master.port);
    // Not told to wait for replicas: that there are any is enough.
    const lab = await openLab({ redis: { host: '127.0.0.1', port: way.port } });
    await endure(lab, async () => {
      process.kill(next.pid(), 'SIGSTOP');
      await lab.run(1);
      await master.kill();
      process.kill(next.pid(), 'SIGCONT');
      await promote(next);
      await follow(other, next);
      way.lead(next.port);
      await untilInStep(other);
      await master.start();
      await follow(master, next);
      await untilInStep(master);
      [master, next, other] = [next, other, master];
    });
  });

  it('while two masters are each believed to be the one', async () => {
    const [master, next, other] = await startReplicated();
    const { lab, ways } = await openSplitLab(master);
    await endure(lab, async () => {
      // The master is cut off from its replicas, and two verifiers from all the others.
      await promote(next);
      await follow(other, next);
      ways[1].lead(next.port);
      await untilInStep(other);
      const since = performance.now();
      lab.traffic.reachable = [2, 3];
      await lab.untilServed();
      lab.traffic.reachable = [0, 1, 2, 3];
      await lab.run(FLOOR + 2);
      expect(acceptedSince(lab, since, [2, 3])).toBeGreaterThan(20);
      expect(acceptedSince(lab, since + 500, [0, 1])).toBe(0);
      // Healed: the old master is the one again, and the others follow it.
      await follow(next, master);
      await follow(other, master);
      ways[1].lead(master.port);
      await Promise.all([untilInStep(next), untilInStep(other)]);
    });
  });

  it('while a replica moves late to the new master', async () => {
    const [master, next, other] = await startReplicated();
    const { lab, ways } = await openSplitLab(master);
    await endure(lab, async () => {
      await promote(next);
      ways[1].lead(next.port);
      const since = performance.now();
      await lab.run(FLOOR + 1);
      // Still acknowledged by the replica that stayed; the new master has none.
      expect(acceptedSince(lab, since, [0, 1])).toBeGreaterThan(20);
      expect(acceptedSince(lab, since, [2, 3])).toBe(0);
      await follow(other, next);
      await untilInStep(other);
      const moved = performance.now();
      await lab.run(FLOOR + 1);
      expect(acceptedSince(lab, moved, [2, 3])).toBeGreaterThan(20);
      expect(acceptedSince(lab, moved + 500, [0, 1])).toBe(0);
      await follow(next, master);
      await follow(other, master);
      ways[1].lead(master.port);
      await Promise.all([untilInStep(next), untilInStep(other)]);
    });
  });

  it('while a replica flaps between two masters', async () => {
    const [master, next, other] = await startReplicated();
    const { lab, ways } = await openSplitLab(master);
    await endure(lab, async () => {
      await promote(next);
      ways[1].lead(next.port);
      for (let flap = 0; flap < 8; flap++) {
        await follow(other, flap % 2 === 0 ? next : master);
        await untilInStep(other);
        await lab.run(0.3 + 0.2 * (flap % 4));
      }
      await follow(next, master);
      await follow(other, master);
      ways[1].lead(master.port);
      await Promise.all([untilInStep(next), untilInStep(other)]);
    });
  });

  it('after a failover by Sentinel', async () => {
    let replicated = await startReplicated();
    const sentinel = await startSentinel(replicated[0]);
    const lab = await openLab({
      redis: { sentinels: [at(sentinel)] },
      store: { waitForReplicas: 1 },
    });
    await endure(lab, async () => {
      const [master, ...replicas] = replicated;
      // Sentinel has to know whom it can promote.
      await untilReplicasKnown(sentinel, 2);
      await makeHasty(sentinel, true);
      await master.kill();
      const next = await untilPromoted(replicas);
      // What it has not heard of for half a second may be there all the same.
      await makeHasty(sentinel, false);
      await lab.run(1);
      await master.start();
      replicated = [
        next,
        ...[master, ...replicas].filter((it) => it !== next),
      ] as typeof replicated;
    });
  });
});

async function untilReplicasKnown({ admin }: Victim, replicas: number): Promise<void> {
  const until = performance.now() + 30_000;
  for (;;) {
    const known = (await admin.call('SENTINEL', 'REPLICAS', 'nonces')) as string[][];
    const good = known.filter(
      (it) =>
        it[it.indexOf('flags') + 1] === 'slave' &&
        it[it.indexOf('master-link-status') + 1] === 'ok',
    );
    if (good.length >= replicas) return;
    if (performance.now() > until) throw new Error('Cannot wait longer for Sentinel');
    await sleep(50);
  }
}

async function untilPromoted(replicas: readonly Victim[]): Promise<Victim> {
  const until = performance.now() + 30_000;
  for (;;) {
    for (const replica of replicas)
      if ((await replica.admin.info('replication')).includes('role:master')) return replica;
    if (performance.now() > until) throw new Error('Cannot wait longer for a new master');
    await sleep(20);
  }
}

describe('these tests', { timeout: 120_000 }, () => {
  it('find what happens where replicas are not waited for', async () => {
    const [master, next] = await startReplicated();
    const { lab, ways } = await openSplitLab(master, { waitForReplicas: 0 });
    await promote(next);
    ways[1].lead(next.port);
    await lab.run(FLOOR + 3);
    const verdict = await lab.end();
    expect(verdict.doubles).toBeGreaterThan(0);
    expect(() => expectPromise(verdict)).toThrow('accepted twice');
  });
});
