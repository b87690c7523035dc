import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureProgram } from '../support/programs.ts';

const STORY = 'examples/video-parser/story.mjs';
const VIDEO = 'https://videos.example.net/cats.mp4';
const ESCAPE = '\u001b[';

/** What a program printed and how it ended, without what says anything of colours but `env`. */
function run(program: string, args: string[], env: Record<string, string> = {}) {
  const { CI, NO_COLOR, FORCE_COLOR, ...inherited } = process.env;
  return spawnSync(program, args, {
    encoding: 'utf8',
    env: { ...inherited, TERM: 'xterm-256color', ...env },
    timeout: 30_000,
  });
}

describe('node examples/video-parser/story.mjs', () => {
  it('tells the story, and ends well', () => {
    const { stdout, stderr, status } = run(process.execPath, [STORY]);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const verdicts = [...stdout.matchAll(/^ {2}< (\d{3} \w+): (.*)$/gm)].map(
      ([, verdict, said]) => `${verdict}: ${said}`,
    );
    expect(verdicts).toEqual([
      '200 accepted: parsedFor "alice"',
      '401 refused: nonce-reused',
      '401 refused: body-mismatch',
      '401 refused: signature-invalid',
      '401 refused: clock-skew',
      '401 refused: signature-missing',
      '200 accepted: parsedFor "alice"',
    ]);
    expect(stdout).toContain('All went as told.');
    expect(stdout).not.toContain('expected');
  });

  it('shows neither a secret nor a whole signature', () => {
    const { stdout } = run(process.execPath, [STORY]);
    expect(stdout).not.toMatch(/[0-9a-f]{64}/);
    expect(stdout).not.toMatch(/\b[A-Za-z0-9_-]{43}\b/);
    expect(stdout).toMatch(/Signature=[0-9a-f]{16}…/);
  });

  it('has colours on a terminal only, and not where NO_COLOR is set', () => {
    const script = ensureProgram(['script'], ['bsdutils']);
    const onTerminal = (env: Record<string, string>) =>
      run(script, ['-qec', `'${process.execPath}' ${STORY}`, '/dev/null'], env);
    const plain = run(process.execPath, [STORY]);
    const coloured = onTerminal({});
    const uncoloured = onTerminal({ NO_COLOR: '1' });
    expect([plain.status, coloured.status, uncoloured.status]).toEqual([0, 0, 0]);
    expect(plain.stdout).not.toContain(ESCAPE);
    expect(coloured.stdout).toContain(ESCAPE);
    expect(uncoloured.stdout).not.toContain(ESCAPE);
    expect(uncoloured.stdout).toContain('All went as told.');
  });
});

describe('python3 examples/python', () => {
  let server: ChildProcess;
  let api: { url: string; accessKeyId: string; secretAccessKey: string };

  beforeAll(async () => {
    server = spawn(process.execPath, ['examples/video-parser/server.mjs'], {
      env: { ...process.env, PORT: '0', COUNTERSIGN_PRINT_KEY: '1' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = await once(createInterface(server.stdout as NodeJS.ReadableStream), 'line');
    api = JSON.parse(line);
  });

  afterAll(async () => {
    const exit = once(server, 'exit');
    server.kill();
    await exit;
  });

  const call = (python: string, program: string, key = {}) => {
    const credentials = {
      COUNTERSIGN_ACCESS_KEY_ID: api.accessKeyId,
      COUNTERSIGN_SECRET_ACCESS_KEY: api.secretAccessKey,
    };
    const env = { ...credentials, PYTHONDONTWRITEBYTECODE: '1', NO_PROXY: '127.0.0.1', ...key };
    const { stdout, stderr, status } = run(
      python,
      [`examples/python/${program}`, api.url, VIDEO],
      env,
    );
    expect(stderr).toBe('');
    const [, code, body] = /^(\d{3}) (.*)\n$/s.exec(stdout) ?? [];
    return { status, code, answer: JSON.parse(body ?? 'null') };
  };
  const parsed = {
    videoUrl: VIDEO,
    host: 'videos.example.net',
    title: 'cats',
    container: 'mp4',
    parsedFor: 'alice',
  };

  it.each(['call.py', 'with_requests.py'])(
    '%s gets the answer, at its first call',
    (program) => {
      const python =
        program === 'call.py' ? ensureProgram(['python3'], ['python3']) : pythonWithRequests();
      expect(call(python, program)).toEqual({ status: 0, code: '200', answer: parsed });
    },
    120_000,
  );

  it.each(['call.py', 'with_requests.py'])(
    '%s is refused with the wrong secret',
    (program) => {
      const python =
        program === 'call.py' ? ensureProgram(['python3'], ['python3']) : pythonWithRequests();
      const wrong = { COUNTERSIGN_SECRET_ACCESS_KEY: 'x'.repeat(20) };
      expect(call(python, program, wrong)).toMatchObject({
        status: 1,
        code: '401',
        answer: { reason: 'signature-invalid' },
      });
    },
    120_000,
  );

  it('presign.py prints a URL that the API accepts, and refuses once it was changed', async () => {
    const python = ensureProgram(['python3'], ['python3']);
    const env = {
      PYTHONDONTWRITEBYTECODE: '1',
      COUNTERSIGN_ACCESS_KEY_ID: api.accessKeyId,
      COUNTERSIGN_SECRET_ACCESS_KEY: api.secretAccessKey,
    };
    const args = ['POST', `${api.url}/VideoParser/`, '300'];
    const { stdout, stderr, status } = run(python, ['examples/python/presign.py', ...args], env);
    expect([status, stderr]).toEqual([0, '']);
    const url = stdout.trimEnd();
    const statusOf = async (it: string) => (await fetch(it, { method: 'POST' })).status;
    // The API has verified it, and misses a body.
    expect(await statusOf(url)).toBe(422);
    expect(await statusOf(url.replace('Expires=300', 'Expires=301'))).toBe(401);
  });

  it.each(['call.py', 'presign.py', 'vectors.py'])(
    '%s has help, and tells what it lacks in one line',
    (program) => {
      const python = ensureProgram(['python3'], ['python3']);
      const callHere = (args: string[]) =>
        run(python, [`examples/python/${program}`, ...args], {
          PYTHONDONTWRITEBYTECODE: '1',
          COUNTERSIGN_ACCESS_KEY_ID: '',
          COUNTERSIGN_SECRET_ACCESS_KEY: '',
        });
      const usage = new RegExp(`python3 ${program.replace('.', '\\.')} `);
      expect(callHere(['--help'])).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(usage),
        stderr: '',
      });
      expect(callHere([])).toMatchObject({ status: 2, stderr: expect.stringMatching(usage) });
      const wrong = {
        'call.py': [api.url, VIDEO],
        'presign.py': ['GET', api.url, '300'],
        'vectors.py': ['none.json'],
      }[program] as string[];
      const { status, stderr } = callHere(wrong);
      expect([status, stderr]).toEqual([
        1,
        expect.stringMatching(/^(Cannot sign without credentials: set |FileNotFoundError: ).*\n$/),
      ]);
    },
  );
});

/** A Python that has `requests`: the one on the PATH, or Debian's own with Debian's package. */
function pythonWithRequests(): string {
  const candidates = [ensureProgram(['python3'], ['python3']), '/usr/bin/python3'];
  const withRequests = () =>
    candidates.find((python) => run(python, ['-c', 'import requests']).status === 0);
  const found = withRequests();
  if (found !== undefined) return found;
  // No program comes with the package: one that cannot be found has it installed, and is missed
  // afterwards.
  expect(() => ensureProgram(['python3-requests'], ['python3-requests'])).toThrow(
    'python3-requests',
  );
  const installed = withRequests();
  if (installed === undefined)
    throw new Error(
      'Cannot import requests in Python: install it (Debian: apt-get install python3-requests)',
    );
  return installed;
}
