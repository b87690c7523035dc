import { createSigner } from '@countersign/client';
import {
  createVerifier,
  generateMasterKey,
  type Identity,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import { createSessions, type SessionCredentials } from '@countersign/server/sessions';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { NOW } from '../../../../test/support/now.ts';
import { AUDIENCE, identityOf } from '../keys/key-store-contract.ts';

const clock = () => NOW;

function open() {
  const keys = new MemoryKeyStore([], clock);
  const masterKey = generateMasterKey();
  const sessions = createSessions({ issuer: 'video-api', masterKey, revocations: keys });
  /** Who a request is signed by that is signed with a session. */
  const identityIn = async (credentials: SessionCredentials): Promise<Identity> => {
    const signer = createSigner({ credentials, audience: AUDIENCE, clock });
    const { headers } = await signer.sign({ method: 'GET', url: 'http://api.test/' });
    const nonces = new MemoryNonceStore({ clock, bornAt: 0 });
    const verifier = createVerifier({ audience: AUDIENCE, keys, sessions, nonces, clock });
    return verifier.verify({ method: 'GET', url: '/', headers: { ...headers, host: 'api.test' } });
  };
  return { keys, sessions, identityIn };
}

describe('session credentials', () => {
  it('cannot be lent on, neither those of a login nor those that were lent themselves', async () => {
    const { keys, sessions, identityIn } = open();
    const issued = await sessions.issue({ subject: 'alice', scopes: ['a'], audience: AUDIENCE });
    const key = await keys.create({ subject: 'alice', scopes: ['a'] });
    const lent = await sessions.lend(await identityOf(keys, key, NOW));
    for (const credentials of [issued, lent]) {
      const identity = await identityIn(credentials);
      expect(identity.accessKeyId).toBe(credentials.accessKeyId);
      await expect(sessions.lend(identity)).rejects.toMatchObject({
        code: 'ERR_SCOPE_MISSING',
        message: 'Session credentials cannot be lent on: sign with the access key',
      });
    }
  });

  it('have no scope of which the key has only the beginning, the end or the parts', async () => {
    const { keys, sessions } = open();
    const key = await keys.create({ subject: 'alice', scopes: ['videos:parse', 'admin:read'] });
    const identity = await identityOf(keys, key, NOW);
    for (const scope of [
      'videos',
      'parse',
      'videos:parse admin:read',
      'admin:rea',
      'VIDEOS:PARSE',
      '',
    ])
      await expect(sessions.lend(identity, { scopes: [scope] }), scope).rejects.toMatchObject({
        code: 'ERR_SCOPE_MISSING',
        message: `The access key does not have the scope ${JSON.stringify(scope)}`,
      });
    const lent = await sessions.lend(identity, { scopes: ['admin:read'] });
    expect((await sessions.find(lent.sessionToken))?.scopes).toEqual(['admin:read']);
  });

  it('end within two minutes when the master key that they are sealed with is gone', async () => {
    const time = vi.spyOn(performance, 'now').mockReturnValue(0);
    onTestFinished(() => time.mockRestore());
    const only = generateMasterKey('only');
    let isThere = true;
    const sessions = createSessions({
      issuer: 'video-api',
      masterKey: (id) => (isThere && (id === undefined || id === 'only') ? only : undefined),
      revocations: new MemoryKeyStore([], clock),
    });
    const grant = { subject: 'alice', scopes: [], audience: AUDIENCE };
    const { sessionToken } = await sessions.issue(grant);
    const subjectAt = async (milliseconds: number): Promise<string | undefined> => {
      time.mockReturnValue(milliseconds);
      return (await sessions.find(sessionToken))?.subject;
    };
    expect(await subjectAt(0)).toBe('alice');
    isThere = false;
    expect(await subjectAt(60_000)).toBe('alice');
    expect(await subjectAt(120_001)).toBeUndefined();
    expect(await subjectAt(125_002)).toBeUndefined();
  });
});
