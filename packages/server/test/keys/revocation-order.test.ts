import { generateAccessKey, MemoryKeyStore } from '@countersign/server';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { NOW } from '../../../../test/support/now.ts';
import { judge } from './key-store-contract.ts';

describe('what was signed before a moment', () => {
  it.each(['alice', undefined])(
    'stays revoked if an earlier moment is named later, by %s',
    async (subject) => {
      let now = NOW;
      const keys = new MemoryKeyStore([], () => now);
      const whose = subject === undefined ? {} : { subject };
      const key = await keys.create({ subject: 'alice' });
      const begun = async (at: number) => {
        now = at;
        const session = {
          ...(await keys.beginSession('alice')),
          parent: undefined,
          subject: 'alice',
        };
        return { ...session, accessKeyId: `CSSK${'A'.repeat(20)}` };
      };
      const [early, late] = [await begun(NOW + 5), await begun(NOW + 20)];
      now = NOW + 30;
      await keys.revoke({ ...whose, signedBefore: NOW + 10 });
      await keys.revoke({ ...whose, signedBefore: NOW + 2 });
      expect(await keys.isSessionRevoked(early)).toBe(true);
      expect(await keys.isSessionRevoked(late)).toBe(false);
      const verdict = (signedAt: number) => judge(keys, key, { signedAt, now });
      expect(await verdict(NOW + 9)).toBe('ERR_KEY_INACTIVE: what it signed until then is revoked');
      expect(await verdict(NOW + 10)).toBe('accepted');
    },
  );

  it('lies ahead by no more than clocks may differ', async () => {
    const keys = new MemoryKeyStore([], () => NOW);
    await keys.revoke({ signedBefore: NOW + 5 });
    await expect(keys.revoke({ signedBefore: NOW + 6 })).rejects.toThrow(
      `Cannot revoke what is signed before ${NOW + 6}: it is 6 s ahead`,
    );
  });
});

describe('a revoked session', () => {
  it('is remembered for thirty days longer than any could live, and no longer', async () => {
    const time = vi.spyOn(performance, 'now').mockReturnValue(0);
    onTestFinished(() => time.mockRestore());
    let now = NOW;
    const keys = new MemoryKeyStore([], () => now);
    const accessKeyId = `CSSK${'A'.repeat(20)}`;
    const session = { ...(await keys.beginSession('alice')), parent: undefined, subject: 'alice' };
    await keys.revoke({ accessKeyId });
    const isRevokedAt = async (seconds: number): Promise<boolean> => {
      now = NOW + seconds;
      time.mockReturnValue(seconds * 1000);
      // Whatever is written makes a store forget what is over.
      await keys.create();
      return keys.isSessionRevoked({ ...session, accessKeyId });
    };
    for (const seconds of [7 * 86_400, 30 * 86_400 + 3_606, 37 * 86_400 + 5])
      expect(await isRevokedAt(seconds), `${seconds} s later`).toBe(true);
    expect(await isRevokedAt(37 * 86_400 + 60)).toBe(false);
  });
});

describe('a key that is found', () => {
  it('cannot be changed for other requests, in no part', async () => {
    const key = generateAccessKey({ scopes: ['a'], audiences: ['video-api'] });
    const keys = new MemoryKeyStore([key]);
    const found = await keys.find(key.accessKeyId);
    for (const part of [found, found?.scopes, found?.audiences])
      expect(Object.isFrozen(part)).toBe(true);
    expect(await keys.find(key.accessKeyId)).toEqual(key);
  });
});
