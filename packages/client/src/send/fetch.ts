import { describeValue, quote } from '@countersign/shared';
import { isStream } from '../sign/body.ts';
import type { UnsignedRequest } from '../sign/requests.ts';
import { checkObject, type SignerOptions } from '../sign/signer-options.ts';
import { parseUrl } from '../sign/unsigned-request.ts';
import { originOf, readOrigins } from './origins.ts';
import { createReSigner } from './re-sign.ts';
import { readCall, readUnsignedInit, readUrl, type SignedRequestInit } from './read-call.ts';
import { followRedirect, isRedirect } from './redirects.ts';

/** What `createFetch` is built from. */
export interface CreateFetchOptions extends SignerOptions {
  /**
   * The origins whose requests are signed, such as `https://api.example.com`. If not given, every
   * request is signed.
   */
  readonly origins?: readonly string[] | undefined;
  /**
   * What happens to a request to an origin that is not among `origins`. `refuse` (if not given)
   * rejects it, so that no request is sent unsigned by mistake. `send-unsigned` sends it as `fetch`
   * does.
   */
  readonly otherOrigins?: 'refuse' | 'send-unsigned' | undefined;
  /** The `fetch` that sends: the global one, looked up at each call, if not given. */
  readonly fetch?: typeof fetch | undefined;
}

/** Like `fetch`, but plain objects and arrays are sent as JSON. */
export type SignedFetch = (
  input: string | URL | Request,
  init?: SignedRequestInit,
) => Promise<Response>;

const MOST_REDIRECTS = 20;

/**
 * Builds a `fetch` that signs. Every attempt has a signature of its own. If the server refuses the
 * epoch or the credentials, the request is signed again, once for each of the two.
 *
 * Unlike `fetch`, it refuses redirects, unless a call asks for `redirect: 'follow'`: without TLS an
 * attacker could answer with a redirect, and so choose what is signed next. A followed request is
 * signed again. It stays within `origins`, or within the first origin if the option is not given,
 * so neither signature nor body leaves them.
 *
 * @param options see {@link CreateFetchOptions}
 * @returns a function that throws what `fetch` and `signer.sign` throw, and a TypeError for an
 *   origin that is not among `origins`
 * @throws TypeError naming the option that cannot be used
 *
 * @example
 * ```ts no-run
 * import { createFetch } from '@countersign/client';
 *
 * const signedFetch = createFetch({
 *   credentials: {
 *     accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
 *     secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA',
 *   },
 *   audience: 'video-api',
 * });
 * const response = await signedFetch('https://api.example.com/VideoParser/', {
 *   method: 'POST',
 *   body: { videoUrl: 'https://videos.example.net/cats.mp4' },
 * });
 * ```
 */
export function createFetch(options: CreateFetchOptions): SignedFetch {
  checkObject('build fetch', options, '{ credentials, audience }');
  const { origins: given, otherOrigins, fetch: underlying, ...signerOptions } = options;
  const begin = createReSigner('fetch', signerOptions);
  const origins = given === undefined ? undefined : readOrigins('fetch', given);
  checkOtherOrigins(otherOrigins, origins);
  if (underlying !== undefined && typeof underlying !== 'function') {
    throw new TypeError(
      `Cannot build fetch: option "fetch" is ${describeValue(underlying)}: expected a function like fetch()`,
    );
  }
  const send = (...call: Parameters<typeof fetch>): Promise<Response> =>
    (underlying ?? fetch)(...call);

  /** Sends a request, and once more for each reason for which that may help. */
  async function sendSigned(request: UnsignedRequest, init: RequestInit): Promise<Response> {
    const attempts = begin(request, init.signal);
    for (;;) {
      const { url, ...signed } = await attempts.sign();
      const duplex = isStream(signed.body) ? { duplex: 'half' } : {};
      const call = { ...init, ...duplex, ...signed, redirect: 'manual' };
      const response = await send(url, call as RequestInit);
      const header = (name: string): string | null => response.headers.get(name);
      const reason = attempts.read({ status: response.status, header, url: response.url });
      if (reason === undefined || !(await attempts.prepare(reason))) return response;
      discard(response);
    }
  }

  return async function signedFetch(input, init = {}) {
    const url = readUrl(input);
    if (origins !== undefined && !origins.has(originOf(url) ?? '')) {
      if (otherOrigins === 'send-unsigned') return send(input, await readUnsignedInit(init));
      throw new TypeError(
        `Cannot fetch from ${quote(parseUrl(url).origin)}: the option "origins" has only ${quote([...origins].join(', '), 200)}; add it there, or set the option "otherOrigins" to "send-unsigned"`,
      );
    }
    const { request: first, rest } = await readCall(url, input, init);
    let request = first;
    for (let redirects = 0; ; redirects++) {
      const response = await sendSigned(request, rest);
      if (rest.redirect === 'manual' || !isRedirect(response)) return response;
      discard(response);
      // An attacker who can change a response must not choose what the client signs next.
      if (rest.redirect !== 'follow')
        throw new TypeError(
          `Cannot fetch ${quote(request.url)}: it redirects, and is not told to { redirect: 'follow' }`,
        );
      if (redirects >= MOST_REDIRECTS)
        throw new TypeError(`Cannot fetch ${quote(request.url)}: it redirects too often`);
      const allowed = origins ?? new Set([parseUrl(request.url).origin]);
      request = followRedirect(request, response, allowed);
    }
  };
}

function checkOtherOrigins(given: unknown, origins: ReadonlySet<string> | undefined): void {
  if (given === undefined) return;
  const refuse = (why: string): never => {
    throw new TypeError(
      `Cannot build fetch: option "otherOrigins" is ${describeValue(given)}: ${why}`,
    );
  };
  if (given !== 'refuse' && given !== 'send-unsigned')
    refuse('expected "refuse" or "send-unsigned"');
  if (origins === undefined)
    refuse('expected the option "origins" beside it; without it every request is signed');
}

/**
 * Releases the connection of a response. Not awaited: if the application has cloned the response,
 * the cancellation ends only when both copies are cancelled.
 */
function discard(response: Response): void {
  response.body?.cancel().catch(() => undefined);
}
