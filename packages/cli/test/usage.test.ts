import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { run, UNKNOWN } from './support.ts';

const create = ['keys', 'create', '--subject', 'alice'];
const issue = ['sessions', 'issue', '--subject', 'alice', '--audience', 'video-api'];
const long = 'x'.repeat(1_025);
const hundred = `"${'x'.repeat(64)}…"`;

describe('wrong usage', () => {
  it.each<[string[], string]>([
    [['foo'], 'Unknown command "foo"; see countersign --help'],
    [
      ['keys', 'rotat'],
      'Unknown command "rotat" (did you mean rotate?); see countersign keys --help',
    ],
    [
      ['keys', 'list', 'x', 'y'],
      'Too many arguments for "list": expected 0 arguments but got 2; see countersign keys list --help',
    ],
    [
      ['keys', 'list', '--subjet', 'x'],
      'Unknown option "--subjet" (did you mean --subject?); see countersign keys list --help',
    ],
    [
      ['keys', 'revoke', UNKNOWN, '--yes=no'],
      'Option "--yes" takes no value; see countersign keys revoke --help',
    ],
    [['keys', 'list', '-h=x'], 'Option "-h" takes no value; see countersign keys list --help'],
    [['keys', 'show'], 'Missing required argument "id"; see countersign keys show --help'],
    [
      ['keys', 'create'],
      'Required option "--subject <name>" not specified; see countersign keys create --help',
    ],
    [
      ['completion', 'tcsh'],
      'Command-argument value "tcsh" is invalid for argument "shell": expected bash, zsh, fish; see countersign completion --help',
    ],
    [
      ['keys', 'show', 'a/b'],
      'Cannot use access key id "a/b": expected 1 to 128 of A-Z a-z 0-9 . _ -',
    ],
    [['keys', 'create', '--subject', ''], 'Cannot use subject "": expected 1 to 1024 characters'],
    [
      ['keys', 'list', '--subject', long],
      `Cannot use subject ${hundred}: expected 1 to 1024 characters`,
    ],
    [
      [...create, '--scope', 'a b'],
      'Cannot use scope "a b": expected a name without spaces; repeat --scope for more',
    ],
    [
      [...create, '--audience', 'a b'],
      'Cannot use audience "a b": expected a service name: 1 to 128 of A-Z a-z 0-9 . _ : -',
    ],
    [[...create, '--label', long], `Cannot use label ${hundred}: expected at most 1024 characters`],
    [
      [...create, '--expires-in', '5x'],
      'Cannot parse duration "5x": expected a number and s, m, h or d, as 90d',
    ],
    [
      [...create, '--expires-in', '0s'],
      'Cannot make a key that expires at 2026-11-24 22:30:05 UTC: it would never work; give a later time',
    ],
    [
      [...create, '--expires-at', '2026-01-01'],
      'Cannot make a key that expires at 2026-01-01 00:00:00 UTC: it would never work; give a later time',
    ],
    [
      [...create, '--expires-in', '1d', '--not-before', '2027-01-01'],
      'Cannot make a key that expires at 2026-11-25 22:30:05 UTC: it would never work; give a later time',
    ],
    [
      [...create, '--not-before', 'soon'],
      'Cannot parse time "soon": expected now, a day as 2026-11-24, or a time as 2026-11-24T22:30Z',
    ],
    [
      [...create, '--expires-in', '1d', '--expires-at', '2027-01-01'],
      'Option "--expires-at <time>" cannot be used with option "--expires-in <duration>"; see countersign keys create --help',
    ],
    [
      ['keys', 'rotate', UNKNOWN],
      'Required option "--overlap <duration>" not specified; see countersign keys rotate --help',
    ],
    [
      ['keys', 'rotate', UNKNOWN, '--overlap', '367d'],
      'Cannot use duration "367d": expected at most 366d',
    ],
    [['keys', 'revoke'], 'Cannot tell what to revoke: give an id, --subject or --signed-before'],
    [
      ['keys', 'revoke', UNKNOWN, '--subject', 'alice'],
      `Cannot revoke "${UNKNOWN}" together with --subject or --signed-before: give the id, or the options`,
    ],
    [
      ['keys', 'revoke', 'CSSK7Q2M5X9R4T8W3Y6Z0ABC'],
      'Cannot revoke access key "CSSK7Q2M5X9R4T8W3Y6Z0ABC": it is a session; use countersign sessions revoke',
    ],
    [
      ['keys', 'revoke', '--signed-before', '2027-01-01'],
      'Cannot revoke what was signed before "2027-01-01": this time is in the future; give now or an earlier time',
    ],
    [
      ['sessions', 'revoke', UNKNOWN],
      `Cannot use session id "${UNKNOWN}": expected CSSK and 20 letters and digits, as sessions issue prints it`,
    ],
    [
      ['sessions', 'revoke'],
      'Cannot tell which sessions to revoke: give one of an id, --subject and --everybody',
    ],
    [
      ['sessions', 'revoke', '--everybody', '--subject', 'alice'],
      'Cannot tell which sessions to revoke: give one of an id, --subject and --everybody',
    ],
    [issue, 'Cannot issue a session without an issuer: give --issuer, or set COUNTERSIGN_ISSUER'],
    [
      [...issue, '--issuer', 'x'.repeat(257)],
      `Cannot use issuer ${hundred}: expected 1 to 256 characters`,
    ],
    [[...issue, '--issuer', 'v', '--ttl', '8d'], 'Cannot use duration "8d": expected at most 7d'],
    [
      [...issue, '--issuer', 'v', '--ttl', '0.5s'],
      'Cannot use duration "0.5s": expected at least 1s',
    ],
    [
      ['master-key', '--id', 'a:b'],
      'Cannot use master key id "a:b": expected 1 to 64 of A-Z a-z 0-9 _ -',
    ],
    [
      ['callbacks', 'list'],
      'Cannot find the queue of callbacks: give the URL of Redis with --store or COUNTERSIGN_STORE',
    ],
    [
      ['callbacks', 'list', '--store', 'file:./keys.json'],
      'Cannot find callbacks in "file:./keys.json": they are queued in Redis; give its URL with --store',
    ],
    [
      ['callbacks', 'list', '--state', 'lost'],
      'Option "--state <state>" argument "lost" is invalid: expected waiting, dead, delivered; see countersign callbacks list --help',
    ],
    [
      ['callbacks', 'list', '--limit', '0'],
      'Cannot use limit "0": expected a whole number from 1 to 10000',
    ],
    [
      ['callbacks', 'show', 'msg_1'],
      'Cannot use delivery id "msg_1": expected dlv_ and 32 characters, as callbacks list prints it',
    ],
    [
      ['callbacks', 'send', 'https://alice.test/'],
      'Cannot sign callbacks without a secret: set COUNTERSIGN_CALLBACK_SECRET to whsec_…',
    ],
    [
      ['callbacks', 'send', 'https://alice.test/', '--data', '{'],
      'Cannot parse data "{": expected JSON',
    ],
    [
      ['callbacks', 'listen'],
      'Cannot verify callbacks without a secret: set COUNTERSIGN_CALLBACK_SECRET to whsec_…',
    ],
    [
      ['callbacks', 'listen', '--port', '65536'],
      'Cannot use port "65536": expected a whole number from 0 to 65535',
    ],
    [
      ['keys', 'list', '--store', './keys.json'],
      'Cannot open store "…": expected file:PATH, redis://HOST:PORT, redis-cluster://HOST:PORT,HOST:PORT or redis-sentinel://HOST:PORT,HOST:PORT/MASTER-NAME, and rediss… for TLS',
    ],
    [['keys', 'list', '--prefix', ''], 'Cannot use prefix "": expected a name'],
    [
      ['keys', 'list', '--prefix', 'x'],
      'Cannot use --prefix with a file: it is for stores in Redis',
    ],
    [
      ['keys', 'list', '--store', 'redis://127.0.0.1:1', '--ca-file', 'none.pem'],
      'Cannot use --ca-file without TLS: it is for rediss://, rediss-cluster:// and rediss-sentinel://',
    ],
    [
      ['keys', 'list', '--store', 'rediss://127.0.0.1:1', '--ca-file', 'none.pem'],
      'Cannot read --ca-file "none.pem": ENOENT',
    ],
    [
      ['keys', 'list', '--store', 'rediss://127.0.0.1:1', '--ca-file', ''],
      'Cannot read --ca-file "": ENOENT',
    ],
    [
      ['keys', 'list', '--store', 'rediss-cluster://127.0.0.1:1', '--ca-file', 'package.json'],
      'Cannot read --ca-file "package.json": it holds no certificate in PEM',
    ],
    [
      ['keys', 'list', '--store', 'redis://127.0.0.1:1'],
      'Cannot open the store without a master key: set COUNTERSIGN_MASTER_KEY, or name a file with --master-key-file or COUNTERSIGN_MASTER_KEY_FILE',
    ],
    [
      ['keys', 'list', '--master-key-file', '/none'],
      'Cannot find master key file "/none": make it with countersign master-key --into',
    ],
  ])('%j is reported in one line', async (argv, message) => {
    expect(await run(argv)).toEqual({ code: 2, stdout: '', stderr: `${message}\n` });
    const { code, stdout } = await run([...argv, '--json']);
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'ERR_USAGE' } });
  });

  it('is a value for an option that takes none', async () => {
    const { code, stdout, stderr } = await run(['keys', 'list', '--json=foo']);
    expect([code, stdout, stderr]).toEqual([
      2,
      '',
      'Option "--json" takes no value; see countersign keys list --help\n',
    ]);
  });

  it('never repeats a value that may be a secret', async () => {
    for (const value of ['2026-11:hunter2', "2026-11:it's hunter2"])
      for (const env of [{}, { DEBUG: '1' }]) {
        const { code, stderr } = await run(['keys', 'list', `--master-key=${value}`], { env });
        expect([code, stderr]).toEqual([
          2,
          expect.stringMatching(/^Unknown option "--master-key"; (?!.*hunter2)/s),
        ]);
      }
    for (const url of [
      'redis://me:hunter2@127.0.0.1:1',
      'REDIS://:hunter2@h',
      ' redis://:hunter2@h',
    ])
      expect(await run(['keys', 'list', '--store', url])).toEqual({
        code: 2,
        stdout: '',
        stderr:
          'Cannot take a password from the command line, because ps shows it to all users: put the URL into COUNTERSIGN_STORE\n',
      });
  });

  it('is an option without its value', async () => {
    const { code, stderr } = await run(['keys', 'list', '--json', '--subject']);
    expect([code, stderr]).toEqual([
      2,
      'Option "--subject <name>" argument missing; see countersign keys list --help\n',
    ]);
  });

  it('prints no control characters', async () => {
    const { stderr } = await run(['keys', '\u001b[2J']);
    expect(stderr).toBe('Unknown command "\\u001b[2J"; see countersign keys --help\n');
  });

  it('shows the stack of an error with DEBUG only', async () => {
    const argv = ['keys', 'list', '--store', 'x'];
    expect((await run(argv)).stderr).not.toContain('    at ');
    expect((await run(argv, { env: { DEBUG: '1' } })).stderr).toMatch(
      /^Cannot .*\nUsageError: .*\n {4}at /,
    );
  });
});

describe('help', () => {
  it.each(['nonsense', 'keys nonsense', 'keys rotate nonsense'])(
    'is not there for %s',
    async (words) => {
      const { code, stdout, stderr } = await run(['help', ...words.split(' ')]);
      expect([code, stdout]).toEqual([2, '']);
      expect(stderr).toMatch(
        new RegExp(`^Unknown command "${words}"; see countersign.* --help\n$`),
      );
    },
  );

  it('is short, and lists commands, environment and exit codes', async () => {
    const { code, stdout, stderr } = await run(['--help']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout.split('\n').length).toBeLessThan(32);
    for (const word of [
      'keys',
      'sessions',
      'callbacks',
      'COUNTERSIGN_STORE',
      'Exit codes: 0 done, 1',
      '2 wrong usage',
    ])
      expect(stdout).toContain(word);
  });

  it.each([
    ...['create', 'list', 'show', 'rotate', 'disable', 'enable', 'revoke', 'init', 'rewrap'],
    'accept-restore',
  ])('of keys %s has an example and the exit codes', async (name) => {
    const { code, stdout } = await run(['keys', name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`\nExamples:\n  countersign .*(?:\n  .*)*${name}`));
    expect(stdout).toContain('Exit codes: 0 done');
  });

  it.each(['list', 'show', 'redeliver', 'send', 'listen'])(
    'of callbacks %s has an example and the exit codes',
    async (name) => {
      const { code, stdout } = await run(['callbacks', name, '--help']);
      expect(code).toBe(0);
      expect(stdout).toMatch(new RegExp(`\nExamples:\n  countersign callbacks ${name}`));
      expect(stdout).toContain('Exit codes: 0 done');
    },
  );

  it('is that of the named command, at any depth', async () => {
    for (const words of [[], ['keys'], ['keys', 'rotate'], ['master-key']]) {
      const shown = await run(['help', ...words]);
      expect(shown).toEqual(await run([...words, '--help']));
      expect([shown.code, shown.stdout]).toEqual([
        0,
        expect.stringMatching(new RegExp(`^Usage: ${['countersign', ...words].join(' ')} `)),
      ]);
    }
  });

  it('is shown if a command is missing', async () => {
    for (const argv of [[], ['keys'], ['sessions'], ['callbacks']]) {
      const { code, stdout, stderr } = await run(argv);
      expect([code, stdout]).toEqual([2, '']);
      expect(stderr).toMatch(/^Usage: countersign/);
    }
  });

  it('knows the version', async () => {
    const { version } = JSON.parse(readFileSync('packages/cli/package.json', 'utf8'));
    expect(await run(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });
});
