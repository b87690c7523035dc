import { sessionCredentials } from '@countersign/client';
import { describe, expect, it } from 'vitest';
import { audience, clock, credentials, failure } from '../support.ts';

/** A provider of credentials, and the URLs that it called. */
function sourceAt(url: string, options: object = {}) {
  const asked: string[] = [];
  const source = sessionCredentials({
    url,
    credentials,
    audience,
    clock,
    fetch: async (input) => {
      asked.push(String(input));
      return Response.json({ ...credentials, sessionToken: 'sealed', expiresAt: clock() + 60 });
    },
    ...options,
  });
  return { source, asked };
}

describe('sessionCredentials()', () => {
  it.each([
    'http://localhost:8080/session',
    'http://LOCALHOST/session',
    'http://127.0.0.1:8080/session',
    'http://127.255.255.254/session',
    'http://127.1/session',
    'http://0x7f000001/session',
    'http://[::1]:8080/session',
    'http://[0:0:0:0:0:0:0:1]/session',
  ])('asks this machine itself over plain HTTP: %s', async (url) => {
    const { source, asked } = sourceAt(url);
    expect(await source()).toMatchObject({ sessionToken: 'sealed' });
    expect(asked).toEqual([new URL(url).href]);
  });

  it.each([
    'http://localhost.evil.test/session',
    'http://127.0.0.1.evil.test/session',
    'http://127.evil.test/session',
    'http://evil-localhost/session',
    'http://evil.localhost.test/session',
    'http://evil.test/localhost',
    'http://evil.test/?127.0.0.1',
    'http://evil.test/#localhost',
    'http://localhost@evil.test/session',
    'http://127.0.0.1:80@evil.test/session',
    'http://evil.test\\@localhost/session',
    'http://128.0.0.1/session',
    'http://1127.0.0.1.test/session',
    'http://0.0.0.0/session',
    'http://10.0.0.1/session',
    'http://[::]/session',
    'http://[::1:1]/session',
    'http://[::2]/session',
    'http://[::ffff:8.8.8.8]/session',
    'http://[1::1]/session',
    'ftp://api.test/session',
    'ws://api.test/session',
  ])('takes no other machine for this one: %s', (url) => {
    expect(() => sourceAt(url)).toThrow(
      `option "url" is "${new URL(url).origin}": expected https, since a secret comes back`,
    );
    expect(() => sourceAt(url, { transport: 'tls' })).toThrow('expected https');
  });

  it('asks any machine over plain HTTP if that is allowed by name', async () => {
    const url = 'http://api.test/session';
    const { source, asked } = sourceAt(url, { transport: 'allow-plain-http' });
    expect(await source()).toMatchObject({ sessionToken: 'sealed' });
    expect(asked).toEqual([url]);
  });

  it('asks others over https', async () => {
    const { source, asked } = sourceAt('https://localhost.evil.test/session?a=b#c');
    expect(await source()).toMatchObject({ sessionToken: 'sealed' });
    expect(asked).toEqual(['https://localhost.evil.test/session?a=b']);
  });

  it('does not follow a redirect to a URL without TLS, whose answer an attacker could read', async () => {
    const asked: string[] = [];
    const source = sessionCredentials({
      url: 'https://api.test/session',
      credentials,
      audience,
      clock,
      fetch: async (input) => {
        asked.push(String(input));
        return new Response(null, { status: 307, headers: { location: 'http://api.test/' } });
      },
    });
    expect((await failure(source())).message).toBe(
      `Cannot fetch "https://api.test/session": it redirects, and is not told to { redirect: 'follow' }`,
    );
    expect(asked).toEqual(['https://api.test/session']);
  });

  it.each([
    ['timeout', 0],
    ['timeout', -1],
    ['timeout', Number.NaN],
    ['timeout', 600.5],
    ['timeout', '10'],
    ['transport', 'http'],
    ['transport', null],
  ])('refuses option %s %j', (name, value) => {
    expect(() => sourceAt('https://api.test/', { [name]: value })).toThrow(
      `Cannot build session credentials: option "${name}" is `,
    );
  });
});
