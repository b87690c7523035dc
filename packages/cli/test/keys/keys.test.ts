import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateMasterKey } from '@countersign/server';
import { FileKeyStore, masterKeyFile } from '@countersign/server/file';
import { RedisKeyStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { NOW } from '../../../../test/support/now.ts';
import { runner, UNKNOWN } from '../support.ts';

const folder = await mkdtemp(join(tmpdir(), 'countersign-cli-'));
afterAll(() => rm(folder, { recursive: true }));
let places = 0;

/** `2026-11-24T22:30:05Z`. */
const iso = (seconds: number): string => `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;
const utcDay = (seconds: number): string => iso(seconds).slice(0, 10);
/** As printed for people: `2026-11-24 22:30`, and `2026-11-24 22:30:05 UTC`. */
const utcMinute = (seconds: number): string => iso(seconds).slice(0, 16).replace('T', ' ');
const utcSecond = (seconds: number): string => iso(seconds).replace('T', ' ').replace('Z', ' UTC');
const DAY = 86_400;
const MIDNIGHT = NOW - (NOW % DAY);

/** A new store for each test, as a command and as a server use it. */
const stores = {
  file: () => {
    const path = join(folder, `keys-${places++}.json`);
    return {
      env: { COUNTERSIGN_STORE: `file:${path}` },
      open: () => new FileKeyStore({ path, masterKey: masterKeyFile(`${path}.master-key`) }),
    };
  },
  redis: () => {
    const masterKey = generateMasterKey();
    const prefix = `cli-${process.pid}-${places++}`;
    return {
      env: { COUNTERSIGN_STORE: inject('redisUrl'), COUNTERSIGN_MASTER_KEY: masterKey },
      prefix,
      open: () => {
        const redis = new Redis(inject('redisUrl'), { lazyConnect: true });
        return new RedisKeyStore({ redis, masterKey, prefix, timeout: 10 });
      },
    };
  },
};

describe.each(['file', 'redis'] as const)('keys in %s', (kind) => {
  function begin() {
    const { env, open, prefix } = { prefix: undefined, ...stores[kind]() };
    const { run, json, count } = runner(env, NOW);
    const here = (line: string) => (prefix === undefined ? line : `${line} --prefix ${prefix}`);
    return {
      run: (line: string, world?: Parameters<typeof run>[1]) => run(here(line), world),
      json: (line: string, world?: Parameters<typeof run>[1]) => json(here(line), world),
      count,
      /** The master keys of all later commands. The first one seals. */
      give: (...masterKeys: string[]) =>
        Object.assign(env, { COUNTERSIGN_MASTER_KEY: masterKeys.join(',') }),
      masterKey: (env as { COUNTERSIGN_MASTER_KEY?: string }).COUNTERSIGN_MASTER_KEY,
      /** What a server finds. */
      find: async (id: string) => {
        const store = open();
        try {
          return await store.find(id);
        } finally {
          await store.close();
        }
      },
    };
  }

  it('may have a public key: made here, or read from a file', async () => {
    const { run, json, count, find } = begin();
    const { privateKey, ...shown } = await json('keys create --subject alice --algorithm ed25519');
    expect(privateKey).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    expect(shown.publicKey).toMatchObject({ algorithm: 'ed25519' });
    expect(shown.secretAccessKey).toBeUndefined();
    expect(await find(shown.accessKeyId)).toEqual(shown);
    expect(await json(`keys show ${shown.accessKeyId}`)).toEqual(shown);
    const key = createPrivateKey(privateKey);
    expect(createPublicKey(key).export({ format: 'pem', type: 'spki' })).toBe(shown.publicKey.key);

    const pem = join(folder, `public-${places++}.pem`);
    await writeFile(pem, shown.publicKey.key);
    const jwk = join(folder, `public-${places++}.json`);
    await writeFile(jwk, JSON.stringify(createPublicKey(key).export({ format: 'jwk' })));
    for (const file of [pem, jwk]) {
      const { stdout, stderr, code } = await run(`keys create --subject bob --public-key ${file}`);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toMatch(
        /^Access key ID {2}CSAK\w{20}\nSubject {8}bob\nScopes {9}none\nAlgorithm {6}ed25519\n/,
      );
    }
    const bob = (await json('keys list --subject bob')) as { publicKey: unknown }[];
    expect(bob.map((it) => it.publicKey)).toEqual([shown.publicKey, shown.publicKey]);

    const refused = await run(`keys rotate ${shown.accessKeyId} --overlap 1h`);
    expect(refused).toMatchObject({ code: 2, stdout: '' });
    expect(refused.stderr).toContain(
      'it has a public key; give the new public key with --public-key',
    );
    const fresh = await json(`keys rotate ${shown.accessKeyId} --overlap 1h --public-key ${pem}`);
    expect(fresh).toMatchObject({ subject: 'alice', publicKey: shown.publicKey });
    expect(count(privateKey.split('\n')[1])).toBe(1);

    const text = await run('keys create --subject carol --algorithm ecdsa-p256-sha256');
    expect(text.stdout).toMatch(
      /\nAlgorithm {6}ecdsa-p256-sha256\n[\s\S]*\n\n-----BEGIN PRIVATE KEY-----\n[\s\S]*-----END PRIVATE KEY-----\n$/,
    );
    expect(text.stderr).toContain('Save the private key now: it is not stored');
  });

  it('are refused with a public key that cannot be used, and nothing is stored', async () => {
    const { run, json } = begin();
    await json('keys init');
    const files: [string, string, string][] = [
      [
        'a private key',
        generateKeyPairSync('ed25519').privateKey.export({
          format: 'pem',
          type: 'pkcs8',
        }) as string,
        'no private key',
      ],
      [
        'RSA of 1,024 bits',
        generateKeyPairSync('rsa', { modulusLength: 1_024 }).publicKey.export({
          format: 'pem',
          type: 'spki',
        }) as string,
        'this one has 1024',
      ],
      ['no JSON', '{', 'it is neither PEM nor JSON'],
      ['too much', 'x'.repeat(20_000), 'it has more than 16384 bytes'],
      ['nothing', '', 'expected a public key in PEM'],
    ];
    for (const [, content, why] of files) {
      const path = join(folder, `public-${places++}`);
      await writeFile(path, content);
      const { code, stdout, stderr } = await run(`keys create --subject bob --public-key ${path}`);
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
      expect(stderr).toContain(why);
    }
    const absent = await run('keys create --subject bob --public-key /nowhere/public.pem');
    expect(absent.stderr).toContain('Cannot read public key "/nowhere/public.pem": ENOENT');
    const none = await run('keys create --subject bob --algorithm hmac-sha256');
    expect(none.stderr).toContain('expected one of ed25519, ecdsa-p256-sha256');
    expect(await json('keys list')).toEqual([]);
  });

  it('are made, shown, rotated, disabled, enabled and revoked; the secret is printed once', async () => {
    const { run, json, count, find, masterKey } = begin();
    const key = await json(
      `keys create --subject alice --scope videos:parse --scope videos:list --audience video-api --label Laptop --expires-in 90d --not-before ${utcDay(NOW)}`,
    );
    expect(key).toMatchObject({
      subject: 'alice',
      scopes: ['videos:parse', 'videos:list'],
      audiences: ['video-api'],
      label: 'Laptop',
      status: 'active',
      created: NOW,
      notBefore: MIDNIGHT,
      expiresAt: NOW + 90 * DAY,
    });
    const id: string = key.accessKeyId;
    const secrets: string[] = [key.secretAccessKey];
    expect((await find(id))?.secretAccessKey).toBe(key.secretAccessKey);

    const { secretAccessKey: _, ...shown } = key;
    expect(await json(`keys show ${id}`)).toEqual(shown);
    expect(await json('keys list')).toEqual([shown]);
    expect(await json('keys list --subject bob')).toEqual([]);
    const { stdout } = await run(`keys show ${id}`);
    expect(stdout).toBe(
      [
        `Access key ID  ${id}`,
        'Subject        alice',
        'Label          Laptop',
        'Scopes         videos:parse videos:list',
        'Audiences      video-api',
        `Created        ${utcSecond(NOW)}`,
        `Not before     ${utcSecond(MIDNIGHT)}`,
        `Expires        ${utcSecond(NOW + 90 * DAY)}`,
        'Status         active',
        'Last used      never',
        '',
      ].join('\n'),
    );

    const fresh = await json(`keys rotate ${id} --overlap 24h`);
    expect(fresh).toMatchObject({ subject: 'alice', label: 'Laptop', status: 'active' });
    expect(fresh.replaces).toEqual({ accessKeyId: id, expiresAt: NOW + 86_400 });
    expect((await find(id))?.expiresAt).toBe(NOW + 86_400);
    secrets.push(fresh.secretAccessKey);

    expect(await json(`keys disable ${id}`)).toMatchObject({ accessKeyId: id, status: 'disabled' });
    expect((await find(id))?.status).toBe('disabled');
    expect(await json(`keys enable ${id}`)).toMatchObject({ accessKeyId: id, status: 'active' });
    expect(await json('keys rewrap')).toEqual({ records: 2 });
    expect(await json(`keys revoke ${id} --yes`)).toEqual({ revoked: { accessKeyId: id } });
    expect((await find(id))?.status).toBe('revoked');
    expect((await find(fresh.accessKeyId))?.status).toBe('active');

    for (const secret of secrets) expect(count(secret)).toBe(1);
    if (masterKey !== undefined) expect(count(masterKey.split(':')[1] as string)).toBe(0);
  });

  it('are printed for people as a table and as fields, with remarks on stderr', async () => {
    const { run, count } = begin();
    const made = await run('keys create --subject alice --expires-in 1h');
    const [, id = ''] = /^Access key ID +(CSAK\w{20})$/m.exec(made.stdout) ?? [];
    const [, secret = ''] = /^Secret access key +([\w-]{43})$/m.exec(made.stdout) ?? [];
    expect(made.stdout).toMatch(/^Audiences +all$/m);
    expect(made.stderr).toMatch(/^Save the secret access key now: it is not shown again$/m);
    const nextYear = utcDay(NOW + 400 * DAY);
    await run(`keys create --subject bob --scope a --label Phone --not-before ${nextYear}`, {
      now: NOW + 60,
    });

    const later = { now: NOW + 3_600 };
    const { stdout, stderr } = await run('keys list', later);
    const [head, first, second] = stdout.split('\n');
    expect(head?.split(/ {2,}/)).toEqual(
      'ID SUBJECT STATUS SCOPES CREATED_(UTC) EXPIRES LAST_USED LABEL'
        .replaceAll('_', ' ')
        .split(/ (?!\(|USED)/),
    );
    expect(first?.split(/ {2,}/)).toEqual([
      id,
      'alice',
      'expired',
      '-',
      utcMinute(NOW),
      utcMinute(NOW + 3_600),
      '-',
    ]);
    expect(second?.split(/ {2,}/).slice(1)).toEqual([
      'bob',
      'not yet valid',
      'a',
      utcMinute(NOW + 60),
      '-',
      '-',
      'Phone',
    ]);
    expect(stderr).toBe('');

    const rotated = await run(`keys rotate ${id} --overlap 2h`);
    expect(rotated.stderr).toBe(
      `Access key ${id} works until ${utcSecond(NOW + 3_600)}\nSave the secret access key now: it is not shown again\n`,
    );
    for (const [line, told] of [
      [`keys disable ${id}`, `Access key ${id} is disabled`],
      [`keys enable ${id}`, `Access key ${id} is enabled`],
      [`keys revoke ${id} --yes`, `Revoked access key ${id} of "alice" permanently`],
      ['keys rewrap', 'Sealed 3 records with the first master key'],
    ] as const) {
      expect(await run(line)).toEqual({ code: 0, stdout: '', stderr: `${told}\n` });
    }
    expect(count(secret)).toBe(1);
  });

  it('are revoked by subject, and by when requests were signed', async () => {
    const { run, json, find } = begin();
    const one = await json('keys create --subject alice');
    const other = await json('keys create --subject bob');
    await json('keys revoke --signed-before now --subject alice --yes', { now: NOW + 60 });
    expect(await find(one.accessKeyId)).toMatchObject({ status: 'active', signedSince: NOW + 60 });
    expect((await find(other.accessKeyId))?.signedSince).toBeUndefined();
    const all = await json(`keys revoke --signed-before ${iso(NOW + 25)} --yes`, {
      now: NOW + 60,
    });
    expect(all).toEqual({ revoked: { signedBefore: NOW + 25 }, accessKeys: 2 });
    expect((await find(other.accessKeyId))?.signedSince).toBe(NOW + 25);
    const told = await run('keys revoke --subject alice --yes', { now: NOW + 120 });
    expect(told.stderr).toBe(
      'Revoked 1 access key of "alice" permanently, and all sessions issued to it until now\n',
    );
    expect((await find(one.accessKeyId))?.status).toBe('revoked');
    expect((await find(other.accessKeyId))?.status).toBe('active');
    // A key that was revoked with its subject cannot be enabled again.
    const { code, stderr } = await run(`keys enable ${one.accessKeyId}`);
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^Access key "CSAK\w+" is revoked permanently: make a new one\n$/),
    ]);
  });

  it('fail with exit code 1, a line on stderr, and a document with the code', async () => {
    const { run, json } = begin();
    await json('keys init');
    for (const line of [
      `keys show ${UNKNOWN}`,
      `keys rotate ${UNKNOWN} --overlap 1h`,
      `keys disable ${UNKNOWN}`,
      `keys enable ${UNKNOWN}`,
      `keys revoke ${UNKNOWN} --yes`,
    ]) {
      const message = `There is no access key "${UNKNOWN}"`;
      expect(await run(line)).toEqual({ code: 1, stdout: '', stderr: `${message}\n` });
      const { code, stdout } = await run(`${line} --json`);
      expect(code).toBe(1);
      expect(JSON.parse(stdout)).toEqual({ error: { code: 'ERR_KEY_NOT_FOUND', message } });
    }
    const { accessKeyId } = await json('keys create --subject alice');
    await json(`keys revoke ${accessKeyId} --yes`);
    const { code, stderr } = await run(`keys rotate ${accessKeyId} --overlap 1h`);
    expect([code, stderr]).toEqual([
      1,
      `Access key "${accessKeyId}" is revoked permanently: make a new one\n`,
    ]);
  });

  it('whose records cannot be decrypted are listed as such, and named by a rewrap that fails', async () => {
    const { run, json, give } = begin();
    const [old, blue] = [generateMasterKey('old'), generateMasterKey('blue')];
    give(old);
    const { accessKeyId: lost } = await json('keys create --subject alice --label Laptop');
    give(blue, old);
    const { accessKeyId: fresh } = await json('keys create --subject bob', { now: NOW + 60 });
    give(blue);
    const listed = await run('keys list --json');
    expect(listed.code).toBe(1);
    expect(JSON.parse(listed.stdout)).toEqual([
      expect.objectContaining({ accessKeyId: fresh, subject: 'bob', status: 'active' }),
      { accessKeyId: lost, status: 'unreadable' },
    ]);
    const { code, stdout, stderr } = await run('keys list');
    expect(code).toBe(1);
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[2]?.split(/ {2,}/)).toEqual([lost, '-', 'unreadable', '-', '-', '-', '-']);
    expect(stderr).toBe(
      'Cannot read 1 of 2 access keys, so servers refuse them: run countersign keys show <id> for the reason\n',
    );
    const shown = await run(`keys show ${lost}`);
    expect([shown.code, shown.stdout]).toEqual([1, '']);
    expect(shown.stderr).toMatch(/^Cannot get the master key "\S+": it is not among those/);
    const rewrapped = await run('keys rewrap');
    expect(rewrapped.code).toBe(1);
    expect(rewrapped.stderr).toMatch(
      new RegExp(`^Sealed 1 of 2 records again, but not "key/${lost}": Cannot get the master key`),
    );
    expect(await run(`keys revoke ${lost} --yes`)).toEqual({
      code: 0,
      stdout: '',
      stderr: `Revoked access key ${lost}, whose record cannot be read, permanently\n`,
    });
    const left = { accessKeyId: lost, subject: '', scopes: [], status: 'revoked' };
    expect(await json(`keys show ${lost}`)).toEqual(left);
    expect((await run(`keys show ${lost}`)).stdout).toBe(
      [
        `Access key ID  ${lost}`,
        'Subject        unknown',
        'Status         revoked',
        'Last used      never',
        '',
      ].join('\n'),
    );
    expect((await run('keys list')).stdout).toMatch(
      new RegExp(`^${lost} +- +revoked +- +- +- +-$`, 'm'),
    );
    expect((await run(`keys revoke ${lost} --yes`)).stderr).toBe(
      `Revoked access key ${lost} permanently\n`,
    );
    expect(await json('keys rewrap')).toEqual({ records: 2 });
  });

  it.each(['other', 'here'])(
    'cannot be listed, shown or changed with a wrong master key of the id %s: exit code 1',
    async (id) => {
      const { run, json, give } = begin();
      give(generateMasterKey('here'));
      const { accessKeyId } = await json('keys create --subject alice');
      give(generateMasterKey(id));
      for (const line of ['keys list', 'keys list --subject alice', 'keys init'])
        expect(await run(line)).toMatchObject({
          code: 1,
          stderr: expect.stringMatching(
            /Cannot read 1 of 1 access keys, .*for the reason\. The master key may be the wrong one\n$/,
          ),
        });
      for (const line of [
        `keys show ${accessKeyId}`,
        `keys disable ${accessKeyId}`,
        `keys enable ${accessKeyId}`,
        `keys rotate ${accessKeyId} --overlap 1h`,
        'keys create --subject bob',
        'keys revoke --subject alice --yes',
        'keys rewrap',
        'sessions issue --subject alice --audience video-api --issuer video-api',
      ]) {
        const { code, stdout } = await run(`${line} --json`);
        expect([line, code, JSON.parse(stdout).error.code]).toEqual([
          line,
          1,
          expect.stringMatching(/^ERR_(MASTER_KEY|RECORD_UNREADABLE)$/),
        ]);
      }
    },
  );

  it('that never expire do so when they are rotated, after the overlap', async () => {
    const { json } = begin();
    const { accessKeyId } = await json('keys create --subject alice');
    const fresh = await json(`keys rotate ${accessKeyId} --overlap 15m`);
    expect(fresh.replaces).toEqual({ accessKeyId, expiresAt: NOW + 900 });
    expect(fresh.expiresAt).toBeUndefined();
    expect((await json(`keys show ${accessKeyId}`)).expiresAt).toBe(NOW + 900);
  });

  it('cannot be listed if there is no store, which may have lost them', async () => {
    const { run, json } = begin();
    const message =
      /^The key store at "\S+" is empty: (Redis has lost its records|its file was removed), or no key was ever added\. Restore the records, add the first key, or create an empty store by name: createEmpty\(\), or countersign keys init\n$/;
    for (const line of ['keys list', `keys show ${UNKNOWN}`, 'keys rewrap'])
      expect(await run(line)).toEqual({
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(message),
      });
    const session = 'sessions issue --subject alice --audience video-api --issuer video-api';
    expect((await run(session)).stderr).toMatch(message);
    const { accessKeyId } = await json('keys create --subject alice');
    expect(await json('keys list')).toMatchObject([{ accessKeyId }]);
  });

  it('of an older copy are accepted if the user confirms it', async () => {
    const { run, json, find } = begin();
    const { accessKeyId } = await json('keys create --subject alice');
    const refused = await run('keys accept-restore');
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(/^Cannot ask whether to accept the store .* with 1 access key:/);
    expect((await run('keys accept-restore --yes')).stderr).toMatch(
      /^Accepted the store (file:|redis:\/\/).+ with 1 access key$/m,
    );
    expect(await json('keys accept-restore --yes')).toEqual({ keys: 1 });
    expect(await find(accessKeyId)).toMatchObject({ subject: 'alice' });
  });

  it('may be none: a store that was made empty is no failure', async () => {
    const { run } = begin();
    expect((await run('keys init')).stderr).toMatch(
      /^The store (file:|redis:\/\/)\S+( under prefix "\S+")? exists, with 0 access keys$/m,
    );
    const { code, stdout, stderr } = await run('keys list');
    expect([code, stdout]).toEqual([0, '']);
    expect(stderr).toMatch(
      /^There are no such access keys in (file:|redis:\/\/)\S+( under prefix "\S+")?\n$/,
    );
  });
});

it('only their owner can read the file of keys and its master key', async () => {
  const { env } = stores.file();
  const { run } = runner(env, NOW);
  const { stderr } = await run('keys create --subject alice');
  const path = env.COUNTERSIGN_STORE.slice('file:'.length);
  expect(stderr).toContain(`Made master key file "${path}.master-key": keep a copy apart`);
  for (const file of [path, `${path}.master-key`]) expect((await stat(file)).mode & 0o077).toBe(0);
  const [, bytes = ''] = (await readFile(`${path}.master-key`, 'utf8')).trim().split(':');
  expect(stderr).not.toContain(bytes);
  expect((await run('keys create --subject bob')).stderr).not.toContain('master key file');
});

it('keys show when they were last used', async () => {
  const { env, open } = stores.file();
  const { run, json } = runner(env, NOW);
  const { accessKeyId } = await json('keys create --subject alice');
  const server = open();
  server.recordUse(accessKeyId, NOW + 30);
  await server.close();
  expect((await json(`keys show ${accessKeyId}`)).lastUsedAt).toBe(NOW + 30);
  expect((await run(`keys show ${accessKeyId}`)).stdout).toMatch(
    new RegExp(`^Last used +${utcSecond(NOW + 30)}$`, 'm'),
  );
  expect((await run('keys list')).stdout).toContain(
    `${utcMinute(NOW)}  -        ${utcMinute(NOW + 30)}`,
  );
});
