import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { newFolder, run, runner } from '../support.ts';

async function begin() {
  const path = join(await newFolder(), 'keys.json');
  const { run, json } = runner({ COUNTERSIGN_STORE: `file:${path}` });
  const { accessKeyId: id } = await json('keys create --subject alice');
  await json('sessions issue --subject alice --audience video-api --issuer video-api');
  const status = async () => (await json(`keys show ${id}`)).status;
  return { run, id: id as string, status };
}

describe('an act that cannot be undone', () => {
  it('asks for the id, and goes on when the user types it', async () => {
    const { run, id, status } = await begin();
    const act = `revoke access key ${id} of "alice" permanently`;
    expect(await run(`keys revoke ${id}`, { typed: `${id}\n` })).toEqual({
      code: 0,
      stdout: '',
      stderr: `This will ${act}. Type ${id} to confirm: Revoked access key ${id} of "alice" permanently\n`,
    });
    expect(await status()).toBe('revoked');
  });

  it.each([
    ['something else', 'y\n'],
    ['nothing', '\n'],
    ['Ctrl+D', ''],
  ])('does nothing when %s is typed', async (_, typed) => {
    const { run, id, status } = await begin();
    const { code, stdout, stderr } = await run(`keys revoke ${id} --json`, { typed });
    expect(code).toBe(1);
    expect(JSON.parse(stdout).error.code).toBe('ERR_NOT_CONFIRMED');
    expect(stderr).toMatch(
      new RegExp(`: \n?Did not revoke access key ${id} .*: ${id} was not typed\n$`),
    );
    expect(await status()).toBe('active');
  });

  it.each([
    ['keys revoke', (id: string) => id],
    ['keys revoke --subject', () => 'alice'],
    ['keys revoke --subject alice --signed-before', () => 'now'],
    ['keys revoke --signed-before', () => 'now'],
    ['sessions revoke', () => 'CSSK7Q2M5X9R4T8W3Y6Z0ABC'],
    ['sessions revoke --subject', () => 'alice'],
    ['sessions revoke', () => '--everybody'],
  ])('needs --yes without a terminal: %s', async (command, last) => {
    const { run, id, status } = await begin();
    const line = `${command} ${last(id)}`;
    const { code, stdout, stderr } = await run(line);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^Cannot ask whether to revoke .*: this is no terminal; add --yes\n$/);
    expect(await status()).toBe('active');
    expect((await run(`${line} --yes`)).code).toBe(0);
  });

  it.each([
    ['keys revoke --subject alice', 'alice'],
    ['keys revoke --signed-before now --subject alice', 'alice'],
    ['keys revoke --signed-before now', 'everybody'],
    ['sessions revoke CSSK7Q2M5X9R4T8W3Y6Z0ABC', 'CSSK7Q2M5X9R4T8W3Y6Z0ABC'],
    ['sessions revoke --subject alice', 'alice'],
    ['sessions revoke --everybody', 'everybody'],
  ])('asks for the name of what it is about: %s', async (line, word) => {
    const { run } = await begin();
    const { code, stderr } = await run(line, { typed: `${word}\n` });
    expect(stderr).toContain(`Type ${word} to confirm: `);
    expect(code).toBe(0);
  });

  it.each([' lead', 'trail '])(
    'accepts a name that begins or ends with a space: "%s"',
    async (subject) => {
      const path = join(await newFolder(), 'keys.json');
      const env = { COUNTERSIGN_STORE: `file:${path}` };
      await run(['keys', 'create', '--subject', subject], { env });
      const revoke = (typed: string) =>
        run(['keys', 'revoke', '--subject', subject], { env, typed: `${typed}\n` });
      expect((await revoke(subject.trim())).code).toBe(1);
      expect((await revoke(subject)).code).toBe(0);
    },
  );

  it('accepts the name with extra spaces around it', async () => {
    const { run: here } = await begin();
    expect((await here('keys revoke --subject alice', { typed: ' alice \n' })).code).toBe(0);
  });

  it('asks nothing with --yes, or if the act can be undone', async () => {
    const { run, id } = await begin();
    for (const line of [`keys disable ${id}`, `keys enable ${id}`, `keys revoke ${id} --yes`])
      expect((await run(line, { typed: '' })).stderr).not.toContain('Type');
  });
});
