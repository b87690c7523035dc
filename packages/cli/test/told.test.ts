import { describe, expect, it } from 'vitest';
import { Output } from '../src/terminal/output.ts';
import { Terminal } from '../src/terminal/terminal.ts';
import { NOW, newFolder, run } from './support.ts';

describe('messages of commands', () => {
  it('hold no character that controls a terminal', () => {
    const written: string[] = [];
    const stderr = new Terminal({ write: (text) => void written.push(text) });
    const io = { stderr } as unknown as ConstructorParameters<typeof Output>[0];
    new Output(io, false).note('Made key of "\u001b[31malice\u0007\r\n\u202e"');
    const [told = ''] = written;
    expect(told.endsWith('\n')).toBe(true);
    expect(told.slice(0, -1)).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(told).toContain('alice');
  });

  it.each(['hush-hush', 'first\nhush-hush', "it's hush-hush", "a=b'\nhush-hush'"])(
    'leave out the value of an unknown option: %j',
    async (value) => {
      const { code, stdout, stderr } = await run(['keys', 'list', `--secret=${value}`]);
      expect([code, stdout]).toEqual([2, '']);
      expect(stderr).toContain('Unknown option "--secret"');
      expect(stderr).not.toContain('hush');
    },
  );
});

describe('keys revoke --signed-before', () => {
  it.each([1, 5, 60, 3_600])('refuses a time that is %i s ahead', async (ahead) => {
    const env = { COUNTERSIGN_STORE: `file:${await newFolder()}/keys.json` };
    expect((await run(['keys', 'create', '--subject', 'alice'], { env })).code).toBe(0);
    const revoke = (at: number) => {
      const time = `${new Date(at * 1000).toISOString().slice(0, 19)}Z`;
      return run(['keys', 'revoke', '--signed-before', time, '--yes'], { env });
    };
    const { code, stderr } = await revoke(NOW + ahead);
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^Cannot revoke what was signed before ".*": this time is in the future; give now or an earlier time/,
    );
    expect((await revoke(NOW)).code).toBe(0);
  });
});
