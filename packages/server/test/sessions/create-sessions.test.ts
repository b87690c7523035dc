import { generateMasterKey, type Identity, MemoryKeyStore } from '@countersign/server';
import { createSessions, type SessionsOptions } from '@countersign/server/sessions';
import { describe, expect, it } from 'vitest';

const NOW = 1_795_299_926;
const keys = new MemoryKeyStore([], () => NOW);
const options: SessionsOptions = {
  issuer: 'video-api',
  masterKey: generateMasterKey(),
  revocations: keys,
};
const grant = { subject: 'alice', scopes: ['a', 'b'], audience: 'video-api' };
const identity: Identity = {
  ...grant,
  accessKeyId: 'key',
  signedAt: NOW,
  expiresAt: NOW + 60,
} as Partial<Identity> as Identity;

describe('createSessions()', () => {
  it.each([undefined, null])('refuses the master key %s, by its name', (masterKey) => {
    const wrong = { ...options, masterKey } as unknown as SessionsOptions;
    expect(() => createSessions(wrong)).toThrow(/^Cannot build sessions: option "masterKey" is /);
  });

  it('lends for an hour if no `ttl` is given, but for no longer than `maxTtl`', async () => {
    const endOf = async (maxTtl: number) =>
      (await createSessions({ ...options, maxTtl }).issue(grant)).expiresAt;
    expect(await endOf(7_200)).toBe(NOW + 3_600);
    expect(await endOf(60)).toBe(NOW + 60);
  });

  it('names the field of a grant that it refuses, and leaves out those without a value', async () => {
    const sessions = createSessions(options);
    await expect(sessions.issue({ ...grant, ttl: 0 })).rejects.toThrow(
      /^Cannot build session: option "ttl" is 0: /,
    );
    const further = { ...grant, further: undefined };
    expect(await sessions.issue(further)).toMatchObject({ expiresAt: NOW + 3_600 });
  });

  it('gives no scope if none was granted', async () => {
    const sessions = createSessions(options);
    const { sessionToken } = await sessions.issue({ ...grant, scopes: [] });
    expect((await sessions.find(sessionToken))?.scopes).toEqual([]);
    const both = await sessions.issue(grant);
    expect((await sessions.find(both.sessionToken))?.scopes).toEqual(['a', 'b']);
  });

  it('says why it lends nothing on an access key', async () => {
    const sessions = createSessions(options);
    await expect(sessions.lend({ ...identity, expiresAt: NOW })).rejects.toMatchObject({
      code: 'ERR_KEY_INACTIVE',
      message: expect.stringMatching(/ends now$/),
    });
    const revoked = new MemoryKeyStore([], () => NOW);
    await revoked.revoke({ subject: 'alice', signedBefore: NOW + 1 });
    await expect(
      createSessions({ ...options, revocations: revoked }).lend(identity),
    ).rejects.toMatchObject({
      code: 'ERR_KEY_INACTIVE',
      message: expect.stringMatching(/what it signed until now is revoked$/),
    });
  });

  it('says that the key store failed if it gives no answer', async () => {
    const failing = {
      beginSession: () => Promise.reject(new Error('no connection')),
      isSessionRevoked: () => Promise.resolve(false),
    };
    const sessions = createSessions({ ...options, revocations: failing });
    await expect(sessions.issue(grant)).rejects.toMatchObject({
      code: 'ERR_KEY_STORE_FAILED',
      message: expect.stringContaining('no connection'),
    });
  });
});
