// A wrong option is told once, in one readable sentence: what was built, which option, its value
// unless that may be a secret, and what is expected.

import {
  createVerifier,
  deriveAccessKey,
  generateAccessKey,
  generateMasterKey,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import {
  createCallbackSender,
  createCallbackVerifier,
  createOnce,
  githubWebhooks,
  MemoryCallbackQueue,
  MemoryOnceStore,
} from '@countersign/server/callbacks';
import { requireSignature, sessionEndpoint } from '@countersign/server/express';
import { createFailureLimit } from '@countersign/server/failures';
import { FileKeyStore, masterKeyFile } from '@countersign/server/file';
import { RedisKeyStore, RedisNonceStore, RedisOnceStore } from '@countersign/server/redis';
import { createSessions } from '@countersign/server/sessions';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SECRET } from '../callbacks/send/sender-support.ts';

const SECRET_KEY = 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA';
const masterKey = generateMasterKey();
const keys = new MemoryKeyStore();
const nonces = new MemoryNonceStore();
const key = generateAccessKey();
const sessions = createSessions({ issuer: 'a', masterKey, revocations: keys });
const verifier = createVerifier({ audience: 'a', keys, nonces });
const grant = { subject: 'alice', scopes: [], audience: 'a' };
const endpoint = { id: 'a', url: 'https://a.test/', secrets: [SECRET] };
const sendTo = (wrong: unknown) =>
  createCallbackSender({ endpoints: () => wrong as never, deliver: 'elsewhere' }).send('a', {
    body: '{}',
  });

/** How each thing is built with options that are right but for those that are given. */
const builders: Record<string, (wrong: never) => unknown> = {
  verifier: (wrong: object) => createVerifier({ audience: 'a', keys, nonces, ...wrong }),
  adapter: (wrong) => requireSignature(verifier, wrong),
  'session endpoint': (wrong) => sessionEndpoint(sessions, wrong),
  sessions: (wrong: object) =>
    createSessions({ issuer: 'a', masterKey, revocations: keys, ...wrong }),
  session: (wrong: object) => sessions.issue({ ...grant, ...wrong }),
  'access key': (wrong: object) => keys.add({ ...key, ...wrong }),
  rotation: (wrong) => keys.rotate('CSAK1', wrong),
  revocation: (wrong) => keys.revoke(wrong),
  'list of access keys': (wrong) => keys.list(wrong),
  MemoryKeyStore: (wrong) => new MemoryKeyStore([], wrong),
  MemoryNonceStore: (wrong) => new MemoryNonceStore(wrong),
  MemoryOnceStore: (wrong) => new MemoryOnceStore(wrong),
  'memory callback queue': (wrong) => new MemoryCallbackQueue(wrong),
  FileKeyStore: (wrong: object) => {
    const store = new FileKeyStore({ path: 'none.json', masterKey, ...wrong });
    onTestFinished(() => store.close());
    return store;
  },
  RedisKeyStore: (wrong) => new RedisKeyStore(wrong),
  RedisNonceStore: (wrong) => new RedisNonceStore(wrong),
  RedisOnceStore: (wrong) => new RedisOnceStore(wrong),
  'failure limit': (wrong) => createFailureLimit(wrong),
  'callback verifier': (wrong: object) => createCallbackVerifier({ secrets: [SECRET], ...wrong }),
  'callback sender': (wrong: object) =>
    createCallbackSender({ endpoints: () => undefined, deliver: 'elsewhere', ...wrong }),
  'callback endpoint': (wrong: object) => sendTo({ ...endpoint, ...wrong }),
  once: (wrong: object) => createOnce({ store: new MemoryOnceStore(), ...wrong }),
};

const REDIS = 'a Redis or Cluster of ioredis';
const NAME = 'a service name: 1 to 128 of A-Z a-z 0-9 . _ : -';
const ORIGIN = 'an origin such as https://api.example.com';

/** What is built, the option, its value, how it is shown, and what is expected. */
const WRONG: [what: string, option: string, value: unknown, shown: string, expected: string][] = [
  ['verifier', 'audience', 5, '5', 'text'],
  ['verifier', 'audience', 'a b', '"a b"', NAME],
  [
    'verifier',
    'keys',
    [],
    'of type array',
    'a key store with find(), such as new MemoryKeyStore([accessKey])',
  ],
  ['verifier', 'nonces', undefined, 'undefined', 'a nonce store with claim()'],
  ['verifier', 'sessions', {}, 'of type object', 'what createSessions() gives'],
  ['verifier', 'failures', () => 1, 'of type function', 'what createFailureLimit() gives'],
  ['verifier', 'schemes', [], 'of type array', 'at least 1 entry'],
  ['verifier', 'schemes.0', [5], '5', 'a scheme such as countersign()'],
  ['verifier', 'window', '120', '"120"', 'a number'],
  ['verifier', 'window', Number.NaN, 'NaN', 'a number'],
  ['verifier', 'window', 0, '0', 'at least 1'],
  ['verifier', 'window', 4_000, '4000', 'at most 3600'],
  ['verifier', 'maxHeaderFields', 1.5, '1.5', 'a whole number'],
  ['verifier', 'publicOrigin', 'https://api.test/', '"https://api.test/"', ORIGIN],
  ['verifier', 'publicOrigin', 'https://*.api.test', '"https://*.api.test"', ORIGIN],
  ['verifier', 'publicOrigin', 'https://a:hunter2@api.test', 'a URL with a user name', ORIGIN],
  ['verifier', 'signedHeaders', 'date', '"date"', 'a list'],
  ['verifier', 'signedHeaders.1', ['date', 'X'], '"X"', 'a lower-case header name'],
  ['verifier', 'presignedUrls', true, 'true', '"until-expiry", "once" or "refuse"'],
  ['verifier', 'unsignedPayload', 'accept', '"accept"', '"refuse" or "accept-unsigned-bodies"'],
  ['verifier', 'onRefused', {}, 'of type object', 'a function'],
  ['adapter', 'body', 'hold', '"hold"', '"buffer" or "stream"'],
  ['adapter', 'limit', '1mb', '"1mb"', 'a number'],
  ['session endpoint', 'transport', 'http', '"http"', '"tls" or "allow-plain-http"'],
  ['sessions', 'issuer', '', '""', 'at least 1 character'],
  ['sessions', 'maxTtl', 1e9, '1000000000', 'at most 604800'],
  ['session', 'scopes.0', ['a b'], '"a b"', 'a name without spaces'],
  ['session', 'ttl', 0, '0', 'at least 1'],
  ['access key', 'accessKeyId', 'a b', 'of type string', '1 to 128 of A-Z a-z 0-9 . _ -'],
  ['access key', 'secretAccessKey', 1234567890123456, 'of type number', 'a generated secret'],
  [
    'access key',
    'secretAccessKey',
    'hunter2',
    'of type string',
    'a generated secret: it has 7 bytes, at least 16 are needed',
  ],
  ['access key', 'status', undefined, 'undefined', '"active", "disabled" or "revoked"'],
  ['access key', 'expiresAt', new Date(0), 'of type object', 'a number'],
  ['access key', 'label', 'x'.repeat(1_025), `"${'x'.repeat(64)}…"`, 'at most 1024 characters'],
  ['rotation', 'overlap', '1h', '"1h"', 'a number'],
  ['revocation', 'signedBefore', 1e15, '1000000000000000', 'at most 253402300799'],
  ['list of access keys', 'subject', 5, '5', 'text'],
  ['MemoryNonceStore', 'maxEntries', 'all', '"all"', 'a number'],
  ['MemoryOnceStore', 'maxEntries', 0, '0', 'at least 1'],
  ['memory callback queue', 'maxWaiting', null, 'null', 'a number'],
  ['FileKeyStore', 'path', undefined, 'undefined', 'text'],
  ['RedisKeyStore', 'redis', 'redis://:hunter2@127.0.0.1', 'of type string', REDIS],
  ['RedisNonceStore', 'redis', {}, 'of type object', REDIS],
  ['RedisOnceStore', 'redis', undefined, 'undefined', REDIS],
  ['failure limit', 'per', '60', '"60"', 'a number'],
  ['failure limit', 'perKey', Number.NaN, 'NaN', 'a number'],
  [
    'callback verifier',
    'secrets',
    'hunter2',
    'of type string',
    'a list of 1 to 16 secrets, or a function that gives one',
  ],
  [
    'callback verifier',
    'scheme',
    'stripe',
    '"stripe"',
    'a form of callbacks such as standardWebhooks()',
  ],
  ['callback sender', 'endpoints', new Map(), 'of type object', 'a function'],
  ['callback sender', 'scheme', githubWebhooks(), 'of type object', 'a scheme that can be sent'],
  ['callback sender', 'schedule.1', [1, -1], '-1', 'more than 0'],
  ['callback sender', 'timeouts', 5, '5', 'an object'],
  ['callback sender', 'timeouts.connect', { connect: 'x' }, '"x"', 'a number'],
  ['callback sender', 'http', true, 'true', '"refuse" or "allow-plain-http"'],
  ['callback endpoint', 'order', 'none', '"none"', '"as-sent" or "any"'],
  ['callback endpoint', 'secrets.0', [5], 'of type number', 'text'],
  ['once', 'lease', 0, '0', 'at least 0.1'],
  ['once', 'store', {}, 'of type object', 'a store such as new MemoryOnceStore()'],
];

async function messageOf(act: () => unknown): Promise<string> {
  try {
    await act();
  } catch (error) {
    expect((error as Error).name).toMatch(/^(?:TypeError|RangeError)$/);
    return (error as Error).message;
  }
  throw new Error('Nothing was thrown');
}

/** What makes a message unreadable, or tells a secret. */
function expectReadable(message: string): void {
  expect(message).toMatch(/^Cannot [a-z]/);
  expect(message.split('expected').length).toBe(2);
  expect(message).not.toMatch(/\b(\w+) \1\b|Invalid|undefined: undefined|hunter2|[.:,]$/);
  expect(message).not.toContain(SECRET_KEY);
}

describe('a wrong option', () => {
  it.each(WRONG)('of %s is told: %s is %j', async (what, option, value, shown, expected) => {
    const name = option.split('.')[0] as string;
    const build = builders[what] as (wrong: object) => unknown;
    const message = await messageOf(() => build({ [name]: value }));
    expect(message).toBe(
      `Cannot build ${what}: option "${option}" is ${shown}: expected ${expected}`,
    );
    expectReadable(message);
  });

  it.each(Object.entries(builders))(
    'of %s that is unknown is told by its name',
    async (what, build) => {
      const others = { rotation: { overlap: 1 }, revocation: { everybody: 'sessions' } }[what];
      // A store that lacks its connection says that first.
      if (what.startsWith('Redis') || what === 'revocation' || what === 'callback endpoint') return;
      const message = await messageOf(() => build({ ...others, windwo: 5 } as never));
      expect(message).toBe(`Cannot build ${what}: unknown option "windwo"`);
    },
  );

  it('is told with the path to it', async () => {
    const build = builders['callback sender'] as (wrong: object) => unknown;
    expect(await messageOf(() => build({ timeouts: { conect: 5 } }))).toBe(
      'Cannot build callback sender: unknown option "timeouts.conect"',
    );
  });
});

describe('something else in the place of options', () => {
  const whole: [string, (given: never) => unknown, string][] = [
    ['createVerifier()', createVerifier, 'Cannot build verifier: expected an object'],
    ['createSessions()', createSessions, 'Cannot build sessions: expected an object'],
    [
      'createCallbackVerifier()',
      createCallbackVerifier,
      'Cannot build callback verifier: expected an object',
    ],
    [
      'createCallbackSender()',
      createCallbackSender,
      'Cannot build callback sender: expected an object',
    ],
    [
      'requireSignature()',
      requireSignature,
      'Cannot build adapter: expected a verifier or its options',
    ],
    [
      'sessionEndpoint()',
      sessionEndpoint,
      'Cannot build session endpoint: expected what createSessions() gives',
    ],
    [
      'new MemoryKeyStore()',
      (given: never) => new MemoryKeyStore(given),
      'Cannot build MemoryKeyStore: expected a list of access keys',
    ],
    [
      'new FileKeyStore()',
      (given: never) => new FileKeyStore(given),
      'Cannot build FileKeyStore: expected an object',
    ],
    [
      'keys.add()',
      (given: never) => keys.add(given),
      'Cannot build access key: expected an object',
    ],
    [
      'keys.create()',
      (given: never) => keys.create(given),
      'Cannot make access key: expected its owner, such as { subject: "alice" }',
    ],
    [
      'deriveAccessKey()',
      (given: never) => deriveAccessKey(key, given),
      'Cannot derive access key: expected options',
    ],
    [
      'deriveAccessKey() of',
      (given: never) => deriveAccessKey(given, { audience: 'a' }),
      'Cannot derive access key: expected an access key',
    ],
    [
      'verifier.verify()',
      (given: never) => verifier.verify(given),
      'Cannot verify request: expected { method, url, headers }',
    ],
    [
      'an endpoint',
      (given: never) => sendTo(given),
      'Cannot build callback endpoint: expected an object',
    ],
  ];

  it.each(whole)('of %s is told by its kind, and not shown', async (name, build, message) => {
    for (const [given, kind] of [
      [null, 'null'],
      [5, 'number'],
      [SECRET_KEY, 'string'],
      [() => 1, 'function'],
    ] as const) {
      // No endpoint at all is another thing.
      if (name === 'an endpoint' && given === null) continue;
      const thrown = await messageOf(() => build(given as never));
      expect(thrown).toBe(`${message}, got ${kind}`);
      expectReadable(thrown);
    }
  });

  it.each<[string, () => unknown, string]>([
    [
      'a day',
      () => deriveAccessKey(key, { audience: 'a', day: 'x' as never }),
      'Cannot derive access key starting on day "x": expected Unix seconds',
    ],
    [
      'days',
      () => deriveAccessKey(key, { audience: 'a', days: '2' as never }),
      'Cannot derive access key for "2" days: expected 1 to 31',
    ],
    [
      'a name',
      () => generateMasterKey(5 as never),
      'Cannot make master key 5: expected 1 to 64 of A-Z a-z 0-9 _ - for its name',
    ],
    [
      'a path',
      () => masterKeyFile(undefined as never),
      'Cannot use master key file undefined: expected a path',
    ],
    [
      'a request',
      () => verifier.verify({ method: 'GET' } as never),
      'Cannot verify request: expected { method, url, headers }, got method "GET" and url undefined',
    ],
    [
      'a revocation',
      () => keys.revoke({ everyone: true } as never),
      'Cannot build revocation: expected one of { accessKeyId }, { subject }, { subject, only: "sessions" }, { everybody: "sessions" } and { signedBefore }, the last in Unix seconds and with a subject or without, got object',
    ],
    [
      'an endpoint',
      () => sendTo({ id: 'a', url: 'https://a.test/' }),
      'Cannot build callback endpoint: expected secrets, or credentials and an audience, got object',
    ],
  ])('is told: %s', async (_, act, message) => {
    expect(await messageOf(act)).toBe(message);
    expectReadable(message);
  });
});
