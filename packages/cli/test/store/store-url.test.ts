import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/lib/errors.ts';
import { parseStoreUrl, withoutPassword } from '../../src/store/store-url.ts';

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
    [
      'rediss-cluster://redis.test',
      {
        kind: 'cluster',
        nodes: [{ host: 'redis.test', port: 6379 }],
        username: '',
        password: '',
        tls: true,
      },
    ],
    [
      'redis-sentinel://10.0.0.1:26380,[::1]/video-keys',
      {
        kind: 'sentinel',
        nodes: [
          { host: '10.0.0.1', port: 26380 },
          { host: '::1', port: 26379 },
        ],
        username: '',
        password: '',
        master: 'video-keys',
        db: 0,
        sentinelUsername: '',
        sentinelPassword: '',
      },
    ],
    [
      'rediss-sentinel://keys:p%40ss@redis.test/my%20keys/12?sentinelUsername=guard&sentinelPassword=p%26ss',
      {
        kind: 'sentinel',
        nodes: [{ host: 'redis.test', port: 26379 }],
        username: 'keys',
        password: 'p@ss',
        master: 'my keys',
        db: 12,
        sentinelUsername: 'guard',
        sentinelPassword: 'p&ss',
        tls: true,
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
    'redis-cluster://h:7000/1',
    'redis-cluster://h:7000,',
    'redis-cluster://h:7000?db=1',
    'redis-sentinel://',
    'redis-sentinel://h',
    'redis-sentinel://h/',
    'redis-sentinel:///keys',
    'redis-sentinel://h,/keys',
    'redis-sentinel://h/keys/one',
    'redis-sentinel://h/keys/0/1',
    'redis-sentinel://h/keys?db=1',
    'redis-sentinel://h/%',
    'redisss-sentinel://h/keys',
    'redis-sentinels://h/keys',
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
          `Cannot open store "file://${path}": file:// is followed by a host; write "file:${path}"`,
        ),
      ),
  );

  it.each([
    ['postgres://me:hunter2@db', 'postgres:…'],
    ['redis://me:hunter2@a b', 'redis:…'],
    ['redis-cluster://:hunter2@h:x', 'redis-cluster:…'],
    ['redis-sentinel://:hunter2@h', 'redis-sentinel:…'],
    ['rediss-sentinel://h/keys?sentinelPass=hunter2', 'rediss-sentinel:…'],
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
        'Cannot open store "redis:…": expected only the number of a database after redis://HOST:PORT/; write a / in a password as %2F',
      ),
    ),
  );

  it.each(['"redis://:hunter2@h"', "'redis://:hunter2@h'", ' redis://:hunter2@h'])(
    'says that a URL has quotes or spaces around it, without the URL: %s',
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
