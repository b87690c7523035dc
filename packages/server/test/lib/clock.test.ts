// docs/defaults.md: a `clock` can be given wherever the time of day is read. What is given is
// checked, and used.

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createVerifier,
  generateAccessKey,
  generateMasterKey,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import {
  createCallbackSender,
  createCallbackVerifier,
  MemoryCallbackQueue,
  MemoryOnceStore,
} from '@countersign/server/callbacks';
import { createFailureLimit } from '@countersign/server/failures';
import { FileKeyStore } from '@countersign/server/file';
import { createSessions } from '@countersign/server/sessions';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SECRET } from '../callbacks/send/sender-support.ts';

const NOW = 1_795_299_926;
const masterKey = generateMasterKey();

type Clock = () => number;

const builders: Record<string, (clock: Clock | undefined) => unknown> = {
  verifier: (clock) =>
    createVerifier({
      audience: 'a',
      keys: new MemoryKeyStore(),
      nonces: new MemoryNonceStore(),
      clock,
    }),
  MemoryNonceStore: (clock) => new MemoryNonceStore({ clock }),
  MemoryKeyStore: (clock) => new MemoryKeyStore([], { clock }),
  FileKeyStore: (clock) => {
    const path = join(tmpdir(), `countersign-clock-${process.pid}`);
    const store = new FileKeyStore({ path, masterKey, clock });
    // It would go on to look at the file, and to warn, while other test files run.
    onTestFinished(() => store.close());
    return store;
  },
  sessions: (clock) =>
    createSessions({ issuer: 'a', masterKey, revocations: new MemoryKeyStore(), clock }),
  'failure limit': (clock) => createFailureLimit({ clock }),
  'callback verifier': (clock) => createCallbackVerifier({ secrets: [SECRET], clock }),
  'callback sender': (clock) =>
    createCallbackSender({ endpoints: () => undefined, deliver: 'elsewhere', clock }),
  'memory callback queue': (clock) => new MemoryCallbackQueue({ clock }),
  MemoryOnceStore: (clock) => new MemoryOnceStore({ clock }),
};

describe.each(Object.entries(builders))('the clock of %s', (what, build) => {
  it('may be given, or not', () => {
    build(() => NOW);
    build(undefined);
  });

  it.each([
    [5, 'is 5: expected a function that returns Unix seconds'],
    [null, 'is null: expected a function that returns Unix seconds'],
    [new Date(0), 'is of type object: expected a function that returns Unix seconds'],
    [
      Date.now,
      /is of type function: expected a function that returns Unix seconds; what it returned is \d{13}$/,
    ],
    [
      () => Number.NaN,
      'is of type function: expected a function that returns Unix seconds; what it returned is NaN',
    ],
    [
      () => {
        throw new Error('no battery');
      },
      'is of type function: expected a function that returns Unix seconds; it threw',
    ],
  ])('is refused when it is built: %s', (clock, message) => {
    const make = () => build(clock as Clock);
    expect(make).toThrow(/clock/);
    expect(make).toThrow(`Cannot build ${what}: option "clock" `);
    expect(make).toThrow(message);
  });
});

describe('a clock that is given', () => {
  it('says when keys in memory were made, however it is given', async () => {
    for (const options of [{ clock: () => NOW }, () => NOW])
      expect((await new MemoryKeyStore([], options).create()).created).toBe(NOW);
    expect(() => new MemoryKeyStore([], { clocks: () => NOW } as never)).toThrow(
      new TypeError('Cannot build MemoryKeyStore: unknown option "clocks"'),
    );
    expect(() => new MemoryKeyStore([], 5 as never)).toThrow('expected an object, got number');
  });

  it('says when sessions begin and end', async () => {
    const keys = new MemoryKeyStore([], { clock: () => 5 });
    const options = { issuer: 'a', masterKey, revocations: keys };
    const grant = { subject: 'alice', scopes: [], audience: 'a', ttl: 60 };
    expect((await createSessions(options).issue(grant)).expiresAt).toBe(65);
    const sessions = createSessions({ ...options, clock: () => NOW });
    const { expiresAt, sessionToken } = await sessions.issue(grant);
    expect(expiresAt).toBe(NOW + 60);
    expect(await sessions.find(sessionToken)).toMatchObject({ notBefore: NOW, expiresAt });
  });

  it('says for how long failures count', () => {
    let now = NOW;
    const limit = createFailureLimit({ perClientAddress: 2, perKey: 1, per: 60, clock: () => now });
    limit.record('192.0.2.1', 'CSAK1');
    expect(limit.check('192.0.2.1', 'CSAK1')).toEqual({ of: 'access key', seconds: 60 });
    now += 59;
    expect(limit.check('192.0.2.1', 'CSAK1')).toEqual({ of: 'access key', seconds: 1 });
    now += 1;
    expect(limit.check('192.0.2.1', 'CSAK1')).toBeUndefined();
  });

  it('is that of the queue in memory, too, if a sender makes one', async () => {
    let now = NOW;
    const key = generateAccessKey();
    const sender = createCallbackSender({
      // Refused before anything is connected.
      endpoints: (id) => ({ id, url: 'https://127.0.0.1/', credentials: key, audience: 'a' }),
      schedule: [3_600],
      jitter: 0,
      clock: () => now,
    });
    const { id } = await sender.send('alice', { body: '{}' });
    const stateOf = async () => (await sender.find(id))?.attempts.length;
    while ((await stateOf()) !== 1) await new Promise((resolve) => setImmediate(resolve));
    now += 3_600;
    // It looks again when something else is queued.
    await sender.send('alice', { body: '{"again":1}' });
    while ((await stateOf()) !== 2) await new Promise((resolve) => setImmediate(resolve));
    await sender.close();
  });
});
