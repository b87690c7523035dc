// What only a real process shows: exit codes, streams, and what other users see of the process.

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

/** Bundles the command, with or without BullMQ. */
async function bundle(to: string, external: string[]): Promise<void> {
  const source = (path: string) => new URL(`../../${path}.ts`, import.meta.url).pathname;
  await build({
    entryPoints: [source('cli/src/bin')],
    outdir: to,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    // Modules that are loaded on demand stay separate files.
    splitting: true,
    external,
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
    // Some bundled packages load modules of Node with require().
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

/** What all users of the machine can read of a process. */
function commandLineOf(pid: number): string {
  const path = `/proc/${pid}/cmdline`;
  if (existsSync(path)) return readFileSync(path, 'utf8').split('\0').join(' ').trim();
  return spawnSync('ps', ['-o', 'args=', '-p', `${pid}`], { encoding: 'utf8' }).stdout.trim();
}

it('NODE_EXTRA_CA_CERTS can name a private authority, too', async () => {
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
      'Save the secret access key now: it is not shown again\n',
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

  it('hides passwords and master keys from users who list processes', async () => {
    // This Redis never answers, so the command waits, and the test can look at its process.
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

  it('listens until Ctrl+C, and hides its secret from users who list processes', async () => {
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
    // Runs after the command has set its handlers of errors.
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

  it('lists the queue of callbacks, and ends', () => {
    const queue = `cli-binary-${process.pid}`;
    const url = inject('redisUrl');
    expect(countersign(url, 'callbacks', 'list', '--queue', queue, '--json')).toEqual({
      status: 0,
      stdout: '[]\n',
      stderr: `There are no such deliveries in ${url}\n`,
    });
  });

  it('needs BullMQ for the queue of callbacks only', async () => {
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
          'Cannot open a queue of callbacks without BullMQ: install it beside the command with "npm install bullmq@6" (add --global if the command is global)',
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

  it('ends without an error if its reader has ended', () => {
    expect(bash('cs completion fish | head -1')).toEqual([
      expect.stringMatching(/^# Completion .*\n0\n$/),
      '',
    ]);
    bash('cs keys init');
    expect(bash('cs keys list --json 2>&1 | true')).toEqual(['0\n', '']);
    expect(bash('cs keys lost 2>&1 | true')).toEqual(['2\n', '']);
  });

  it('names in one line a new key whose secret could not be printed', () => {
    const line = (why: string) =>
      new RegExp(
        `^Made access key "(\\w+)", but cannot print its secret: ${why}; .* revoke \\1, .*\n$`,
      );
    expect(bash('cs keys create --subject alice | true')).toEqual([
      '1\n',
      expect.stringMatching(line('stdout is closed')),
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
        expect.stringMatching(/^Cannot print the result: ENOSPC/),
      ]);
    expect(bash('cs keys create --subject alice 2> /dev/full')).toEqual([
      expect.stringMatching(/^Access key ID(?:.*\n)+0\n$/),
      '',
    ]);
  });

  it('is the one that package.json names', () => {
    const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    expect(bin).toEqual({ countersign: './dist/bin.js' });
    expect(readFileSync(binary, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    expect(countersign('', '--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
