import { describeValue, quote, strictClock, toUrl } from '@countersign/shared';
import type { Credentials } from '../sign/credentials.ts';
import { createCurrentCredentials } from '../sign/current-credentials.ts';
import { checkObject } from '../sign/signer-options.ts';
import { type CreateFetchOptions, createFetch } from './fetch.ts';

/** Which server gives session credentials, and what they are for. */
export interface SessionCredentialsOptions
  extends Omit<CreateFetchOptions, 'origins' | 'otherOrigins'> {
  /** The URL of a server's `sessionEndpoint()`. */
  readonly url: string | URL;
  /** What the credentials may be used for: everything that the access key may, if not given. */
  readonly scopes?: readonly string[] | undefined;
  /** Their life in seconds: the server decides if not given. */
  readonly ttl?: number | undefined;
  /** How long to wait for a response, in seconds: 10 if not given. */
  readonly timeout?: number | undefined;
  /**
   * `tls` (if not given) requires https, except to this machine itself. With `allow-plain-http`, an
   * attacker on the network can read the secret of the session.
   */
  readonly transport?: 'tls' | 'allow-plain-http' | undefined;
}

/**
 * Builds a provider of short-lived credentials: a long-lived access key signs one request, and the
 * credentials in the response sign all others. They are renewed before they expire, by one request
 * at a time. If that fails, the old credentials are used until they expire.
 *
 * @param options see {@link SessionCredentialsOptions}; durations in seconds
 * @returns a function for the option `credentials` of one signer or several. It rejects if the
 *   server refuses
 * @throws TypeError naming the option that cannot be used
 *
 * @example
 * ```ts no-run
 * import { createFetch, sessionCredentials } from '@countersign/client';
 *
 * const credentials = sessionCredentials({
 *   url: 'https://api.example.com/session',
 *   credentials: {
 *     accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
 *     secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA',
 *   },
 *   audience: 'video-api',
 *   scopes: ['videos:parse'],
 * });
 * const signedFetch = createFetch({ credentials, audience: 'video-api' });
 * ```
 */
export function sessionCredentials(
  options: SessionCredentialsOptions,
): (refused?: string) => Promise<Credentials> {
  checkObject('build session credentials', options, '{ url, credentials, audience }');
  const { url, scopes, ttl, timeout = 10, transport = 'tls', ...fetchOptions } = options;
  const expect = (name: string, value: unknown, holds: boolean, expected: string): void => {
    if (!holds) throw wrong(name, describeValue(value), expected);
  };
  expect(
    'scopes',
    scopes,
    scopes === undefined || (Array.isArray(scopes) && scopes.every((it) => typeof it === 'string')),
    'a list of names',
  );
  expect(
    'ttl',
    ttl,
    ttl === undefined || (typeof ttl === 'number' && ttl >= 1),
    'seconds, at least 1',
  );
  expect(
    'timeout',
    timeout,
    typeof timeout === 'number' && timeout > 0 && timeout <= 600,
    'up to 600 seconds',
  );
  // All requests go to one URL, so these options would have no effect.
  for (const name of ['origins', 'otherOrigins'])
    if (name in fetchOptions)
      throw new TypeError(`Cannot build session credentials: unknown option "${name}"`);
  const checkedUrl = checkUrl(url, transport);
  const call = createFetch(fetchOptions);

  async function borrow(): Promise<Credentials> {
    const response = await call(checkedUrl, {
      method: 'POST',
      body: { scopes, ttl },
      signal: AbortSignal.timeout(timeout * 1000),
    });
    const answer: unknown = await response.json().catch((error: unknown) => {
      // A body that is not JSON is not shown. Other errors, such as the time-out, are.
      if (!(error instanceof SyntaxError)) throw error;
    });
    if (response.ok && typeof answer === 'object') return answer as Credentials;
    const { reason, detail } = (answer ?? {}) as { reason?: unknown; detail?: unknown };
    const why = [reason, response.ok ? 'no credentials' : detail]
      .filter((it) => it !== undefined)
      .map((it) => quote(it, 200));
    throw new Error(
      `Cannot get session credentials from ${quote(checkedUrl)}: it answered ${[response.status, ...why].join(', ')}`,
    );
  }

  const current = createCurrentCredentials(
    borrow,
    strictClock(fetchOptions.clock ?? (() => Date.now() / 1000)),
  );
  return async (refused) => {
    if (refused !== undefined) await current.replace(refused);
    return current();
  };
}

function checkUrl(url: unknown, transport: unknown): string {
  const parsed = toUrl(String(url));
  if (parsed === undefined) throw wrong('url', describeValue(url), 'an absolute URL');
  if (transport !== 'tls' && transport !== 'allow-plain-http')
    throw wrong('transport', describeValue(transport), '"tls" or "allow-plain-http"');
  // A password may stand before the host. No message may show it, and `fetch` would not send it.
  const { protocol, hostname, origin, pathname, search } = parsed;
  const isLocal = /^(?:localhost|127\.[\d.]+|\[::1\])$/.test(hostname);
  if (protocol !== 'https:' && !isLocal && transport !== 'allow-plain-http')
    throw wrong('url', quote(origin), 'https, since a secret comes back');
  return origin + pathname + search;
}

function wrong(name: string, shown: string, expected: string): TypeError {
  return new TypeError(
    `Cannot build session credentials: option "${name}" is ${shown}: expected ${expected}`,
  );
}
