import { MemoryKeyStore } from '@countersign/server';
import { describe, expect, it } from 'vitest';
import { NOW } from '../../../../test/support/now.ts';
import { judge } from './key-store-contract.ts';

describe('a key that takes the place of another', () => {
  it('works also if keys of its subject were revoked before', async () => {
    const keys = new MemoryKeyStore([], () => NOW);
    await keys.create({ subject: 'alice' });
    await keys.revoke({ subject: 'alice' });
    const old = await keys.create({ subject: 'alice' });
    const fresh = await keys.rotate(old.accessKeyId, { overlap: 60 });
    for (const key of [old, fresh]) expect(await judge(keys, key)).toBe('accepted');
    // It is one of those that the subject has now.
    await keys.revoke({ subject: 'alice' });
    for (const key of [old, fresh])
      expect(await judge(keys, key)).toBe('ERR_KEY_INACTIVE: it is revoked');
  });

  it('is revoked with all of its subject, whenever that happens while it is made', async () => {
    for (let turns = 0; turns < 12; turns++) {
      const keys = new MemoryKeyStore([], () => NOW);
      const { accessKeyId } = await keys.create({ subject: 'alice' });
      const rotating = keys.rotate(accessKeyId, { overlap: 60 }).catch((error) => error);
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      await keys.revoke({ subject: 'alice' });
      await rotating;
      const statuses = (await keys.list()).map(({ status }) => status);
      expect(new Set(statuses), `after ${turns} turns`).toEqual(new Set(['revoked']));
    }
  });

  it('is made of a key as it is, and of none that is revoked', async () => {
    const keys = new MemoryKeyStore([], () => NOW);
    const { accessKeyId } = await keys.create({ subject: 'alice' });
    await keys.revoke({ subject: 'alice' });
    await expect(keys.rotate(accessKeyId, { overlap: 60 })).rejects.toMatchObject({
      code: 'ERR_KEY_REVOKED',
    });
    expect(await keys.list()).toHaveLength(1);
  });
});
