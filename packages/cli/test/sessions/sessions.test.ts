import { join } from 'node:path';
import { FileKeyStore, masterKeyFile } from '@countersign/server/file';
import { createSessions } from '@countersign/server/sessions';
import { describe, expect, it } from 'vitest';
import { NOW, newFolder, runner } from '../support.ts';

async function begin() {
  const path = join(await newFolder(), 'keys.json');
  const env = { COUNTERSIGN_STORE: `file:${path}`, COUNTERSIGN_ISSUER: 'video-api' };
  const masterKey = masterKeyFile(`${path}.master-key`);
  // A new server sees the changes at once. A running one would see them a moment later.
  const find = async (token: string) => {
    const revocations = new FileKeyStore({ path, masterKey, clock: () => NOW });
    try {
      return await createSessions({ issuer: 'video-api', masterKey, revocations }).find(token);
    } finally {
      await revocations.close();
    }
  };
  const commands = runner(env);
  await commands.run('keys init');
  return { ...commands, find };
}

describe('sessions', () => {
  it('are issued: a server accepts them, and they are printed once', async () => {
    const { json, find, count } = await begin();
    const credentials = await json(
      'sessions issue --subject alice --audience video-api --scope videos:parse --scope videos:list --ttl 15m',
    );
    expect(credentials.expiresAt).toBe(NOW + 900);
    expect(credentials.accessKeyId).toMatch(/^CSSK[0-9A-Z]{20}$/);
    expect(await find(credentials.sessionToken)).toMatchObject({
      accessKeyId: credentials.accessKeyId,
      secretAccessKey: credentials.secretAccessKey,
      subject: 'alice',
      scopes: ['videos:parse', 'videos:list'],
      audiences: ['video-api'],
      status: 'active',
    });
    await json(`sessions revoke ${credentials.accessKeyId} --yes`);
    expect(count(credentials.secretAccessKey)).toBe(1);
  });

  it('are printed for people; by default they last an hour and have no scopes', async () => {
    const { run, find } = await begin();
    const { stdout, stderr } = await run(
      'sessions issue --subject alice --audience video-api --issuer video-api',
    );
    const [, token = ''] = /^Session token +(\S+)$/m.exec(stdout) ?? [];
    expect(stdout).toMatch(
      /^Access key ID +CSSK\w{20}\nSecret access key +[\w-]{43}\nSession token .*\nExpires +2026-11-24 23:30:05 UTC\n$/,
    );
    expect(stderr).toMatch(/^Save the session credentials now: they are not shown again$/m);
    expect(await find(token)).toMatchObject({ scopes: [], expiresAt: NOW + 3_600 });
  });

  it('of another issuer are refused by the server', async () => {
    const { json, find } = await begin();
    const line = 'sessions issue --subject alice --audience video-api --issuer other-api';
    expect(await find((await json(line)).sessionToken)).toBeUndefined();
  });

  it('are ended one by one, by subject, and all together, without access keys', async () => {
    const { run, json, find } = await begin();
    const keys = [
      await json('keys create --subject alice'),
      await json('keys create --subject bob'),
    ];
    const statusesOfKeys = async () =>
      Promise.all(
        keys.map(async ({ accessKeyId }) => (await json(`keys show ${accessKeyId}`)).status),
      );
    const issue = async (subject: string) =>
      json(`sessions issue --subject ${subject} --audience video-api`);
    const [one, two, bobs] = [await issue('alice'), await issue('alice'), await issue('bob')];
    const statuses = async () =>
      Promise.all(
        [one, two, bobs].map(async ({ sessionToken }) => (await find(sessionToken))?.status),
      );
    expect(await statuses()).toEqual(['active', 'active', 'active']);
    const told = await run(`sessions revoke ${one.accessKeyId} --yes`);
    expect(told).toEqual({
      code: 0,
      stdout: '',
      stderr: `Revoked session ${one.accessKeyId} permanently, if it was ever issued: sessions are not stored\n`,
    });
    expect(await statuses()).toEqual(['revoked', 'active', 'active']);
    expect(await statusesOfKeys()).toEqual(['active', 'active']);
    await json('sessions revoke --subject alice --yes');
    expect(await statuses()).toEqual(['revoked', 'revoked', 'active']);
    expect(await statusesOfKeys()).toEqual(['active', 'active']);
    await json('sessions revoke --everybody --yes');
    expect(await statuses()).toEqual(['revoked', 'revoked', 'revoked']);
    expect(await statusesOfKeys()).toEqual(['active', 'active']);
  });
});
