import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { createFetch } from '@countersign/client';
import { generateMasterKey } from '@countersign/server';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ensurePostgres, type PostgresServer, startPostgres } from '../support/postgres.ts';

const EXAMPLE = 'examples/postgres-key-store';
const masterKey = generateMasterKey();

interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}
interface Api {
  readonly url: string;
  /** All that it has logged. */
  readonly log: () => string;
  readonly process: ChildProcess;
}

describe(EXAMPLE, () => {
  let missing: string | undefined;
  let postgres: PostgresServer;
  let api: Api;
  const apis: Api[] = [];

  beforeAll(async () => {
    let programs: string;
    try {
      programs = ensurePostgres();
    } catch (error) {
      const { message } = error as Error;
      console.error(`Skipping the tests of ${EXAMPLE}: ${message}`);
      missing = message.split('\n')[0];
      return;
    }
    postgres = await startPostgres(programs);
    await postgres.sql(readFileSync(`${EXAMPLE}/schema.sql`, 'utf8'));
    await postgres.sql('CREATE ROLE api LOGIN; GRANT SELECT ON access_keys TO api');
    api = await startApi(asReader(postgres.url));
  }, 300_000);

  // The one thing that may be skipped: no contributor needs PostgreSQL to work on anything else.
  beforeEach(({ skip }) => {
    if (missing !== undefined) skip(missing);
  });

  afterAll(async () => {
    for (const { process } of apis) {
      if (process.exitCode !== null) continue;
      const exit = once(process, 'exit');
      process.kill();
      await exit;
    }
    await postgres?.stop();
  });

  /** As a role that may read the table, and do nothing else. */
  const asReader = (url: string) => url.replace('postgres@', 'api@');

  async function startApi(databaseUrl: string, key = masterKey): Promise<Api> {
    const server = spawn(process.execPath, [`${EXAMPLE}/server.mjs`], {
      env: { ...process.env, PORT: '0', DATABASE_URL: databaseUrl, COUNTERSIGN_MASTER_KEY: key },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let log = '';
    server.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
    const [line] = await once(createInterface(server.stdout), 'line');
    const started = { url: JSON.parse(line).url, log: () => log, process: server };
    apis.push(started);
    return started;
  }

  async function keys(...args: string[]): Promise<string> {
    const env = {
      ...process.env,
      DATABASE_URL: postgres.url,
      COUNTERSIGN_MASTER_KEY: masterKey,
    };
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [`${EXAMPLE}/keys.mjs`, ...args],
      { env },
    );
    return stdout;
  }
  const add = async (subject: string, ...args: string[]): Promise<Credentials> =>
    JSON.parse(await keys('add', '--subject', subject, '--scope', 'videos:parse', ...args));

  /** What the API says to a signed request: its status, and who signed or why it is refused. */
  async function call(credentials: Credentials, { url } = api): Promise<unknown[]> {
    const signedFetch = createFetch({ credentials, audience: 'video-api' });
    const response = await signedFetch(`${url}/whoami`);
    const { reason, ...identity } = (await response.json()) as Record<string, unknown>;
    return [response.status, response.ok ? identity : reason];
  }
  const of = (subject: string) => [200, { subject, scopes: ['videos:parse'] }];
  const INVALID = [401, 'signature-invalid'];
  const UNAVAILABLE = [503, 'unavailable'];
  const row = ({ accessKeyId }: Credentials) => `access_key_id = '${accessKeyId}'`;

  it('has help for its command, which tells in one line what is wrong', async () => {
    expect(await keys('--help')).toMatch(/^node keys\.mjs add --subject /);
    for (const [args, told] of [
      [[], /^Cannot run "": expected "add" or "set-status"; see --help\n$/],
      [['add'], /^Cannot make a key without a subject: give --subject\n$/],
      [
        ['add', '--subject', 'alice', '--expires-at', 'tomorrow'],
        /^Cannot use --expires-at "tomorrow": expected Unix seconds\n$/,
      ],
      [['add', '--colour', 'blue'], /^Unknown option '--colour'.*\n$/],
      [['set-status', 'CSAK00000000000000000000', 'blue'], /^Cannot set status "blue": .*\n$/],
      [['set-status', 'CSAK00000000000000000000', 'active'], /^Cannot find access key .*\n$/],
    ] as const)
      await expect(keys(...args)).rejects.toMatchObject({
        code: 1,
        stderr: expect.stringMatching(told),
      });
  });

  it('accepts what is signed with a key of the table', async () => {
    expect(await call(await add('alice'))).toEqual(of('alice'));
  });

  it('refuses a key that is not in the table, or is in another spelling', async () => {
    const alice = await add('alice');
    expect(await call({ ...alice, accessKeyId: 'CSAK00000000000000000000' })).toEqual(INVALID);
    const accessKeyId = alice.accessKeyId.toLowerCase();
    expect(await call({ ...alice, accessKeyId })).toEqual(INVALID);
  });

  it('refuses another secret', async () => {
    const [alice, bob] = [await add('alice'), await add('bob')];
    expect(await call({ ...alice, secretAccessKey: bob.secretAccessKey })).toEqual(INVALID);
  });

  it('refuses a disabled key at once, until it is enabled, and a revoked one for good', async () => {
    const alice = await add('alice');
    const said = [];
    for (const status of ['disabled', 'active', 'revoked']) {
      await keys('set-status', alice.accessKeyId, status);
      said.push(await call(alice));
    }
    expect(said).toEqual([INVALID, of('alice'), INVALID]);
    await expect(keys('set-status', alice.accessKeyId, 'active')).rejects.toThrow('it is revoked');
  });

  it('reads times as Unix seconds: a key is good until it expires', async () => {
    const now = Date.now() / 1000;
    expect(await call(await add('alice', '--expires-at', `${now + 86_400.5}`))).toEqual(
      of('alice'),
    );
    expect(await call(await add('alice', '--expires-at', `${now - 1}`))).toEqual(INVALID);
  });

  it.each([
    ["scopes = scopes || '{admin}'"],
    ["subject = 'root'"],
    ["audiences = '{other-api}'"],
    ["status = 'disabled'"],
    ['not_before = 0'],
    ['expires_at = 4102444800'],
    ["sealed_secret = ''"],
    ['sealed_secret = set_byte(sealed_secret, 0, get_byte(sealed_secret, 0) # 1)'],
    ['sealed_secret = set_byte(sealed_secret, 12, get_byte(sealed_secret, 12) # 1)'],
    ['sealed_secret = substring(sealed_secret FROM 1 FOR length(sealed_secret) - 12)'],
  ])('does not open a row after UPDATE … SET %s', async (change) => {
    const alice = await add('alice');
    expect(await call(alice)).toEqual(of('alice'));
    await postgres.sql(`UPDATE access_keys SET ${change} WHERE ${row(alice)}`);
    expect(await call(alice)).toEqual(UNAVAILABLE);
    expect(api.log()).toContain(`Cannot open access key "${alice.accessKeyId}"`);
    expect(api.log()).not.toContain(alice.secretAccessKey);
  });

  it('does not open a disabled key that was enabled in SQL', async () => {
    const alice = await add('alice');
    await keys('set-status', alice.accessKeyId, 'disabled');
    await postgres.sql(`UPDATE access_keys SET status = 'active' WHERE ${row(alice)}`);
    expect(await call(alice)).toEqual(UNAVAILABLE);
  });

  it('does not open secrets that were swapped, between keys that may do the same', async () => {
    const [one, other] = [await add('alice'), await add('alice')];
    await postgres.sql(`
      UPDATE access_keys AS to_be SET sealed_secret = it_was.sealed_secret FROM access_keys AS it_was
      WHERE to_be.access_key_id <> it_was.access_key_id
        AND ARRAY[to_be.access_key_id, it_was.access_key_id] <@ ARRAY['${one.accessKeyId}', '${other.accessKeyId}']`);
    expect(await call(one)).toEqual(UNAVAILABLE);
    expect(await call(other)).toEqual(UNAVAILABLE);
    // Nor may the one be signed for with what now stands in its row.
    const { secretAccessKey } = other;
    expect(await call({ ...one, secretAccessKey })).toEqual(UNAVAILABLE);
  });

  it('does not open a row under another id', async () => {
    const mallory = await add('mallory');
    await postgres.sql(`UPDATE access_keys SET access_key_id = 'CSAKROOT' WHERE ${row(mallory)}`);
    expect(await call({ ...mallory, accessKeyId: 'CSAKROOT' })).toEqual(UNAVAILABLE);
    expect(await call(mallory)).toEqual(INVALID);
  });

  it('opens nothing with another master key', async () => {
    const other = await startApi(asReader(postgres.url), generateMasterKey());
    expect(await call(await add('alice'), other)).toEqual(UNAVAILABLE);
  });

  it('has no secret in the database, in any spelling', async () => {
    const [alice, bob] = [await add('alice'), await add('bob')];
    const dumps = [await postgres.dump(), await postgres.sql('SELECT * FROM access_keys')];
    for (const dump of dumps) {
      expect(dump).toContain(alice.accessKeyId);
      for (const { secretAccessKey } of [alice, bob]) {
        const spellings = [
          secretAccessKey,
          Buffer.from(secretAccessKey).toString('hex'),
          Buffer.from(secretAccessKey).toString('base64'),
          Buffer.from(secretAccessKey, 'base64url').toString('hex'),
          Buffer.from(secretAccessKey, 'base64url').toString('base64'),
        ];
        for (const spelling of spellings) expect(dump).not.toContain(spelling);
      }
      expect(dump).not.toContain(masterKey.split(':')[1]);
    }
  });

  it('needs no more than to read the table', async () => {
    const asApi = (statement: string) => postgres.sql(`SET ROLE api; ${statement}`);
    await expect(asApi('DELETE FROM access_keys')).rejects.toThrow('permission denied');
    await expect(asApi("UPDATE access_keys SET subject = 'x'")).rejects.toThrow(
      'permission denied',
    );
  });

  it('answers 503 while a query hangs, and goes on when it does not any more', async () => {
    const alice = await add('alice');
    const locked = await holdLock();
    // More than the pool has connections. That they are answered at all is the timeout: the lock is
    // held until then.
    const answers = await Promise.all(Array.from({ length: 25 }, () => call(alice)));
    expect(answers).toEqual(Array(25).fill(UNAVAILABLE));
    await locked.release();
    await expect.poll(() => call(alice), { timeout: 10_000 }).toEqual(of('alice'));
  });

  it('survives that the server breaks its idle connections', async () => {
    const alice = await add('alice');
    expect(await call(alice)).toEqual(of('alice'));
    const broken = await postgres.sql(
      "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity WHERE usename = 'api'",
    );
    expect(Number(broken)).toBeGreaterThan(0);
    // A request may come before the news.
    await expect.poll(() => call(alice), { timeout: 10_000 }).toEqual(of('alice'));
    expect(api.process.exitCode).toBe(null);
  });

  it('answers 503 where a server takes connections and says nothing', async () => {
    const silent = createServer((socket) => socket.resume()).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const waiting = await startApi(`postgres://api@127.0.0.1:${port}/postgres`);
    expect(await call(await add('alice'), waiting)).toEqual(UNAVAILABLE);
    silent.close();
  });

  it('answers 503 where the database is gone', async () => {
    const alice = await add('alice');
    expect(await call(alice)).toEqual(of('alice'));
    await postgres.stop();
    expect(await call(alice)).toEqual(UNAVAILABLE);
    expect(api.process.exitCode).toBe(null);
  });

  /** Keeps all users from reading the table. */
  async function holdLock(): Promise<{ release(): Promise<void> }> {
    const psql = spawn(`${ensurePostgres()}/psql`, ['-X', '-q', '-At', postgres.url], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    psql.stdin.write("BEGIN; LOCK TABLE access_keys; SELECT 'locked';\n");
    await once(createInterface(psql.stdout), 'line');
    return {
      async release() {
        const exit = once(psql, 'exit');
        psql.stdin.end('COMMIT;\n');
        await exit;
      },
    };
  }
});
