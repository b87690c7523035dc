import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { newFolder, runner } from '../support.ts';

async function begin() {
  const { run, json } = runner({
    COUNTERSIGN_STORE: `file:${join(await newFolder(), 'keys.json')}`,
    COUNTERSIGN_ISSUER: 'video-api',
  });
  const { accessKeyId } = await json('keys create --subject alice');
  return { run, json, id: accessKeyId as string };
}

describe('a secret that cannot be printed', () => {
  it.each([
    ['keys create --subject bob', 'access key', 'keys'],
    ['keys rotate ID --overlap 1h', 'access key', 'keys'],
    ['sessions issue --subject bob --audience video-api', 'session', 'sessions'],
  ])('is an error that says what was made and how to revoke it: %s', async (line, what, group) => {
    const { run, json, id } = await begin();
    for (const [stdoutFails, why] of [
      ['ENOSPC', 'it is full'],
      ['EPIPE', 'stdout is closed'],
    ] as const) {
      const { code, stderr } = await run(line.replace('ID', id), { stdoutFails });
      const [, made = ''] = /"(\w+)"/.exec(stderr) ?? [];
      expect([code, stderr]).toEqual([
        1,
        `Made ${what} "${made}", but cannot print its secret: ${why}; run countersign ${group} revoke ${made}, and make another\n`,
      ]);
      await json(`${group} revoke ${made} --yes`);
    }
  });
});

describe('data that cannot be printed', () => {
  it('is an error', async () => {
    const { run } = await begin();
    expect(await run('keys list', { stdoutFails: 'ENOSPC' })).toEqual({
      code: 1,
      stdout: '',
      stderr: 'Cannot print the result: it is full; the command itself succeeded\n',
    });
  });

  it('is no error if stdout was closed', async () => {
    const { run } = await begin();
    expect(await run('keys list', { stdoutFails: 'EPIPE' })).toEqual({
      code: 0,
      stdout: '',
      stderr: '',
    });
  });
});
