import { chmod, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateAccessKey, generateMasterKey } from '@countersign/server';
import { FileKeyStore, masterKeyFile } from '@countersign/server/file';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { NOW } from '../../../../../test/support/now.ts';
import { AUDIENCE, createTestSessions, judge, keyStoreContract } from '../key-store-contract.ts';
import { sealedStoreContract } from '../sealed-store-contract.ts';
import { newFolder, openFile } from './file-support.ts';

const masterKey = generateMasterKey();

keyStoreContract('FileKeyStore', async () => {
  const path = join(await newFolder(), 'keys.json');
  return {
    isShared: true,
    open: (clock = () => NOW) => openFile({ path, masterKey, clock }),
  };
});

sealedStoreContract('FileKeyStore', async () => {
  const path = join(await newFolder(), 'keys.json');
  const read = async () => JSON.parse(await readFile(path, 'utf8'));
  return {
    open: (provider, clock) => openFile({ path, masterKey: provider, clock }),
    dump: () => readFile(path, 'utf8'),
    async change(edit) {
      const contents = await read();
      edit(contents.records);
      await writeFile(path, JSON.stringify(contents));
    },
  };
});

describe('FileKeyStore', () => {
  it('is a file that only its owner can read, and leaves nothing beside it', async () => {
    const folder = await newFolder();
    const path = join(folder, 'keys.json');
    const keys = openFile({ path, masterKey });
    await Promise.all(Array.from({ length: 20 }, () => keys.create()));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(folder)).toEqual(['keys.json']);
    expect(await keys.list()).toHaveLength(20);
  });

  it('refuses a file that others can read, or that is something else', async () => {
    const path = join(await newFolder(), 'keys.json');
    const keys = openFile({ path, masterKey });
    const key = await keys.create();
    await chmod(path, 0o640);
    await expect(openFile({ path, masterKey }).list()).rejects.toMatchObject({
      code: 'ERR_STORE_UNFIT',
    });
    await chmod(path, 0o600);
    expect(await judge(openFile({ path, masterKey }), key)).toBe('accepted');
    for (const text of ['', '{', '{"format":"countersign keys 2","records":{},"uses":{}}']) {
      await writeFile(path, text);
      await expect(openFile({ path, masterKey }).list()).rejects.toMatchObject({
        code: 'ERR_RECORD_UNREADABLE',
      });
      await expect(openFile({ path, masterKey }).create()).rejects.toMatchObject({
        code: 'ERR_RECORD_UNREADABLE',
      });
      expect(await readFile(path, 'utf8')).toBe(text);
    }
  });

  it('remembers what is revoked of a session, though a clock was wrong for one command', async () => {
    const path = join(await newFolder(), 'keys.json');
    const at = (now: number) => openFile({ path, masterKey, clock: () => now });
    const server = at(NOW);
    await server.createEmpty();
    const sessions = createTestSessions(server);
    const session = await sessions.issue({ subject: 'alice', scopes: [], audience: AUDIENCE });
    await server.revoke({ accessKeyId: session.accessKeyId });
    for (const days of [8, -8, 36]) await at(NOW + days * 86_400).create();
    expect(await judge(at(NOW), session)).toMatch('ERR_KEY_INACTIVE');
    // In the end it is forgotten: the session is long over.
    expect(await readFile(path, 'utf8')).toContain(session.accessKeyId);
    await at(NOW + 38 * 86_400).create();
    expect(await readFile(path, 'utf8')).not.toContain(session.accessKeyId);
  });

  it('writes nothing where it lost the lock to another, and spoils nothing of the other’s', async () => {
    const folder = await newFolder();
    const path = join(folder, 'keys.json');
    const other = openFile({ path, masterKey });
    const kept = await other.create();
    let theirs: unknown;
    // Held up in the middle, for so long that another process has taken the lock away.
    const slow = openFile({
      path,
      masterKey: async (id) => {
        if (id === undefined && theirs === undefined) {
          await rm(`${path}.lock`);
          theirs = await other.create();
        }
        return masterKey;
      },
    });
    await expect(slow.create()).rejects.toMatchObject({ code: 'ERR_STORE_BUSY' });
    const ids = (await openFile({ path, masterKey }).list()).map(({ accessKeyId }) => accessKeyId);
    expect(ids.sort()).toEqual([kept, theirs as typeof kept].map((it) => it.accessKeyId).sort());
    expect(await readdir(folder)).toEqual(['keys.json']);
  });

  it.each([
    ['was removed', 'ERR_STORE_EMPTY', (path: string) => rm(path)],
    ['was cut short', 'ERR_RECORD_UNREADABLE', (path: string) => truncate(path)],
  ])('says so where its file %s, until it is restored', async (_, code, lose) => {
    const path = join(await newFolder(), 'keys.json');
    const keys = openFile({ path, masterKey, clock: () => NOW });
    const key = await keys.create({ subject: 'alice' });
    const session = await createTestSessions(keys).issue({
      subject: 'alice',
      scopes: [],
      audience: AUDIENCE,
    });
    expect(await judge(keys, key)).toBe('accepted');
    const copy = await readFile(path);
    const warnings: Error[] = [];
    const record = (warning: Error) => void warnings.push(warning);
    process.on('warning', record);
    onTestFinished(() => void process.off('warning', record));

    await lose(path);
    await vi.waitFor(async () => expect(await judge(keys, key)).toMatch(/^ERR_KEY_STORE_FAILED: /));
    // And where a server starts then.
    for (const store of [keys, openFile({ path, masterKey, clock: () => NOW })]) {
      expect(await judge(store, key)).toMatch(/^ERR_KEY_STORE_FAILED: /);
      expect(await judge(store, session)).toMatch(/^ERR_KEY_STORE_FAILED: /);
      keys.recordUse(key.accessKeyId, NOW);
    }
    for (const act of [
      () => keys.create(),
      () => keys.revoke({ subject: 'alice' }),
      () => keys.rewrap(),
      () => keys.list(),
    ])
      await expect(act()).rejects.toMatchObject({ code });
    if (code === 'ERR_STORE_EMPTY') {
      const message = `The key store at "${path}" is empty: its file was removed. Restore the records, or create an empty store by name: createEmpty(), or countersign keys init`;
      expect(warnings).toContainEqual(
        expect.objectContaining({ code: 'COUNTERSIGN_KEY_STORE_EMPTY', message }),
      );
      await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
    }
    await writeFile(path, copy, { mode: 0o600 });
    await vi.waitFor(async () => expect(await judge(keys, key)).toBe('accepted'));
    expect(await judge(keys, session)).toBe('accepted');
  });

  it.each(['keys.json', join('unmounted', 'keys.json')])(
    'is no answer to a verifier that starts before the store is there: %s',
    async (name) => {
      const path = join(await newFolder(), name);
      const key = generateAccessKey({ subject: 'alice' });
      expect(await judge(openFile({ path, masterKey }), key)).toMatch(
        /^ERR_KEY_STORE_FAILED: .*is empty: its file was removed, or no key was ever added/,
      );
    },
  );

  it('says what it needs', async () => {
    expect(() => new FileKeyStore({} as never)).toThrow('option "path"');
    expect(() => new FileKeyStore({ path: 'keys.json' } as never)).toThrow('option "masterKey"');
    expect(() => new FileKeyStore({ path: 'keys.json', masterKey: 'hush-hush' })).toThrow(
      /^(?!.*hush).*expected <id>:<32 bytes in base64url>/,
    );
    const nowhere = openFile({ path: join(await newFolder(), 'none', 'keys.json'), masterKey });
    await expect(nowhere.create()).rejects.toThrow('ENOENT');
    await expect(nowhere.list()).rejects.toMatchObject({ code: 'ERR_STORE_EMPTY' });
  });
});

describe('masterKeyFile()', () => {
  it('creates one master key even if several processes ask at once, readable by its owner only', async () => {
    const folder = await newFolder();
    const path = join(folder, 'master-key');
    const made = await Promise.all(
      Array.from({ length: 20 }, () => masterKeyFile(path)(undefined)),
    );
    expect(made.map((keys) => keys.length)).toEqual(Array(20).fill(1));
    expect(new Set(made.flat()).size).toBe(1);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(folder)).toEqual(['master-key']);
    await chmod(path, 0o644);
    await expect(masterKeyFile(path)(undefined)).rejects.toThrow('chmod 600');
  });

  it('does not create the file to seal an empty store again', async () => {
    const folder = await newFolder();
    const path = join(folder, 'keys.json');
    const keys = openFile({ path, masterKey: masterKeyFile(`${path}.master-key`) });
    await expect(keys.rewrap()).rejects.toMatchObject({ code: 'ERR_STORE_EMPTY' });
    expect(await readdir(folder)).toEqual([]);
  });

  it('rotates with a line on top', async () => {
    const folder = await newFolder();
    const path = join(folder, 'master-key');
    const masterKey = masterKeyFile(path);
    const store = join(folder, 'keys.json');
    const keys = openFile({ path: store, masterKey });
    const key = await keys.create();
    const old = await readFile(path, 'utf8');
    const fresh = generateMasterKey('second');
    await writeFile(path, `${fresh}\n${old}`);
    expect(await keys.rewrap()).toBe(1);
    // However many there are, in one go.
    let asked = 0;
    const provider = masterKeyFile(path);
    const many = openFile({
      path: store,
      masterKey: (id) => {
        asked++;
        return provider(id);
      },
    });
    for (let made = 0; made < 20; made++) await many.create();
    asked = 0;
    expect(await many.rewrap()).toBe(21);
    expect(asked).toBe(1);
    await writeFile(path, fresh);
    expect(await judge(openFile({ path: store, masterKey }), key)).toBe('accepted');
    await rm(path);
    // To open what is sealed with a key that is lost, a new one does not help.
    await expect(openFile({ path: store, masterKey }).find(key.accessKeyId)).rejects.toMatchObject({
      code: 'ERR_MASTER_KEY',
    });
    await expect(openFile({ path: store, masterKey }).create()).rejects.toMatchObject({
      code: 'ERR_MASTER_KEY',
    });
    expect(await readdir(folder)).toEqual(['keys.json']);
  });
});
