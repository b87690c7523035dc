import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freePort } from '../support/guarded-server.ts';
import { ensureProgram } from '../support/programs.ts';

/**
 * What the page has between fences: commands, a file to save, or what the commands above it print.
 */
interface Block {
  readonly kind: 'sh' | 'file' | 'text';
  readonly file: string;
  readonly text: string;
  /** That it stands below. */
  readonly heading: string;
}

/** Milliseconds. Alone it takes 80 seconds. */
const WITHIN = 300_000;

const REPOSITORY = resolve('.');
const folder = mkdtempSync(join(tmpdir(), 'countersign-run-it-'));
const blocks = readBlocks(await atFreePorts(readFileSync('docs/run-it.md', 'utf8')));
const commands = blocks.filter(({ kind }) => kind === 'sh');
let results: readonly string[] = [];

beforeAll(async () => {
  for (const name of ['redis-server', 'openssl', 'curl']) ensureProgram([name], [name]);
  ensureProgram(['redis-cli'], ['redis-tools']);
  installFrom(join(folder, 'bin'));
  results = (await run(toScript(blocks))).split(/^@@@\n/m).slice(1);
}, WITHIN + 30_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('every command succeeds', () => {
  expect(commands.length).toBeGreaterThan(15);
  expect(results).toHaveLength(commands.length);
});

const shown = blocks.flatMap(({ kind, text, heading }, index) =>
  kind === 'text' ? [{ heading, text, command: blocks[index - 1] as Block }] : [],
);

it.each(shown)('$heading: the commands print what the page shows', ({ text, command }) => {
  expect(results[commands.indexOf(command)]).toMatch(toPattern(text));
});

function readBlocks(text: string): Block[] {
  const found: Block[] = [];
  let heading = '';
  for (const match of text.matchAll(/^#+ ([^\n]*)$|^```(\w+)(?: file=(\S+))?\n(.*?)^```$/gms)) {
    const [, title, language, file = '', code = ''] = match;
    if (title !== undefined) heading = title;
    else if (file !== '') found.push({ kind: 'file', file, text: code, heading });
    else if (language === 'sh' || language === 'text')
      found.push({ kind: language, file, text: code, heading });
    else throw new Error(`A block of docs/run-it.md is neither commands nor a file: ${code}`);
  }
  return found;
}

/** All commands in one script, as an operator types them into one shell. */
function toScript(all: readonly Block[]): string {
  const parts = all.map(({ kind, file, text }) => {
    if (kind === 'file') return `cat > ${file} <<'END-OF-FILE'\n${text}END-OF-FILE\n`;
    return kind === 'sh' ? `echo @@@\n${text}` : '';
  });
  return `set -euo pipefail\n${parts.join('\n')}`;
}

/**
 * Runs a script, and returns what it printed. It ends, with all that it started, when this process
 * ends: then the pipe that it reads closes.
 */
async function run(script: string): Promise<string> {
  writeFileSync(join(folder, 'page.sh'), script);
  const watch = 'exec 3<&0 < /dev/null; { cat <&3; kill -KILL -- -$$; } &';
  const shell = spawn('bash', ['-c', `${watch} exec 3<&-; . ./page.sh`], {
    cwd: folder,
    detached: true,
    env: { ...process.env, PATH: `${folder}/bin:${process.env['PATH']}` },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const [printed, remarks] = [collect(shell.stdout), collect(shell.stderr)];
  // One of the commands may wait for what does not come: then the error says what was printed.
  const deadline = setTimeout(() => shell.stdin.end(), WITHIN);
  const [code] = await once(shell, 'exit');
  clearTimeout(deadline);
  shell.stdin.end();
  if (code !== 0) throw new Error(`${printed()}\n\nThe last command failed: ${remarks()}`);
  return printed();
}

function collect(stream: Readable): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return () => text;
}

/** The packages of this repository and its Express and ioredis, in the place of the registry. */
function installFrom(bin: string): void {
  const links = ['client', 'server', 'cli'].map(
    (name) => `ln -s ${REPOSITORY}/packages/${name} node_modules/@countersign/${name}`,
  );
  for (const name of ['express', 'ioredis'])
    links.push(`ln -s ${REPOSITORY}/node_modules/${name} node_modules/${name}`);
  const command = `exec ${process.execPath} ${REPOSITORY}/packages/cli/dist/bin.js "$@"`;
  mkdirSync(bin);
  for (const [name, lines] of [
    ['npm', ['mkdir -p node_modules/@countersign', ...links]],
    ['countersign', [command]],
  ] as const)
    writeFileSync(join(bin, name), `#!/bin/sh -e\n${lines.join('\n')}\n`, { mode: 0o755 });
}

/** The page has the ports that an operator would choose; others may use them at the same time. */
async function atFreePorts(text: string): Promise<string> {
  let result = text;
  for (const port of new Set(text.match(/\b(?:30|63|263)\d\d\b/g))) {
    let free = await freePort();
    // A node of a cluster uses the port 10,000 above, too: below those of outgoing connections.
    while (free >= 22_000) free = await freePort();
    result = result.replaceAll(new RegExp(`\\b${port}\\b`, 'g'), `${free}`);
  }
  return result;
}

/** What the page leaves out, it writes as an ellipsis. */
function toPattern(expected: string): RegExp {
  const escaped = expected.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('…', '[^\n]*')}$`);
}
