import { chmod, chown, mkdir, readFile, stat, symlink, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { NOW, newFolder, run, runner } from '../support.ts';

const KEY = /^2026-11-24:[\w-]{43}\n$/;

describe('countersign master-key', () => {
  it('prints a key, with the date as its id', async () => {
    const { code, stdout, stderr } = await run(['master-key']);
    expect(code).toBe(0);
    expect(stdout).toMatch(KEY);
    expect(stderr).toBe('Keep the master key apart from the store that it encrypts\n');
    const named = await run(['master-key', '--id', 'blue', '--json']);
    expect(JSON.parse(named.stdout).masterKey).toMatch(/^blue:[\w-]{43}$/);
  });

  it('adds the key as the first line of a file, and makes the file for its owner only', async () => {
    const path = join(await newFolder(), 'master-key');
    const first = await run(['master-key', '--into', path]);
    expect(first.stdout).toBe('');
    const before = await readFile(path, 'utf8');
    expect(before).toMatch(KEY);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const second = await run(['master-key', '--into', path, '--id', 'blue', '--json']);
    expect(JSON.parse(second.stdout)).toEqual({ path, id: 'blue' });
    const after = await readFile(path, 'utf8');
    expect(after.startsWith('blue:') && after.endsWith(`\n${before}`)).toBe(true);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    for (const text of [first, second]) expect(text.stdout + text.stderr).not.toMatch(/:[\w-]{43}/);
  });

  it('refuses an id that is taken, and a file that cannot be read', async () => {
    const folder = await newFolder();
    const path = join(folder, 'master-key');
    await run(['master-key', '--into', path]);
    const before = await readFile(path, 'utf8');
    expect(await run(['master-key', '--into', path])).toEqual({
      code: 1,
      stdout: '',
      stderr: `Cannot add a master key to "${path}": it already has a master key "2026-11-24"; give another --id\n`,
    });
    expect(await readFile(path, 'utf8')).toBe(before);
    const { code, stderr } = await run(['master-key', '--into', folder], { env: { DEBUG: '1' } });
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^Cannot add a master key to .*EISDIR/),
    ]);
    expect(stderr).toContain('\nCaused by Error: EISDIR');
  });

  it.runIf(process.getuid?.() === 0)(
    'keeps the owner of a file, and keeps a link a link',
    async () => {
      const folder = await newFolder();
      const [path, link] = [join(folder, 'master-key'), join(folder, 'link')];
      await run(['master-key', '--into', path]);
      await chown(path, 65_534, 65_534);
      await symlink(path, link);
      expect((await run(['master-key', '--into', link, '--id', 'blue'])).code).toBe(0);
      expect((await readFile(path, 'utf8')).startsWith('blue:')).toBe(true);
      const { uid, gid, mode } = await stat(path);
      expect([uid, gid, mode & 0o777]).toEqual([65_534, 65_534, 0o600]);
      await chown(folder, 65_534, 65_534);
      await run(['master-key', '--into', join(folder, 'fresh')]);
      expect((await stat(join(folder, 'fresh'))).uid).toBe(65_534);
    },
  );

  it('does not change a file that holds something else, and shows nothing of it', async () => {
    const path = join(await newFolder(), 'keys.json');
    const { run: here, json } = runner({ COUNTERSIGN_STORE: `file:${path}` });
    await json('keys create --subject alice');
    const before = await readFile(path, 'utf8');
    const mixed = `${path}.mixed`;
    await writeFile(mixed, `${await readFile(`${path}.master-key`, 'utf8')}hunter2\n`);
    for (const file of [path, mixed])
      expect(await here(`master-key --into ${file} --id blue`)).toEqual({
        code: 1,
        stdout: '',
        stderr: `Cannot add a master key to "${file}": it holds something other than master keys; name another file\n`,
      });
    expect(await readFile(path, 'utf8')).toBe(before);
    expect(await readFile(mixed, 'utf8')).toMatch(/\nhunter2\n$/);
  });
});

describe('master keys', () => {
  it('are replaced: add a new one on top, seal all with it, remove the old one', async () => {
    const path = join(await newFolder(), 'keys.json');
    const { json } = runner({ COUNTERSIGN_STORE: `file:${path}` });
    const { accessKeyId } = await json('keys create --subject alice');
    await json(`master-key --into ${path}.master-key --id blue`);
    expect(await json('keys rewrap')).toEqual({ records: 1 });
    const [first] = (await readFile(`${path}.master-key`, 'utf8')).split('\n');
    await writeFile(`${path}.master-key`, `${first}\n`);
    expect(await json(`keys show ${accessKeyId}`)).toMatchObject({ subject: 'alice' });
  });

  it('come from the environment, several with commas: the first seals, all open', async () => {
    const path = join(await newFolder(), 'keys.json');
    const [old, blue] = [await run(['master-key']), await run(['master-key', '--id', 'blue'])].map(
      ({ stdout }) => stdout.trim(),
    );
    const COUNTERSIGN_STORE = `file:${path}`;
    const before = runner({ COUNTERSIGN_STORE, COUNTERSIGN_MASTER_KEY: old });
    await before.json('keys create --subject alice');
    const both = runner({ COUNTERSIGN_STORE, COUNTERSIGN_MASTER_KEY: `${blue}, ${old}` });
    expect(await both.json('keys list')).toHaveLength(1);
    await both.json('keys rewrap');
    const after = runner({ COUNTERSIGN_STORE, COUNTERSIGN_MASTER_KEY: blue });
    const [{ accessKeyId }] = await after.json('keys list');
    const listed = await before.run('keys list --json');
    expect(listed.code).toBe(1);
    expect(JSON.parse(listed.stdout)).toEqual([{ accessKeyId, status: 'unreadable' }]);
    const { code, stdout } = await before.run(`keys show ${accessKeyId} --json`);
    expect(code).toBe(1);
    expect(JSON.parse(stdout).error.code).toBe('ERR_MASTER_KEY');
    for (const { count } of [before, both, after])
      for (const key of [old, blue]) expect(count(key?.split(':')[1] as string)).toBe(0);
  });

  it('come from a named file, before all other places', async () => {
    const folder = await newFolder();
    await mkdir(join(folder, 'secrets'));
    const file = join(folder, 'secrets/master-key');
    await run(['master-key', '--into', file]);
    const env = {
      COUNTERSIGN_STORE: `file:${join(folder, 'keys.json')}`,
      COUNTERSIGN_MASTER_KEY: 'not even looked at',
    };
    const { run: here, json } = runner(env);
    await json(`keys create --subject alice --master-key-file ${file}`);
    expect(await json(`keys list --master-key-file ${file}`)).toHaveLength(1);
    await chmod(file, 0o644);
    const { code, stderr } = await here(`keys create --subject bob --master-key-file ${file}`);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^Cannot get the master key "[\w-]+": others may read /);
    expect(stderr).toContain(`"${file}": chmod 600 it\n`);
  });

  it('come from a file that the environment names, but not from two places', async () => {
    const folder = await newFolder();
    const file = join(folder, 'master-key');
    await run(['master-key', '--into', file]);
    const env = {
      COUNTERSIGN_STORE: `file:${join(folder, 'keys.json')}`,
      COUNTERSIGN_MASTER_KEY_FILE: file,
    };
    const { json } = runner(env);
    await json('keys create --subject alice');
    expect(await json(`keys list --master-key-file ${file}`)).toMatchObject([{ subject: 'alice' }]);
    const { run: both } = runner({ ...env, COUNTERSIGN_MASTER_KEY: 'x' });
    expect(await both('keys list')).toMatchObject({
      code: 2,
      stderr:
        'Cannot use both COUNTERSIGN_MASTER_KEY and COUNTERSIGN_MASTER_KEY_FILE: unset one of them\n',
    });
    const { run: missing } = runner({ ...env, COUNTERSIGN_MASTER_KEY_FILE: `${file}s` });
    expect(await missing('keys list')).toMatchObject({
      code: 2,
      stderr: `Cannot find master key file "${file}s": make it with countersign master-key --into\n`,
    });
  });

  it.each([
    ['hunter2', /^Cannot use COUNTERSIGN_MASTER_KEY: expected <id>:<32 bytes in base64url>/],
    [
      '"a:mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA"',
      /^Cannot use COUNTERSIGN_MASTER_KEY: it begins or ends with a blank, a line break or a quote; expected <id>/,
    ],
    [`a:${'A'.repeat(43)}`, /^Cannot use master key "a": it repeats a few bytes/],
  ])('that cannot be one are refused, and not shown', async (key, message) => {
    const folder = await newFolder();
    const env = {
      COUNTERSIGN_STORE: `file:${join(folder, 'keys.json')}`,
      COUNTERSIGN_MASTER_KEY: key,
    };
    const { code, stderr } = await run(['keys', 'list'], { env });
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain(key.split(':').at(-1));
  });

  it('that are lost are not replaced by a new one, which could decrypt nothing', async () => {
    const path = join(await newFolder(), 'keys.json');
    const { run: here, json } = runner({ COUNTERSIGN_STORE: `file:${path}` });
    await json('keys create --subject alice', { now: NOW });
    await unlink(`${path}.master-key`);
    const { code, stderr } = await here('keys create --subject bob');
    expect([code, stderr]).toEqual([
      2,
      `Cannot find master key file "${path}.master-key", which the keys in "${path}" need: restore it, or set COUNTERSIGN_MASTER_KEY\n`,
    ]);
  });

  it('that cannot be read are an error, with the reason', async () => {
    const path = join(await newFolder(), 'keys.json');
    const env = { COUNTERSIGN_STORE: `file:${path}` };
    await writeFile(path, '');
    await mkdir(`${path}.master-key`);
    for (const [flags, file, why] of [
      [[], `${path}.master-key`, 'it is a folder'],
      [['--master-key-file', `${path}.master-key`], `${path}.master-key`, 'it is a folder'],
      [['--master-key-file', `${path}/x`], `${path}/x`, 'ENOTDIR: not a directory'],
    ] as const)
      expect(await run(['keys', 'list', ...flags], { env })).toEqual({
        code: 2,
        stdout: '',
        stderr: `Cannot read master key file "${file}": ${why}\n`,
      });
  });
});
