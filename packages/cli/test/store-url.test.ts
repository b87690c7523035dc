import { describe, expect, it } from 'vitest';
import { UsageError } from '../src/errors.ts';
import { parseStoreUrl, withoutPassword } from '../src/store-url.ts';

describe('parseStoreUrl()', () => {
  it.each([
    ['file:./keys.json', { kind: 'file', path: './keys.json' }],
    ['file:keys.json', { kind: 'file', path: 'keys.json' }],
    ['file:/srv/keys.json', { kind: 'file', path: '/srv/keys.json' }],
    ['file:///srv/my%20keys.json', { kind: 'file', path: '/srv/my keys.json' }],
    ['file://localhost/srv/my%20keys.json', { kind: 'file', path: '/srv/my keys.json' }],
    ['redis://127.0.0.1:6380/2', { kind: 'redis', url: 'redis://127.0.0.1:6380/2' }],
    ['redis://127.0.0.1/?db=3', { kind: 'redis', url: 'redis://127.0.0.1/?db=3' }],
    ['rediss://:pw@redis.test', { kind: 'redis', url: 'rediss://:pw@redis.test' }],
    [
      'redis-cluster://10.0.0.1:7000,[::1]:7001,redis.test',
      {
        kind: 'cluster',
        nodes: [
          { host: '10.0.0.1', port: 7000 },
          { host: '::1', port: 7001 },
          { host: 'redis.test', port: 6379 },
        ],
        username: '',
        password: '',
      },
    ],
    [
      'redis-cluster://keys:p%40ss@redis.test:7000',
      {
        kind: 'cluster',
        nodes: [{ host: 'redis.test', port: 7000 }],
        username: 'keys',
        password: 'p@ss',
      },
    ],
  ])('reads %s', (text, place) => expect(parseStoreUrl(text)).toEqual(place));

  it.each([
    '',
    'keys.json',
    'file:',
    'file:///tmp/%',
    'file:///tmp/a%2Fb',
    'file://me:hunter2@redis.test/',
    'http://redis.test',
    'redis:',
    'redis://',
    'redis-cluster://',
    'redis://a b',
    'redis-cluster://a:b',
  ])('refuses "%s"', (text) =>
    expect(() => parseStoreUrl(text)).toThrow(
      /^Cannot open store ".*": expected file:PATH, redis:\/\//,
    ),
  );

  it.each(['./keys.json', '~/keys.json', 'keys.json'])(
    'refuses file://%s, which would be a host, and says what to write',
    (path) =>
      expect(() => parseStoreUrl(`file://${path}`)).toThrow(
        new UsageError(
          `Cannot open store "file://${path}": what follows file:// is a host; write "file:${path}"`,
        ),
      ),
  );

  it.each([
    ['postgres://me:hunter2@db', 'postgres:…'],
    ['redis://me:hunter2@a b', 'redis:…'],
    ['redis-cluster://:hunter2@h:x', 'redis-cluster:…'],
    ['REDIS://:hunter2@h', 'REDIS:…'],
    ['redis+tls://:hunter2@h', 'redis+tls:…'],
    ['redis2://:hunter2@h', 'redis2:…'],
    ['redis:/:hunter2@h', 'redis:…'],
    ['hunter2:x@h', '…'],
    ['hunter2', '…'],
  ])('shows no more than the scheme of what it refuses: %s', (text, shown) =>
    expect(() => parseStoreUrl(text)).toThrow(
      new RegExp(`^Cannot open store "${shown.replace('+', '\\+')}": expected (?!.*hunter2)`),
    ),
  );

  it.each([
    'redis://127.0.0.1:6379/foo',
    'redis://127.0.0.1:6379/-1',
    'redis://127.0.0.1:6379/1/',
    'redis://127.0.0.1:6379?db=foo',
    'redis://me:1234/hunter2@redis.test',
  ])('refuses what is no number of a database: %s', (text) =>
    expect(() => parseStoreUrl(text)).toThrow(
      new UsageError(
        'Cannot open store "redis:…": expected no more than the number of a database after redis://HOST:PORT/; in a password write / as %2F',
      ),
    ),
  );

  it.each(['"redis://:hunter2@h"', "'redis://:hunter2@h'", ' redis://:hunter2@h'])(
    'tells of what stands around a URL, without the URL: %s',
    (text) =>
      expect(() => parseStoreUrl(text)).toThrow(
        /^Cannot open store "…": expected (?!.*hunter2).*, without quotes or spaces around it$/,
      ),
  );
});

describe('withoutPassword()', () => {
  it.each([
    ['redis://127.0.0.1:6379', 'redis://127.0.0.1:6379'],
    ['redis://me@redis.test', 'redis://me@redis.test'],
    ['redis://:hunter2@redis.test', 'redis://:***@redis.test'],
    ['redis://me:hun@ter:2@redis.test', 'redis://me:***@redis.test'],
    ['redis://h?password=hunter2&db=1', 'redis://h?password=***&db=1'],
    ['redis://h?db=1&sentinelPassword=hunter2', 'redis://h?db=1&sentinelPassword=***'],
    ['file:./a@b:c', 'file:./a@b:c'],
    ['file:///a:b@c', 'file:///a:b@c'],
    ['"redis://:hunter2@h"', '"redis://:***@h"'],
    ['REDIS://:hunter2@h', 'REDIS://:***@h'],
    ['redis+tls://me:hunter2@h', 'redis+tls://me:***@h'],
    ['redis:/:hunter2@h', 'redis:***@h'],
  ])('shows %s as %s', (text, shown) => expect(withoutPassword(text)).toBe(shown));
});
