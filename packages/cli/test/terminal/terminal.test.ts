// Text that other people chose must not control the terminal. All text goes through one class.

import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Terminal } from '../../src/terminal/terminal.ts';
import { newFolder, run, runner } from '../support.ts';

const source = join(import.meta.dirname, '../../src');

const range = (from: number, to = from): number[] =>
  Array.from({ length: to - from + 1 }, (_, at) => from + at);

/** Code points, so that this list is independent of the pattern in the code. */
const DANGEROUS: Record<string, number[]> = {
  'C0 but the line break': [...range(0x00, 0x09), ...range(0x0b, 0x1f)],
  'DEL and C1': range(0x7f, 0x9f),
  'bidirectional marks': [
    0x61c,
    0x200e,
    0x200f,
    ...range(0x202a, 0x202e),
    ...range(0x2066, 0x2069),
  ],
  'line and paragraph separators': [0x2028, 0x2029],
  'what has no width': [
    0xad,
    0x34f,
    0x180e,
    ...range(0x200b, 0x200d),
    ...range(0x2060, 0x2064),
    0xfeff,
  ],
  'invisible letters': [0x115f, 0x1160, 0x3164, 0xffa0],
  annotations: range(0xfff9, 0xfffb),
  'variation selectors': [...range(0xfe00, 0xfe0f), ...range(0xe0100, 0xe01ef)],
  tags: [0xe0001, ...range(0xe0020, 0xe007f)],
  'halves of characters': [0xd800, 0xdbff, 0xdc00, 0xdfff],
};
/** One of each kind, except lone surrogates: JSON replaces those. */
const HOSTILE = `a\u0000\t\r\u001b[2J\u007f\u009b2J\u061c\u200f\u202e\u2066\u2028\u200b\ufeff\u3164\u{e0041}b`;
const SHOWN =
  'a\\u0000\\u0009\\u000d\\u001b[2J\\u007f\\u009b2J\\u061c\\u200f\\u202e\\u2066\\u2028\\u200b\\ufeff\\u3164\\udb40\\udc41b';

function printed(): { terminal: Terminal; text: () => string } {
  let text = '';
  const terminal = new Terminal({
    write: (more, callback) => {
      text += more;
      callback();
    },
  });
  return { terminal, text: () => text };
}

/** The code points of the dangerous characters of a text. */
function dangersIn(text: string): string[] {
  const numbers = new Set(Object.values(DANGEROUS).flat());
  const found = [...text].map((character) => character.codePointAt(0) as number);
  return found.filter((number) => numbers.has(number)).map((number) => `U+${number.toString(16)}`);
}

describe('Terminal', () => {
  it.each(Object.entries(DANGEROUS))('escapes %s, as JSON does', async (_, numbers) => {
    const { terminal, text } = printed();
    const characters = numbers.map((number) => String.fromCodePoint(number)).join('x');
    await terminal.print(`"${characters}"\n`);
    expect(text()).toMatch(/^"(?:(?:\\u[0-9a-f]{4}){1,2}x?)+"\n$/);
    expect(JSON.parse(text())).toBe(characters);
  });

  it('leaves letters of all languages, emoji and line breaks alone', async () => {
    const { terminal, text } = printed();
    const kept = 'Größe 日本 עברית عربى हिन्दी 💻\n\u00a0é e\u0301\n';
    await terminal.print(kept);
    expect(text()).toBe(kept);
  });

  it('returns the error of a stream that cannot be written', async () => {
    const error = new Error('full');
    const terminal = new Terminal({ write: (_, callback) => callback(error) });
    expect(await terminal.print('x')).toBe(error);
  });
});

describe('every command', () => {
  it('X16: shows the label of a key escaped, in tables, details and JSON', async () => {
    const { run, id } = await withHostileKey();
    for (const line of ['keys list', `keys show ${id}`]) {
      const { code, stdout, stderr } = await run(line);
      expect([code, dangersIn(stdout + stderr)], line).toEqual([0, []]);
      // A line break within a value would look like a new record.
      expect(stdout, line).toContain(`${SHOWN}\\u000aFORGED`);
      const asked = await run(`${line} --json`);
      expect([asked.code, dangersIn(asked.stdout)], line).toEqual([0, []]);
      const [key] = [JSON.parse(asked.stdout)].flat();
      expect(key).toMatchObject({ subject: HOSTILE, label: `${HOSTILE}\nFORGED` });
    }
  });

  it('X16: asks whether to revoke, with the name escaped', async () => {
    const { run, id } = await withHostileKey();
    const { code, stderr } = await run(`keys revoke ${id}`, { typed: `${id}\n` });
    expect([code, dangersIn(stderr)]).toEqual([0, []]);
    expect(stderr).toMatch(/^This will revoke .*\\u009b2J\\u061c.* Type CSAK/);
  });

  it.each([
    ['an unknown command', ['keys', HOSTILE]],
    ['an unknown option', ['keys', 'list', `--${HOSTILE}`]],
    ['an argument too many', ['keys', 'list', HOSTILE]],
    ['help', ['help', HOSTILE]],
    ['a value', ['keys', 'show', HOSTILE]],
    ['a choice', ['completion', HOSTILE]],
    ['JSON', ['callbacks', 'send', 'https://alice.test/', '--data', HOSTILE]],
    ['a store', ['keys', 'list', '--store', `redis-cluster://${HOSTILE}`]],
    ['a file', ['keys', 'list', '--master-key-file', HOSTILE.replaceAll('\0', '')]],
  ])('X16: repeats %s in its error, escaped: also with --json and DEBUG', async (_, argv) => {
    for (const flags of [[], ['--json']])
      for (const env of [{}, { DEBUG: '1' }]) {
        const { code, stdout, stderr } = await run([...argv, ...flags], { env });
        expect(code).toBe(2);
        expect(dangersIn(stdout + stderr)).toEqual([]);
        if (stdout !== '') expect(JSON.parse(stdout).error.code).toBe('ERR_USAGE');
      }
  });

  it('X16: prints callbacks as they arrive, escaped', async () => {
    const secret = 'whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH';
    for (const flags of [[], ['--json']]) {
      let end: () => void = () => undefined;
      let listensAt: (port: string) => void = () => undefined;
      const port = new Promise<string>((resolve) => {
        listensAt = resolve;
      });
      const ended = run(['callbacks', 'listen', '--port', '0', ...flags], {
        env: { COUNTERSIGN_CALLBACK_SECRET: secret },
        interrupted: new Promise((resolve) => {
          end = resolve;
        }),
        onWritten: (text) => {
          const [, found] = /127\.0\.0\.1:(\d+)/.exec(text) ?? [];
          if (found !== undefined) listensAt(found);
        },
      });
      const headers = { 'webhook-id': '\u009b2J' };
      const body = Buffer.from(`{"type":${JSON.stringify(HOSTILE)}}`);
      const options = { host: '127.0.0.1', port: await port, method: 'POST', headers };
      const [response] = await once(request({ ...options, agent: false }).end(body), 'response');
      response.resume();
      await once(response, 'end');
      end();
      const { code, stdout, stderr } = await ended;
      expect([code, dangersIn(stdout + stderr)]).toEqual([0, []]);
      if (flags.length === 0) expect(stdout).toContain(SHOWN);
      else
        expect(JSON.parse(stdout)).toMatchObject({
          id: '\u009b2J',
          type: HOSTILE,
          body: `${body}`,
        });
    }
  });

  it.each(['bash', 'zsh', 'fish'])(
    'X16: prints a script for %s in plain characters',
    async (shell) => {
      for (const flags of [[], ['--json']]) {
        const { code, stdout } = await run(['completion', shell, ...flags]);
        expect([code, dangersIn(stdout)]).toEqual([0, []]);
        // The script needs no escaping, so the shell runs it as it was written.
        expect(stdout).not.toMatch(/\\u[0-9a-f]{4}/);
      }
    },
  );
});

/** Ways to write without Terminal, which only its own file may use. */
const WAYS: readonly RegExp[] = [
  /\bconsole\b/,
  /\.(?:write|writev|pipe|pipeTo)\b\s*[(`]/,
  /\bwriteSync\b|\bpipeline\b|(?<!NodeJS\.)\bWriteStream\b/,
  /['"](?:node:)?(?:tty|process|console|inspector)['"]/,
  /\/dev\/(?:std|fd|tty)/,
  /\bprocess\s*(?:\?\.|\.|\[)\s*['"]?std(?:out|err)/,
  /\bstd(?:out|err)\b[^=;]*=\s*(?:globalThis\.)?process\b/,
];

const OWN_STREAMS = /terminal\(process\.std(?:out|err)\)|process\.stderr\.isTTY/g;

function waysPast(code: string): RegExp[] {
  return WAYS.filter((way) => way.test(code));
}

describe('the sources of the command', () => {
  it.each([
    'console.log(1);',
    "process.stdout.write('x');",
    "process['stderr'].write('x');",
    'const { stdout } = process;',
    'stream.write(text);',
    'stream.pipe(other);',
    'writeSync(1, text);',
    "import { stdout } from 'node:process';",
    "import { WriteStream } from 'node:tty';",
    "writeFileSync('/dev/stdout', text);",
  ])('are found out: %s', (code) => expect(waysPast(code)).not.toEqual([]));

  it('write through Terminal only', () => {
    const files = readdirSync(source, { recursive: true, encoding: 'utf8' });
    const checked = files.filter((file) => file.endsWith('.ts'));
    expect(checked.length).toBeGreaterThan(40);
    const found = checked.flatMap((file) => {
      const code = readFileSync(join(source, file), 'utf8');
      // Only the file that gives Terminal the streams of the process may name them.
      const rest = file === 'bin.ts' ? code.replace(OWN_STREAMS, '') : code;
      return waysPast(rest).map((way) => `${file}: ${way}`);
    });
    expect(found).toEqual([`terminal/terminal.ts: ${WAYS[1]}`]);
  });
});

/** A key with dangerous characters in its subject and label. */
async function withHostileKey() {
  const env = { COUNTERSIGN_STORE: `file:${join(await newFolder(), 'keys.json')}` };
  const made = await run(
    ['keys', 'create', '--subject', HOSTILE, '--label', `${HOSTILE}\nFORGED`, '--json'],
    { env },
  );
  expect([made.code, dangersIn(made.stdout)]).toEqual([0, []]);
  const { accessKeyId } = JSON.parse(made.stdout);
  return { ...runner(env), id: accessKeyId as string };
}
