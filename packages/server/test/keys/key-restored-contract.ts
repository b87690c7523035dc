import type { ManagedKeyStore } from '@countersign/server';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { AUDIENCE, createTestSessions, judge } from './key-store-contract.ts';

/** Where a store lies, of which copies can be made and put back. */
export interface RestorablePlace {
  /** Another server. It is closed when the test is over. */
  open(): ManagedKeyStore;
  /**
   * What the store is now.
   *
   * @returns puts it back. `meanwhile` runs once it is there, before the servers that run can see
   * it, if the place allows that
   */
  copy(): Promise<(meanwhile?: () => Promise<void>) => Promise<void>>;
}

const FAILED = /^ERR_KEY_STORE_FAILED: .*went back in time/;
const REVOKED = 'ERR_KEY_INACTIVE: it is revoked';

/** What a key store must do if an older copy of it is restored. */
export function restoredStoreContract(name: string, make: () => Promise<RestorablePlace>): void {
  describe(`${name} of which an older copy is restored`, () => {
    async function begin() {
      const warnings: Error[] = [];
      const record = (warning: Error) => void warnings.push(warning);
      process.on('warning', record);
      onTestFinished(() => void process.off('warning', record));
      const place = await make();
      const [admin, edge] = [place.open(), place.open()];
      const [good, bad] = [await admin.create({ subject: 'alice' }), await admin.create()];
      const session = await createTestSessions(admin).issue({
        subject: 'alice',
        scopes: [],
        audience: AUDIENCE,
      });
      const all = [good, bad, session];
      const answers = (keys: ManagedKeyStore) => Promise.all(all.map((it) => judge(keys, it)));
      for (const keys of [admin, edge])
        expect(await answers(keys)).toEqual(['accepted', 'accepted', 'accepted']);
      const revokeAgain = async (keys: ManagedKeyStore) => {
        await keys.revoke({ accessKeyId: bad.accessKeyId });
        await keys.revoke({ accessKeyId: session.accessKeyId });
      };
      const ended = ['accepted', REVOKED, REVOKED];
      const come = (keys: ManagedKeyStore, expected: unknown) =>
        vi.waitFor(async () => expect(await answers(keys)).toEqual(expected), 20_000);
      return { place, admin, edge, warnings, good, bad, answers, revokeAgain, ended, come };
    }
    const refused = Array.from({ length: 3 }, () => expect.stringMatching(FAILED));

    it('refuses everything on servers that saw more, until that is accepted', async () => {
      const it = await begin();
      const { place, admin, edge, warnings, bad, revokeAgain, ended, come } = it;
      const restore = await place.copy();
      await revokeAgain(admin);
      for (const keys of [admin, edge]) await come(keys, ended);
      await restore();
      // From now on what was revoked is never accepted.
      for (const keys of [admin, edge])
        await vi.waitFor(async () => {
          const answers = await it.answers(keys);
          expect(answers.slice(1)).not.toContain('accepted');
          expect(answers).toEqual(refused);
        }, 20_000);
      // Node tells of a warning a moment after it was emitted.
      await vi.waitFor(() =>
        expect(warnings).toMatchObject([
          {
            code: 'COUNTERSIGN_KEY_STORE_WENT_BACK',
            message: expect.stringContaining('went back in time'),
          },
          { code: 'COUNTERSIGN_KEY_STORE_WENT_BACK' },
        ]),
      );
      const code = 'ERR_STORE_WENT_BACK';
      await expect(edge.create()).rejects.toMatchObject({ code });
      await expect(edge.beginSession('alice')).rejects.toMatchObject({ code });
      // A server that starts now cannot know.
      const fresh = place.open();
      expect(await judge(fresh, bad)).toBe('accepted');

      await revokeAgain(edge);
      expect(await it.answers(edge)).toEqual(refused);
      await fresh.acceptRestore();
      for (const keys of [admin, edge, fresh]) await come(keys, ended);
      expect(await judge(edge, await edge.create())).toBe('accepted');
    });

    it('notices that though as much was changed since as was lost', async () => {
      const { place, admin, edge, ended, come, revokeAgain, good } = await begin();
      const restore = await place.copy();
      await revokeAgain(admin);
      for (const keys of [admin, edge]) await come(keys, ended);
      await restore(async () => {
        const fresh = place.open();
        for (let change = 0; change < 3; change++) await fresh.enable(good.accessKeyId);
      });
      await come(edge, refused);
      // Nor does it help that more is changed than the store remembers.
      const fresh = place.open();
      for (let change = 0; change < 70; change++) await fresh.enable(good.accessKeyId);
      await come(edge, refused);
    });

    it('goes on if the newest copy is there again, or nothing was changed since', async () => {
      const { place, admin, edge, warnings, ended, come, revokeAgain } = await begin();
      const older = await place.copy();
      await older();
      for (const keys of [admin, edge]) await come(keys, ['accepted', 'accepted', 'accepted']);
      expect(warnings).toEqual([]);
      await revokeAgain(admin);
      for (const keys of [admin, edge]) await come(keys, ended);
      const newest = await place.copy();
      await older();
      await come(edge, refused);
      await newest();
      for (const keys of [admin, edge]) await come(keys, ended);
    });

    it('is not deceived by a copy in which an older restore was accepted', async () => {
      const { place, admin, edge, ended, come, revokeAgain } = await begin();
      await admin.acceptRestore();
      const restore = await place.copy();
      await revokeAgain(admin);
      await admin.acceptRestore();
      for (const keys of [admin, edge]) await come(keys, ended);
      await restore();
      await come(edge, refused);
    });
  });
}
