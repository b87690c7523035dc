// What only a process of its own shows: exit codes, streams, and what others see of it.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { generateMasterKey } from '@countersign/server';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { certify, startTls } from './store/tls-support.ts';

const folder = mkdtempSync(join(tmpdir(), 'countersign-cli-'));
const binary = join(folder, 'dist/bin.mjs');
const masterKey = generateMasterKey();

/** Bundles the command; BullMQ too, unless it is left out. */
async function bundle(to: string, external: string[]): Promise<void> {
  const source = (path: string) => new URL(`../../${path}.ts`, import.meta.url).pathname;
  await build({
    entryPoints: [source('cli/src/bin')],
    outdir: to,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    // What is loaded when it is wanted stays apart.
    splitting: true,
    external,
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
    // Some of what is bundled asks for modules of Node the old way.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
    alias: {
      '@countersign/shared': source('shared/src/index'),
      ...Object.fromEntries(
        ['', '/bullmq', '/callbacks', '/file', '/redis', '/sessions'].map((path) => [
          `@countersign/server${path}`,
          source(`server/src${path || '/index'}`),
        ]),
      ),
      '#digest': source('shared/src/digest.node'),
      '#private-key': source('shared/src/private-key.node'),
    },
  });
}

beforeAll(async () => {
  cpSync(new URL('../package.json', import.meta.url), join(folder, 'package.json'));
  await bundle(join(folder, 'dist'), []);
});

afterAll(() => rmSync(folder, { recursive: true }));

function environment(store: string): NodeJS.ProcessEnv {
  const { PATH } = process.env;
  return { PATH, COUNTERSIGN_STORE: store, COUNTERSIGN_MASTER_KEY: masterKey };
}

function countersign(store: string, ...args: string[]) {
  const options = { cwd: folder, env: environment(store), encoding: 'utf8' } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [binary, ...args], options);
  return { status, stdout, stderr };
}

/** What everybody on the machine can read of a process. */
function commandLineOf(pid: number): string {
  const path = `/proc/${pid}/cmdline`;
  if (existsSync(path)) return readFileSync(path, 'utf8').split('\0').join(' ').trim();
  return spawnSync('ps', ['-o', 'args=', '-p', `${pid}`], { encoding: 'utf8' }).stdout.trim();
}

it('a private authority may also be one that Node is told to trust: NODE_EXTRA_CA_CERTS', async () => {
  const certified = await certify(folder, 'redis.test', '127.0.0.1');
  const { port } = await startTls(certified);
  const call = (env: NodeJS.ProcessEnv) =>
    spawnSync(process.execPath, [binary, 'keys', 'init'], {
      env: { ...environment(`rediss://127.0.0.1:${port}`), ...env },
      encoding: 'utf8',
    });
  expect(call({}).stderr).toContain('self-signed certificate; name the authority');
  expect(call({ NODE_EXTRA_CA_CERTS: certified.cert }).status).toBe(0);
});

describe.each(['file', 'redis'])('the command, with keys in %s', (kind) => {
  it('makes, lists, rotates and revokes', () => {
    const store = kind === 'file' ? 'file:./keys.json' : inject('redisUrl');
    const prefix = kind === 'file' ? [] : ['--prefix', `cli-binary-${process.pid}`];
    const call = (...args: string[]) => countersign(store, ...args, ...prefix);
    const made = call('keys', 'create', '--subject', 'alice', '--json');
    expect([made.status, made.stderr]).toEqual([
      0,
      'Keep the secret access key now: it is not shown again\n',
    ]);
    const { accessKeyId, secretAccessKey } = JSON.parse(made.stdout);
    const rotated = call('keys', 'rotate', accessKeyId, '--overlap', '24h', '--json');
    expect(rotated.status).toBe(0);
    expect(call('keys', 'revoke', accessKeyId)).toMatchObject({ status: 2, stdout: '' });
    expect(call('keys', 'revoke', accessKeyId, '--yes').status).toBe(0);
    const listed = call('keys', 'list');
    expect(listed.stdout).toMatch(new RegExp(`^${accessKeyId} +alice +revoked`, 'm'));
    expect(listed.stdout).toContain(JSON.parse(rotated.stdout).accessKeyId);
    expect(call('keys', 'enable', accessKeyId).status).toBe(1);
    expect(listed.stdout + listed.stderr).not.toContain(secretAccessKey);
  });
});

describe('the command', () => {
  it('says what is wrong in one line, without a stack', () => {
    expect(countersign('file:./other.json', 'keys', 'list')).toEqual({
      status: 1,
      stdout: '',
      stderr: expect.stringMatching(/^The key store at "\S+" is empty: .*\n$/),
    });
    countersign('file:./other.json', 'keys', 'init');
    expect(countersign('file:./other.json', 'keys', 'show', 'CSAK-none')).toEqual({
      status: 1,
      stdout: '',
      stderr: 'There is no access key "CSAK-none"\n',
    });
    expect(countersign('nonsense', 'keys', 'list').status).toBe(2);
  });

  it('shows neither passwords nor master keys to those who list processes', async () => {
    // A Redis that never answers: the command waits for it, and can be looked at.
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const child: ChildProcess = spawn(process.execPath, [binary, 'keys', 'list'], {
      env: environment(`redis://:hunter2@127.0.0.1:${port}`),
      stdio: 'ignore',
    });
    const exit = once(child, 'exit');
    onTestFinished(async () => {
      child.kill('SIGKILL');
      await exit;
      silent.close();
    });
    await once(silent, 'connection');
    expect(commandLineOf(child.pid as number)).toBe(`${process.execPath} ${binary} keys list`);
  });

  it('listens until Ctrl+C, and shows no secret to those who list processes', async () => {
    const secret = `whsec_${randomBytes(32).toString('base64')}`;
    const child = spawn(process.execPath, [binary, 'callbacks', 'listen', '--port', '0'], {
      env: { ...environment(''), COUNTERSIGN_CALLBACK_SECRET: secret },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const exit = once(child, 'exit');
    onTestFinished(() => void child.kill('SIGKILL'));
    const [line] = await once(createInterface(child.stderr), 'line');
    expect(line).toMatch(/^Listening at http:\/\/127\.0\.0\.1:\d+\/ until Ctrl\+C$/);
    expect(commandLineOf(child.pid as number)).toBe(
      `${process.execPath} ${binary} callbacks listen --port 0`,
    );
    child.kill('SIGINT');
    expect(await exit).toEqual([0, null]);
  });

  it.each([
    ['a warning of Node', 'process.emitWarning(text)', 'Warning', 0],
    ['an error that nothing catches', 'throw Error(text)', 'Error', 1],
  ])('X16: escapes %s', (_, act, name, status) => {
    // Once the command has said what it does with errors.
    const code = `
      const text = 'a\\u009b2J\\u202eb';
      process.on('newListener', (event) => {
        if (event === 'uncaughtException') setImmediate(() => { ${act} });
      });`;
    const args = ['--import', `data:text/javascript,${encodeURIComponent(code)}`, binary];
    const options = { cwd: folder, env: environment(''), encoding: 'utf8' } as const;
    const ended = spawnSync(process.execPath, [...args, 'master-key'], options);
    expect(ended.stderr).toMatch(new RegExp(`^${name}: a\\\\u009b2J\\\\u202eb\n`, 'm'));
    expect(ended.status).toBe(status);
  });

  it('looks into the queue of callbacks, and ends', () => {
    const queue = `cli-binary-${process.pid}`;
    const url = inject('redisUrl');
    expect(countersign(url, 'callbacks', 'list', '--queue', queue, '--json')).toEqual({
      status: 0,
      stdout: '[]\n',
      stderr: `There are no such callbacks in ${url}\n`,
    });
  });

  it('wants BullMQ for the queue of callbacks, and for nothing else', async () => {
    await bundle(join(folder, 'alone'), ['bullmq']);
    const alone = (...args: string[]) => {
      const env = { ...environment('file:./alone.json'), COUNTERSIGN_CALLBACK_SECRET: 'whsec_x' };
      const path = join(folder, 'alone/bin.mjs');
      return spawnSync(process.execPath, [path, ...args], { cwd: folder, env, encoding: 'utf8' });
    };
    const made = alone('keys', 'create', '--subject', 'alice', '--json');
    expect([made.status, JSON.parse(made.stdout).subject]).toEqual([0, 'alice']);
    expect(alone('keys', 'list').stdout).toMatch(/ alice /);
    expect(alone('callbacks', 'send', 'https://alice.test/').stderr).toMatch(
      /^Cannot read callback key/,
    );
    const redis = ['--store', inject('redisUrl'), '--json'];
    const listed = alone('callbacks', 'list', ...redis);
    expect([listed.status, JSON.parse(listed.stdout).error]).toEqual([
      1,
      {
        code: 'ERR_BULLMQ_MISSING',
        message:
          'Cannot look into a queue of callbacks without BullMQ: install it where the command is installed, with "npm install bullmq@6" (and --global if the command is global)',
      },
    ]);
  });

  /** Runs a line of bash, in which `cs` is the command. */
  function bash(line: string) {
    const script = `cs() { "$node" "$binary" "$@"; }; ${line}; echo "\${PIPESTATUS[0]}"`;
    const env = { ...environment('file:./streams.json'), node: process.execPath, binary };
    const options = { cwd: folder, env, encoding: 'utf8' } as const;
    const { stdout, stderr } = spawnSync('bash', ['--norc', '-c', script], options);
    return [stdout, stderr];
  }

  it('ends quietly where nobody reads on', () => {
    expect(bash('cs completion fish | head -1')).toEqual([
      expect.stringMatching(/^# Completion .*\n0\n$/),
      '',
    ]);
    bash('cs keys init');
    expect(bash('cs keys list --json 2>&1 | true')).toEqual(['0\n', '']);
    expect(bash('cs keys lost 2>&1 | true')).toEqual(['2\n', '']);
  });

  it('tells in one line of a key that was made, and whose secret nobody has', () => {
    const line = (why: string) =>
      new RegExp(
        `^Made access key "(\\w+)", but cannot print its secret: ${why}; .* revoke \\1, .*\n$`,
      );
    expect(bash('cs keys create --subject alice | true')).toEqual([
      '1\n',
      expect.stringMatching(line('nobody reads it')),
    ]);
    expect(bash('cs keys create --subject alice 2>&1 | true')).toEqual(['1\n', '']);
    if (!existsSync('/dev/full')) return;
    expect(bash('cs keys create --subject alice --json > /dev/full')).toEqual([
      '1\n',
      expect.stringMatching(line('ENOSPC: .*')),
    ]);
    for (const words of ['--help', '--version', 'help keys rotate', 'keys create --help'])
      expect(bash(`cs ${words} > /dev/full`), words).toEqual([
        '1\n',
        expect.stringMatching(/^Done, but cannot print the result: ENOSPC/),
      ]);
    expect(bash('cs keys create --subject alice 2> /dev/full')).toEqual([
      expect.stringMatching(/^Access key ID(?:.*\n)+0\n$/),
      '',
    ]);
  });

  it('is what package.json says', () => {
    const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    expect(bin).toEqual({ countersign: './dist/bin.js' });
    expect(readFileSync(binary, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    expect(countersign('', '--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
