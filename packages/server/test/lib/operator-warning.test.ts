import { readFile } from 'node:fs/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MemoryNonceStore, type OperatorWarning } from '@countersign/server';
import {
  createCallbackSender,
  MemoryCallbackQueue,
  MemoryOnceStore,
} from '@countersign/server/callbacks';
import { createFailureLimit } from '@countersign/server/failures';
import { FileKeyStore } from '@countersign/server/file';
import { afterEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { until } from '../../../../test/support/deadline.ts';
import { OperatorWarnings } from '../../src/lib/operator-warning.ts';
import { WARNING_CODES } from '../../src/lib/warning-codes.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const CODE = 'COUNTERSIGN_NONCE_STORE_UNFIT';
const OTHER = 'COUNTERSIGN_KEY_STORE_EMPTY';

/** What a hook was called with. */
function hook(): { told: OperatorWarning[]; onWarning: (warning: OperatorWarning) => void } {
  const told: OperatorWarning[] = [];
  return { told, onWarning: (warning) => void told.push(warning) };
}

/** Moves the clock that no administrator sets, on by some seconds each time. */
function movedClock(): (seconds: number) => void {
  const real = performance.now.bind(performance);
  let ahead = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => real() + ahead);
  return (seconds) => {
    ahead += seconds * 1000;
  };
}

function processWarnings(): [message: string, code: string][] {
  const seen: [string, string][] = [];
  vi.spyOn(process, 'emitWarning').mockImplementation(((message: string, options: object) => {
    seen.push([message, (options as { code: string }).code]);
  }) as typeof process.emitWarning);
  return seen;
}

afterEach(() => void vi.restoreAllMocks());

describe('OperatorWarnings', () => {
  it('emits a process warning with the code, if there is no hook', () => {
    const seen = processWarnings();
    new OperatorWarnings().begin(CODE, { message: 'It is unfit' });
    expect(seen).toEqual([['It is unfit', CODE]]);
  });

  it('calls the hook in place of the process warning', () => {
    const seen = processWarnings();
    const { told, onWarning } = hook();
    new OperatorWarnings(onWarning).begin(CODE, { message: 'It is unfit', cause: 'why' });
    expect(told).toEqual([{ code: CODE, message: 'It is unfit', cause: 'why' }]);
    expect(seen).toEqual([]);
  });

  it.each([
    [
      'throws',
      () => {
        throw new Error('log is full');
      },
    ],
    ['rejects', () => Promise.reject(new Error('log is full'))],
  ])('says with a process warning that the hook %s', async (_, onWarning) => {
    const seen = processWarnings();
    new OperatorWarnings(onWarning).begin(CODE, { message: 'It is unfit' });
    await until(() => seen.length > 0, 'no process warning came');
    expect(seen).toEqual([[expect.stringContaining('log is full'), 'COUNTERSIGN_ON_WARNING']]);
  });

  it('reports each cause once while the condition lasts, however long', () => {
    const move = movedClock();
    const { told, onWarning } = hook();
    const warnings = new OperatorWarnings(onWarning);
    for (const message of ['one', 'one', 'two', 'one', 'two']) {
      warnings.begin(CODE, { message });
      move(120);
    }
    warnings.begin(OTHER, { message: 'one' });
    expect(told.map(({ code, message }) => `${code} ${message}`)).toEqual([
      `${CODE} one`,
      `${CODE} two`,
      `${OTHER} one`,
    ]);
  });

  it('reports a condition again that had ended', () => {
    const move = movedClock();
    const { told, onWarning } = hook();
    const warnings = new OperatorWarnings(onWarning);
    warnings.begin(CODE, { message: 'one' });
    warnings.end(CODE);
    move(61);
    warnings.begin(CODE, { message: 'one' });
    expect(told).toHaveLength(2);
  });

  it('reports a condition that flaps once a minute, and one that stays after that too', () => {
    const move = movedClock();
    const { told, onWarning } = hook();
    const warnings = new OperatorWarnings(onWarning);
    for (let times = 0; times < 100; times++) {
      warnings.begin(CODE, { message: 'one' });
      warnings.end(CODE);
    }
    warnings.begin(CODE, { message: 'one' });
    move(30);
    warnings.begin(CODE, { message: 'one' });
    expect(told).toHaveLength(1);
    move(31);
    warnings.begin(CODE, { message: 'one' });
    warnings.begin(CODE, { message: 'one' });
    expect(told).toHaveLength(2);
  });

  it('reports a hundred causes a minute at most, and remembers no more', () => {
    const move = movedClock();
    const { told, onWarning } = hook();
    const warnings = new OperatorWarnings(onWarning);
    for (let index = 0; index < 1_000; index++) warnings.event(CODE, { message: `${index}` });
    expect(told).toHaveLength(100);
    move(61);
    for (let index = 0; index < 1_000; index++) warnings.begin(CODE, { message: `${index}` });
    expect(told).toHaveLength(200);
    move(61);
    warnings.begin(CODE, { message: 'one more' });
    expect(told).toHaveLength(200);
  });

  it('reports a code though another one had more causes than are reported', () => {
    const { told, onWarning } = hook();
    const warnings = new OperatorWarnings(onWarning);
    for (let index = 0; index < 1_000; index++) warnings.event(CODE, { message: `${index}` });
    warnings.begin('COUNTERSIGN_KEY_STORE_UNFIT', { message: 'one' });
    expect(told.at(-1)).toEqual({ code: 'COUNTERSIGN_KEY_STORE_UNFIT', message: 'one' });
  });

  it('keeps no text of long causes', () => {
    let count = 0;
    const warnings = new OperatorWarnings(() => void count++);
    const before = process.memoryUsage().heapUsed;
    for (let index = 0; index < 100; index++)
      warnings.begin(CODE, { message: '', cause: `${index}`.padStart(1_000_000, 'x') });
    expect(count).toBe(100);
    collectGarbage();
    collectGarbage();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(20_000_000);
    warnings.close();
  });

  it('reports nothing once it is closed', () => {
    const { told, onWarning } = hook();
    const warnings = new OperatorWarnings(onWarning);
    warnings.close();
    warnings.begin(CODE, { message: 'one' });
    expect(told).toEqual([]);
  });

  it('reports a queue from 80 % on, until it is below 60 %', () => {
    const move = movedClock();
    const { told, onWarning } = hook();
    const warnings = new OperatorWarnings(onWarning);
    const fill = (share: number): number => {
      move(61);
      warnings.fill(CODE, share, () => `${share}`);
      return told.length;
    };
    expect([0.79, 0.8, 0.9, 1, 0.61, 0.9, 0.59, 0.79, 0.8].map(fill)).toEqual([
      0, 1, 1, 1, 1, 1, 1, 1, 2,
    ]);
  });
});

it('docs/errors.md has a row for each code, and for no other', async () => {
  const path = new URL('../../../../docs/errors.md', import.meta.url);
  const [, section = ''] = (await readFile(path, 'utf8')).split('\n## Process warnings\n');
  const rows = Array.from(section.matchAll(/^\| `(COUNTERSIGN_\w+)` \|/gm), ([, code]) => code);
  expect(rows).toEqual(WARNING_CODES);
});

it.each<[string, (onWarning: never) => unknown]>([
  ['MemoryNonceStore', (onWarning) => new MemoryNonceStore({ onWarning })],
  ['MemoryOnceStore', (onWarning) => new MemoryOnceStore({ onWarning })],
  ['memory callback queue', (onWarning) => new MemoryCallbackQueue({ onWarning })],
  ['failure limit', (onWarning) => createFailureLimit({ onWarning })],
  [
    'callback sender',
    (onWarning) => createCallbackSender({ endpoints: () => undefined, onWarning }),
  ],
  ['FileKeyStore', (onWarning) => new FileKeyStore({ path: 'x', masterKey: 'x', onWarning })],
])('%s refuses a hook that is no function', (name, build) => {
  expect(() => build('log' as never)).toThrow(
    `Cannot build ${name}: option "onWarning" is "log": expected a function`,
  );
});

describe('MemoryNonceStore', () => {
  const claimOf = (index: number, now = 1_000, window = 120) => ({
    accessKeyId: `CSAK${index}`,
    audience: 'video-api',
    nonce: String(index).padStart(22, 'n'),
    signedAt: now,
    acceptableFrom: now - 5,
    acceptableUntil: now + window,
  });

  it('says once that it is full, and again when it is full again', async () => {
    const move = movedClock();
    const { told, onWarning } = hook();
    let now = 1_000;
    const store = new MemoryNonceStore({
      maxEntries: 20,
      perSubject: 20,
      bornAt: 0,
      clock: () => now,
      onWarning,
    });
    const claim = async (index: number) => {
      const { outcome } = await store.claim(claimOf(index, now));
      return outcome;
    };
    // Each expires with others of its time, so that only some of them go.
    for (let index = 0; index < 20; index++) {
      now += 4;
      expect(await claim(index)).toBe('claimed');
    }
    expect(told).toEqual([]);
    for (let index = 20; index < 40; index++) {
      now += 4;
      await claim(index);
    }
    expect(told).toEqual([
      { code: 'COUNTERSIGN_NONCE_STORE_FULL', message: expect.stringContaining('20 nonces') },
    ]);
    now += 1_000;
    move(61);
    await claim(40);
    for (let index = 41; index < 70; index++) await claim(index);
    expect(told).toHaveLength(2);
  });

  it('says that it began a new epoch for a wider window, and nothing of its first', async () => {
    const { told, onWarning } = hook();
    const store = new MemoryNonceStore({ bornAt: 0, clock: () => 1_000, onWarning });
    await store.claim(claimOf(1));
    expect(told).toEqual([]);
    await store.claim(claimOf(2, 1_000, 300));
    expect(told).toEqual([
      {
        code: 'COUNTERSIGN_NONCE_EPOCH',
        message: expect.stringMatching(/^The nonce store in memory began a new epoch: a verifier/),
        cause: 'wider-window',
        epoch: store.epoch,
      },
    ]);
  });
});

describe('MemoryCallbackQueue', () => {
  const callbackOf = (index: number) => ({
    id: `id-${index}`,
    endpointId: `endpoint-${index}`,
    eventId: `event-${index}`,
    contentType: 'application/json',
    body: new Uint8Array(),
    createdAt: 0,
  });

  it('says once that it is nearly full, and again after it was not', async () => {
    const move = movedClock();
    const { told, onWarning } = hook();
    const queue = new MemoryCallbackQueue({ maxWaiting: 10, onWarning });
    onTestFinished(() => queue.close());
    for (let index = 0; index < 7; index++) await queue.add(callbackOf(index));
    expect(told).toEqual([]);
    for (let index = 7; index < 10; index++) await queue.add(callbackOf(index));
    expect(told).toEqual([
      {
        code: 'COUNTERSIGN_CALLBACK_QUEUE_NEARLY_FULL',
        message: expect.stringContaining('8 of 10 callbacks wait'),
        cause: 'nearly full',
      },
    ]);
    let hold = false;
    queue.start(async (_, progress) => {
      if (hold) return { outcome: 'again', at: Number.MAX_SAFE_INTEGER, progress };
      return { outcome: 'delivered', progress };
    }, 10);
    const waiting = async () => (await queue.list('waiting', 100)).length;
    await until(async () => (await waiting()) === 0, 'the queue did not hand out all');
    hold = true;
    move(61);
    for (let index = 10; index < 17; index++) await queue.add(callbackOf(index));
    expect(told).toHaveLength(1);
    for (let index = 17; index < 20; index++) await queue.add(callbackOf(index));
    expect(told).toHaveLength(2);
  });
});

it('createCallbackSender() says once that endpoints cannot be looked up', async () => {
  const { told, onWarning } = hook();
  let asked = 0;
  const endpoint = { url: 'https://a.test/', secrets: ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'] };
  const sender = createCallbackSender({
    // Asked first when it is sent, then for each attempt.
    endpoints: async (id) => {
      asked++;
      if (asked > 3) throw new Error('the database is down');
      return { id, ...endpoint };
    },
    queue: new MemoryCallbackQueue(),
    onWarning,
  });
  const sent = ['a', 'b', 'c'].map((id) => sender.send(id, { body: '{}' }));
  await Promise.all(sent);
  await until(() => asked >= 6, 'no attempt was made');
  await sender.close();
  expect(told).toEqual([
    {
      code: 'COUNTERSIGN_CALLBACK_ENDPOINTS',
      message: expect.stringContaining('the database is down'),
      cause: 'the database is down',
    },
  ]);
});

it('MemoryOnceStore says once that it is nearly full, and again after it was not', async () => {
  const move = movedClock();
  const { told, onWarning } = hook();
  let now = 0;
  const store = new MemoryOnceStore({ maxEntries: 10, perSender: 10, clock: () => now, onWarning });
  const fill = async () => {
    for (let index = 0; index < 10; index++) await store.begin(`k${index}-${now}`, 'token', 10);
  };
  await fill();
  expect(told).toMatchObject([{ code: 'COUNTERSIGN_ONCE_STORE_NEARLY_FULL' }]);
  now = 100;
  move(61);
  await fill();
  expect(told).toHaveLength(2);
});
