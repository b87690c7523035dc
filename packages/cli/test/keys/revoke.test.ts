import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { generateMasterKey } from '@countersign/server';
import { describe, expect, it } from 'vitest';
import { newFolder, runner, UNKNOWN } from '../support.ts';

async function begin() {
  const path = join(await newFolder(), 'keys.json');
  const [old, fresh] = [generateMasterKey('old'), generateMasterKey('new')];
  const env = {
    COUNTERSIGN_STORE: `file:${path}`,
    COUNTERSIGN_ISSUER: 'video-api',
    COUNTERSIGN_MASTER_KEY: old,
  };
  const { run, json } = runner(env);
  return {
    url: env.COUNTERSIGN_STORE,
    run,
    json,
    /** The document of a command that fails. */
    failure: async (line: string) => {
      const { code, stdout } = await run(`${line} --json`);
      return { exit: code, ...JSON.parse(stdout).error };
    },
    told: async (line: string) => {
      const { code, stderr } = await run(`${line} --yes`);
      return [code, stderr];
    },
    issue: (subject: string) => json(`sessions issue --subject ${subject} --audience video-api`),
    statusOf: async (id: string) => (await json(`keys show ${id}`)).status,
    /** The first seals; all can decrypt. */
    giveMasterKeys: (...names: ('old' | 'new')[]) => {
      const keys = { old, new: fresh };
      env.COUNTERSIGN_MASTER_KEY = names.map((name) => keys[name]).join(',');
    },
  };
}

describe('keys revoke', () => {
  it.each(['--subject alise', '--subject alise --signed-before now'])(
    '%s fails if there is nothing of that subject, before it asks',
    async (line) => {
      const { url, json, failure } = await begin();
      await json('keys create --subject alice');
      expect(await failure(`keys revoke ${line}`)).toEqual({
        exit: 1,
        code: 'ERR_NOTHING_REVOKED',
        message: `Revoked nothing: there is no access key of "alise" in ${url}, and no session was ever issued with it`,
      });
    },
  );

  it('--signed-before fails if there is neither a key nor a session', async () => {
    const { url, run, failure } = await begin();
    await run('keys init');
    expect(await failure('keys revoke --signed-before now --yes')).toEqual({
      exit: 1,
      code: 'ERR_NOTHING_REVOKED',
      message: `Revoked nothing: there is no access key in ${url}, and no session was ever issued with it`,
    });
  });

  it('--subject revokes sessions of a subject without keys, and fails: the name may be misspelt', async () => {
    const { url, json, failure, told, issue } = await begin();
    await json('keys create --subject alice');
    await issue('bob');
    expect(await failure('keys revoke --subject bob --yes')).toEqual({
      exit: 1,
      code: 'ERR_SUBJECT_UNKNOWN',
      message: `There is no access key of "bob" in ${url}; revoked the sessions issued to it until now, if there are any; check the name`,
    });
    // A key that the subject gets later works, and the present keys are revoked.
    await json('keys create --subject bob');
    expect(await told('keys revoke --subject bob')).toEqual([
      0,
      'Revoked 1 access key of "bob" permanently, and all sessions issued to it until now\n',
    ]);
  });

  it('says how many keys it reaches, and how many were revoked before', async () => {
    const { json, told } = await begin();
    const { accessKeyId } = await json('keys create --subject alice');
    await json('keys create --subject alice');
    await json('keys create --subject alice');
    await json('keys create --subject bob');
    await json(`keys revoke ${accessKeyId} --yes`);
    expect(await told('keys revoke --signed-before 2026-11-24T22:00Z')).toEqual([
      0,
      'Revoked what all subjects signed before 2026-11-24 22:00:00 UTC with 3 access keys (besides 1 revoked before), and the sessions that began before\n',
    ]);
    expect(await json('keys revoke --subject alice --yes')).toEqual({
      revoked: { subject: 'alice' },
      accessKeys: 2,
    });
    expect(await told('keys revoke --subject alice')).toEqual([
      0,
      'Revoked 0 access keys (besides 3 revoked before) of "alice" permanently, and all sessions issued to it until now\n',
    ]);
  });

  it('--subject revokes keys that cannot be read if they are of that subject, and fails', async () => {
    const { url, json, failure, statusOf, giveMasterKeys } = await begin();
    const { accessKeyId } = await json('keys create --subject alice');
    giveMasterKeys('new', 'old');
    await json('keys create --subject bob');
    giveMasterKeys('new');
    expect(await failure('keys revoke --subject alice --yes')).toEqual({
      exit: 1,
      code: 'ERR_SUBJECT_UNKNOWN',
      message: `There is no access key of "alice" in ${url}; 1 access key there cannot be read; revoked what cannot be read, if it is of this subject; check the name`,
    });
    giveMasterKeys('new', 'old');
    expect(await statusOf(accessKeyId)).toBe('revoked');
  });
});

describe('sessions revoke', () => {
  it.each(['CSSK7Q2M5X9R4T8W3Y6Z0ABC', '--subject alice', '--everybody'])(
    '%s fails if no session was ever issued with the store, before it asks',
    async (line) => {
      const { url, json, failure } = await begin();
      await json('keys create --subject alice');
      expect(await failure(`sessions revoke ${line}`)).toEqual({
        exit: 1,
        code: 'ERR_NOTHING_REVOKED',
        message: `Revoked nothing: no session was ever issued with ${url}`,
      });
    },
  );

  it('says only what is known: sessions are not stored, keys are', async () => {
    const { url, json, told, issue } = await begin();
    await json('keys create --subject alice');
    await issue('bob');
    expect(await told('sessions revoke --subject alice')).toEqual([
      0,
      'Revoked all sessions issued to "alice" until now, if there are any\n',
    ]);
    expect(await told('sessions revoke --subject bob')).toEqual([
      0,
      `Revoked all sessions issued to "bob" until now, if there are any. There is no access key of "bob" in ${url}\n`,
    ]);
    expect(await told('sessions revoke --everybody')).toEqual([
      0,
      `Revoked all sessions issued until now, but no access key: ${url} has 1 access key not revoked\n`,
    ]);
  });
});

describe('a file store that is not there', () => {
  it.each([
    ['its file', 'keys.json'],
    ['its folder', 'unmounted/keys.json'],
  ])('fails each command but keys create and keys init, and makes nothing: %s', async (_, name) => {
    const folder = await newFolder();
    const { run } = runner({
      COUNTERSIGN_STORE: `file:${join(folder, name)}`,
      COUNTERSIGN_ISSUER: 'video-api',
    });
    for (const line of [
      'keys list',
      `keys show ${UNKNOWN}`,
      `keys disable ${UNKNOWN}`,
      `keys enable ${UNKNOWN}`,
      `keys rotate ${UNKNOWN} --overlap 1h`,
      `keys revoke ${UNKNOWN} --yes`,
      'keys revoke --subject alice --yes',
      'keys revoke --signed-before now --yes',
      'keys rewrap',
      'sessions issue --subject alice --audience video-api',
      'sessions revoke CSSK7Q2M5X9R4T8W3Y6Z0ABC --yes',
      'sessions revoke --subject alice --yes',
      'sessions revoke --everybody --yes',
    ]) {
      const { code, stdout } = await run(`${line} --json`);
      expect([line, code, JSON.parse(stdout).error.code]).toEqual([line, 1, 'ERR_STORE_EMPTY']);
    }
    expect(await readdir(folder)).toEqual([]);
  });
});
