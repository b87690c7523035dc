import type { ClaimOutcome, NonceClaim } from '@countersign/server';
import { describe, expect, it } from 'vitest';
import { claimOf, epochOf, type StoreUnderTest } from './nonce-store-contract.ts';

/** A store to test, whose owners have room for so many nonces. */
export interface BudgetUnderTest extends Pick<StoreUnderTest, 'servers' | 'now'> {
  /** Makes room: all expires that is acceptable for 20 seconds more at most. */
  expire(): void | Promise<void>;
}

const LIMIT = 5;

/** What every nonce store that is shared by several owners must do. */
export function nonceBudgetContract(
  name: string,
  makeStore: (perSubject: number) => BudgetUnderTest | Promise<BudgetUnderTest>,
): void {
  async function make() {
    const made = await makeStore(LIMIT);
    const now = Math.floor(await made.now());
    const epochs = new Map<string, string>();
    let servers = 0;
    /** Claims on one server after the other. */
    async function claim(owner: string, more: Partial<NonceClaim> = {}): Promise<ClaimOutcome> {
      const server = made.servers[servers++ % made.servers.length] as (typeof made.servers)[0];
      const accessKeyId = more.accessKeyId ?? owner;
      const epoch = epochs.get(accessKeyId) ?? (await epochOf(server, now, accessKeyId));
      epochs.set(accessKeyId, epoch);
      return server.claim(claimOf(now, { accessKeyId, owner, epoch, ...more }));
    }
    async function fill(owner: string, more: Partial<NonceClaim> = {}): Promise<void> {
      for (let count = 0; count < LIMIT; count++)
        expect((await claim(owner, more)).outcome).toBe('claimed');
      expect((await claim(owner, more)).outcome).toBe('exhausted');
    }
    return { ...made, claim, fill, now };
  }

  describe(`${name} budgets`, () => {
    it('refuse an owner that has as many live nonces as one may have, and no other owner', async () => {
      const { claim, fill } = await make();
      await fill('mallory');
      const refused = await claim('mallory');
      expect(refused).toEqual({
        outcome: 'exhausted',
        epoch: expect.any(String),
        retryAfter: expect.any(Number),
        limit: LIMIT,
      });
      const { retryAfter } = refused as { retryAfter: number };
      expect(Number.isInteger(retryAfter)).toBe(true);
      expect(retryAfter).toBeGreaterThanOrEqual(1);
      expect(retryAfter).toBeLessThanOrEqual(140);
      await fill('alice');
      await fill('bob');
    });

    it('count all access keys and sessions of an owner together', async () => {
      const { claim, fill } = await make();
      for (let count = 0; count < LIMIT; count++) {
        const session = { accessKeyId: `session-${count}` };
        expect((await claim('mallory', session)).outcome).toBe('claimed');
      }
      expect((await claim('mallory', { accessKeyId: 'key' })).outcome).toBe('exhausted');
      expect((await claim('mallory', { accessKeyId: 'session' })).outcome).toBe('exhausted');
      await fill('alice');
    });

    it('are the access key’s where no owner is told', async () => {
      const { fill } = await make();
      await fill('ignored', { accessKeyId: 'CSAK1', owner: undefined });
      await fill('ignored', { accessKeyId: 'CSAK2', owner: undefined });
    });

    it('keep owners of one name apart that use different audiences', async () => {
      const { fill } = await make();
      await fill('alice', { audience: 'video-api' });
      await fill('alice', { audience: 'audio-api' });
    });

    it('take no text for another owner', async () => {
      const { fill } = await make();
      const owners = ['__proto__', 'floor', '', ' ', 'a\n', 'a', '0', 'é', 'x'.repeat(1_024)];
      for (const owner of owners) await fill(owner, { accessKeyId: 'CSAK1' });
    });

    it('keep presigned URLs and requests apart', async () => {
      const { fill, now } = await make();
      await fill('alice', { presigned: true, acceptableUntil: now + 3_600 });
      await fill('alice');
      await fill('bob');
      await fill('bob', { presigned: true, acceptableUntil: now + 3_600 });
    });

    it('say of a replay that it is one, even if its owner is refused', async () => {
      const { claim, fill, servers, now } = await make();
      const epoch = await epochOf(servers[0], now, 'mallory');
      const first = claimOf(now, { accessKeyId: 'mallory', owner: 'mallory', epoch });
      expect((await servers[0].claim(first)).outcome).toBe('claimed');
      for (let count = 1; count < LIMIT; count++) await claim('mallory');
      expect((await claim('mallory')).outcome).toBe('exhausted');
      for (const server of servers) expect((await server.claim(first)).outcome).toBe('replayed');
      await fill('alice');
    });

    it('are used up by nothing that was refused', async () => {
      const { claim, servers, now, fill } = await make();
      const epoch = await epochOf(servers[0], now, 'alice');
      const first = claimOf(now, { accessKeyId: 'alice', owner: 'alice', epoch });
      for (let copies = 0; copies < 3 * LIMIT; copies++) await servers[0].claim(first);
      for (let count = 0; count < 3 * LIMIT; count++) {
        const stale = claimOf(now - 1_000, { accessKeyId: 'alice', owner: 'alice', epoch });
        expect((await servers[0].claim(stale)).outcome).toBe('stale');
        const early = claimOf(now + 1_000, { accessKeyId: 'alice', owner: 'alice', epoch });
        expect((await servers[0].claim(early)).outcome).toBe('early');
        const unsure = { accessKeyId: 'alice', owner: 'alice', epoch: 'A'.repeat(22) };
        expect((await servers[0].claim(claimOf(now, unsure))).outcome).toBe('uncertain');
      }
      for (let count = 1; count < LIMIT; count++)
        expect((await claim('alice')).outcome).toBe('claimed');
      expect((await claim('alice')).outcome).toBe('exhausted');
      await fill('bob');
    });

    it('hold for claims that come at once', async () => {
      const { servers, now } = await make();
      const epoch = await epochOf(servers[0], now, 'mallory');
      const claims = Array.from({ length: 50 }, (_, count) =>
        (servers[count % servers.length] ?? servers[0]).claim(
          claimOf(now, { accessKeyId: 'mallory', owner: 'mallory', epoch }),
        ),
      );
      const outcomes = (await Promise.all(claims)).map(({ outcome }) => outcome);
      // One that is refused takes with it what was signed in the same second and is not claimed
      // yet: on another server that may be all.
      expect(outcomes.filter((outcome) => outcome === 'claimed').length).toBeLessThanOrEqual(LIMIT);
      expect(new Set([...outcomes, 'claimed'])).toEqual(new Set(['claimed', 'exhausted']));
    });

    it('never let in what was refused, or was signed before, though there is room again', async () => {
      const { servers, now, fill, claim, expire } = await make();
      const epoch = await epochOf(servers[0], now, 'alice');
      const of = (signedAt: number) =>
        claimOf(signedAt, { accessKeyId: 'alice', owner: 'alice', epoch });
      await fill('alice', { signedAt: now - 100, acceptableUntil: now + 20 });
      const refused = of(now);
      const captured = of(now - 1);
      expect((await servers[0].claim(refused)).outcome).toBe('exhausted');
      await expire();
      for (const server of servers)
        for (const copy of [refused, captured])
          expect(await server.claim(copy)).toMatchObject({ outcome: 'exhausted', limit: LIMIT });
      // Its client has signed it again.
      expect((await servers[0].claim(of(now + 1))).outcome).toBe('claimed');
      expect((await claim('bob')).outcome).toBe('claimed');
    });

    it('let in a presigned URL that was refused, once there is room: it is not signed again', async () => {
      const { servers, now, fill, expire } = await make();
      const epoch = await epochOf(servers[0], now, 'alice');
      const url = { presigned: true, acceptableUntil: now + 3_600 };
      await fill('alice', { presigned: true, acceptableUntil: now + 20 });
      const refused = claimOf(now, { accessKeyId: 'alice', owner: 'alice', epoch, ...url });
      expect((await servers[0].claim(refused)).outcome).toBe('exhausted');
      await expire();
      expect((await servers[0].claim(refused)).outcome).toBe('claimed');
      expect((await servers[0].claim(refused)).outcome).toBe('replayed');
    });
  });
}
