import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { generateMasterKey, type ManagedKeyStore } from '@countersign/server';
import { FileKeyStore } from '@countersign/server/file';
import { RedisKeyStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished } from 'vitest';

const PROCESSES = 8;
/** The nightly run does as many on a file as on Redis: a file is written again each time. */
const ON_FILE = Number(process.env['KEY_OPERATIONS'] ?? 150);
const ON_REDIS = Number(process.env['KEY_OPERATIONS'] ?? 500);
/**
 * How often one of the processes is killed in the middle of what it does, and another takes its
 * place.
 */
const KILLS = 6;

const masterKey = generateMasterKey();
/** As the processes have it. */
const clock = () => 0;

interface Line {
  readonly word: string;
  readonly id: string;
  readonly phase: 'begins' | 'done' | 'over';
}

/** What the processes did: the statuses that each key may have, and how often all counted up. */
interface Log {
  readonly statuses: Map<string, Set<string | undefined>>;
  counted: number;
  /** Counts that were begun by a process that was killed. */
  perhaps: number;
  done: number;
}

const statusAfter: Record<string, string> = {
  create: 'active',
  enable: 'active',
  disable: 'disabled',
  revoke: 'revoked',
};

/** A process that does so many things, and what it says is noted. */
function work(store: object, name: string, operations: number, log: Log): ChildProcess {
  const child = fork(new URL('contender.mjs', import.meta.url), {
    env: { ...process.env, SETTINGS: JSON.stringify({ store, masterKey, operations, name }) },
    execArgv: [],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  child.on('message', ({ word, id, phase }: Line) => {
    if (phase === 'over') return;
    if (word === 'count') {
      log.perhaps += phase === 'begins' ? 1 : -1;
      log.counted += phase === 'done' ? 1 : 0;
    } else if (phase === 'begins') {
      const before = log.statuses.get(id) ?? new Set([undefined]);
      log.statuses.set(id, new Set([...before, statusAfter[word]]));
    } else log.statuses.set(id, new Set([statusAfter[word]]));
    if (phase === 'done') log.done++;
  });
  return child;
}

async function contend(
  store: object,
  operations: number,
  open: () => ManagedKeyStore,
): Promise<Log> {
  // The process that revokes first makes no store.
  await open().createEmpty();
  const log: Log = { statuses: new Map(), counted: 0, perhaps: 0, done: 0 };
  const children = Array.from({ length: PROCESSES }, (_, index) =>
    work(store, `process-${index}`, operations, log),
  );
  let failed: unknown;
  const exitOf = async (child: ChildProcess): Promise<void> => {
    const [code, signal] = await once(child, 'exit');
    if (code !== 0 && signal !== 'SIGKILL') failed = `A process ended with ${code ?? signal}`;
  };
  const exits = children.map(exitOf);
  for (let kill = 0; kill < KILLS; kill++) {
    const goal = ((kill + 1) * PROCESSES * operations) / (KILLS + 2);
    while (log.done < goal && failed === undefined) await sleep(1);
    const victim = children[kill % PROCESSES] as ChildProcess;
    victim.kill('SIGKILL');
    await exits[kill % PROCESSES];
    const name = `process-${kill % PROCESSES}-again-${kill}`;
    const next = work(store, name, operations / 2, log);
    children[kill % PROCESSES] = next;
    exits[kill % PROCESSES] = exitOf(next);
  }
  await Promise.all(exits);
  expect(failed).toBeUndefined();

  const keys = open();
  const present = new Map((await keys.list()).map((info) => [info.accessKeyId, info.status]));
  for (const [id, statuses] of log.statuses) expect(statuses, id).toContain(present.get(id));
  for (const id of present.keys()) expect(log.statuses.has(id), id).toBe(true);
  // Each counts up once more than all that were done; no update was lost.
  const { versions } = await keys.beginSession('anybody');
  expect(versions.all).toBeGreaterThanOrEqual(log.counted);
  expect(versions.all).toBeLessThanOrEqual(log.counted + log.perhaps);
  expect(log.perhaps).toBeLessThanOrEqual(KILLS);
  return log;
}

describe(`${PROCESSES} processes that do hundreds of things each, and are killed`, () => {
  it('lose no update of one FileKeyStore, and never tear its file', {
    timeout: 300_000,
  }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'countersign-keys-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const path = join(folder, 'keys.json');
    let isOver = false;
    let reads = 0;
    /** Reads as fast as it can what others write. */
    const reader = (async () => {
      while (!isOver) {
        const text = await readFile(path, 'utf8').catch(() => '{}');
        // Torn, it would be no JSON.
        JSON.parse(text);
        reads++;
        await sleep(1);
      }
    })();
    const log = await contend({ path }, ON_FILE, () => {
      const keys = new FileKeyStore({ path, masterKey, clock });
      onTestFinished(() => keys.close());
      return keys;
    });
    isOver = true;
    await reader;
    expect(reads).toBeGreaterThan(100);
    expect(log.done).toBeGreaterThanOrEqual((PROCESSES * ON_FILE) / 2);
  });

  it('lose no update of one RedisKeyStore', { timeout: 300_000 }, async () => {
    const redis = inject('redisUrl');
    const prefix = `test:contention:${process.pid}`;
    const log = await contend({ redis, prefix }, ON_REDIS, () => {
      const connection = new Redis(redis);
      onTestFinished(() => connection.disconnect());
      const keys = new RedisKeyStore({
        redis: connection,
        prefix,
        masterKey,
        timeout: 10,
        clock,
      });
      onTestFinished(() => keys.close());
      return keys;
    });
    expect(log.done).toBeGreaterThanOrEqual((PROCESSES * ON_REDIS) / 2);
  });
});
