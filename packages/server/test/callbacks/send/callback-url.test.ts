import { checkCallbackUrl } from '@countersign/server/callbacks';
import { describe, expect, it } from 'vitest';

/** Every name has a public address, so a URL is only refused for its text. */
const resolve = async () => ['93.184.215.14'];

const verdict = (url: string, options: object = {}): Promise<string> =>
  checkCallbackUrl(url, { resolve, ...options }).then(
    () => 'accepted',
    ({ code, message }) => {
      expect(code).toBe('ERR_CALLBACK_URL_REFUSED');
      return message.replace('Cannot use callback URL: ', '');
    },
  );

const PRIVATE_NAME = /^".*" names a host of a private network$/;
const EMPTY_LABEL = /^".*" has an empty label in its host$/;
const PORT = /^".*" has port \d+: expected the default, or 1024 and above$/;
const CREDENTIALS = /^".*" has credentials in it$/;
const FORGIVEN = /^".*" has characters that readers of URLs do not agree on$/;
const NOT_HTTPS = /^".*" is not https, so every network on the way could read what is sent$/;
const NO_URL = /^".*" is not an absolute https URL$/;

describe('checkCallbackUrl()', () => {
  it.each([
    ['https://localhost/', PRIVATE_NAME],
    ['https://LOCALHOST/', PRIVATE_NAME],
    ['https://a.localhost/', PRIVATE_NAME],
    ['https://printer.local/', PRIVATE_NAME],
    ['https://metadata.google.internal/', PRIVATE_NAME],
    ['https://wiki.intranet/', PRIVATE_NAME],
    ['https://router.lan/', PRIVATE_NAME],
    ['https://nas.home.arpa/', PRIVATE_NAME],
    ['https://home.arpa/', PRIVATE_NAME],
    ['https://abc.onion/', PRIVATE_NAME],
    ['https://abc.alt/', PRIVATE_NAME],
    ['https://redis/', PRIVATE_NAME],
    ['https://public.test./', EMPTY_LABEL],
    ['https://.public.test/', EMPTY_LABEL],
    ['https://public..test/', EMPTY_LABEL],
    ['https://public.test:22/', PORT],
    ['https://public.test:80/', PORT],
    ['https://public.test:0/', PORT],
    ['https://public.test:1023/', PORT],
    ['https://user:password@public.test/', CREDENTIALS],
    ['https://user@public.test/', CREDENTIALS],
    ['https://@public.test/', CREDENTIALS],
    ['https://:@public.test/', CREDENTIALS],
    ['https://public.test/#fragment', /^".*" has a fragment, which is never sent$/],
    ['https://public.test/#', /^".*" has a fragment, which is never sent$/],
    ['https://public.test\\@evil.test/', FORGIVEN],
    [' https://public.test/', FORGIVEN],
    ['https://public.test/\n', FORGIVEN],
    ['https://pub\tlic.test/', FORGIVEN],
    ['https://public.test/\u007f', FORGIVEN],
    ['https://public.test/\u00a0', FORGIVEN],
    ['http://public.test/', NOT_HTTPS],
    ['ftp://public.test/', NO_URL],
    ['//public.test/', NO_URL],
    ['https:public.test', NO_URL],
    ['https:/public.test', NO_URL],
    ['https:///public.test', NO_URL],
    ['https://', NO_URL],
    ['', NO_URL],
    [`https://public.test/${'a'.repeat(2_029)}`, /^it has 2049 characters, 2048 are allowed$/],
    [undefined as unknown as string, /^expected text, got undefined$/],
  ])('refuses %j for its text', async (url, why) => {
    expect(await verdict(url)).toMatch(why);
  });

  it.each([
    'https://public.test/',
    'https://localhost.example.com/',
    'https://internal.example.com/',
    'https://mylocal.example.com/',
    'https://not-internal.test/',
    'https://cobalt.example/',
    'https://lan.example/',
    'https://public.test:1024/',
    'https://public.test:65535/',
    'https://public.test:443/',
    `https://public.test/${'a'.repeat(2_028)}`,
    'https://public.test/@a',
    'https://public.test/?a=@b',
  ])('accepts %s', async (url) => {
    expect(await verdict(url)).toBe('accepted');
  });

  it('allows plain HTTP and private names only by their own options', async () => {
    const http = { http: 'allow-plain-http' };
    const names = { privateAddresses: 'allow-private-addresses' };
    expect(await verdict('http://public.test/', http)).toBe('accepted');
    expect(await verdict('http://public.test/', names)).toMatch(NOT_HTTPS);
    expect(await verdict('https://redis/', names)).toBe('accepted');
    expect(await verdict('https://redis/', http)).toMatch(PRIVATE_NAME);
    expect(await verdict('http://redis/', { ...http, ...names })).toBe('accepted');
  });
});
