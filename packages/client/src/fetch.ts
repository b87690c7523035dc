import { quote } from '@countersign/shared';
import type { SignableBody } from './body.ts';
import { asksForEpoch, createEpochs } from './epochs.ts';
import { createSigner, type SignerOptions, type UnsignedRequest } from './signer.ts';

/** What `createFetch` is built from. */
export interface CreateFetchOptions extends SignerOptions {
  /** The origins whose requests are signed; others are sent as they are. All are signed if not given. */
  readonly origins?: readonly string[] | undefined;
  /** The `fetch` underneath: the global one, looked up at each call, if not given. */
  readonly fetch?: typeof fetch | undefined;
}

/** `fetch`, but that plain objects and arrays are sent as JSON. */
export type SignedFetch = (input: string | URL | Request, init?: Omit<RequestInit, 'body'> & { body?: SignableBody }) => Promise<Response>;

const MOST_REDIRECTS = 20;

/**
 * Builds a `fetch` that signs. Every attempt has a signature of its own: a redirect within the origin is signed anew, and
 * where a server's nonce store has lost its memory the request is signed again, once, with what the server told.
 *
 * A redirect to an origin that is not signed for is refused: neither the signature nor the body leaves.
 *
 * @param options see {@link CreateFetchOptions}
 * @returns a function that throws what `fetch` and `signer.sign` throw
 * @throws TypeError naming the option that cannot be used
 *
 * @example
 * ```ts no-run
 * import { createFetch } from '@countersign/client';
 *
 * const signedFetch = createFetch({
 *   credentials: { accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC', secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA' },
 *   audience: 'video-api',
 * });
 * const response = await signedFetch('https://api.example.com/VideoParser/', {
 *   method: 'POST',
 *   body: { videoUrl: 'https://videos.example.net/cats.mp4' },
 * });
 * ```
 */
export function createFetch(options: CreateFetchOptions): SignedFetch {
  const signer = createSigner(options);
  const origins = readOrigins(options.origins);
  const epochs = createEpochs();
  const send = (...call: Parameters<typeof fetch>): Promise<Response> => (options.fetch ?? fetch)(...call);

  async function attempt(request: UnsignedRequest, origin: string, init: RequestInit): Promise<Response> {
    const { url, ...signed } = await signer.sign({ ...request, epoch: epochs.get(origin) });
    const duplex = signed.body instanceof ReadableStream ? { duplex: 'half' } : {};
    const response = await send(url, { ...init, ...duplex, ...signed, redirect: 'manual' } as RequestInit);
    epochs.note(origin, response.headers.get('countersign-epoch'));
    return response;
  }

  async function signedAttempt(request: UnsignedRequest, origin: string, init: RequestInit): Promise<Response> {
    const response = await attempt(request, origin, init);
    if (!asksForEpoch(response.status, response.headers.get('www-authenticate')) || request.body instanceof ReadableStream) return response;
    await response.body?.cancel();
    return attempt(request, origin, init);
  }

  return async function signedFetch(input, init = {}) {
    const url = absolute(input instanceof Request ? input.url : input);
    if (origins !== undefined && !origins.has(new URL(url).origin)) return send(input, init as RequestInit);
    const { request: first, rest } = await readCall(url, input, init);
    let request = first;
    for (let redirects = 0; ; redirects++) {
      const { origin } = new URL(request.url);
      const response = await signedAttempt(request, origin, rest);
      if (rest.redirect === 'manual' || !isRedirect(response)) return response;
      const next = follow(request, response, origins ?? new Set([origin]));
      if (rest.redirect === 'error' || redirects >= MOST_REDIRECTS) {
        throw new TypeError(`Cannot fetch ${quote(request.url)}: it redirects${redirects >= MOST_REDIRECTS ? ' too often' : ''}`);
      }
      await response.body?.cancel();
      request = next;
    }
  };
}

/** A `Request` is read to its end: what is signed is sent from memory. */
async function readCall(url: string, input: string | URL | Request, init: Omit<RequestInit, 'body'> & { body?: SignableBody }) {
  const { method, headers, body, ...rest } = init;
  const base = input instanceof Request ? input : undefined;
  const inherited = base?.body ? new Uint8Array(await base.arrayBuffer()) : undefined;
  const request: UnsignedRequest = {
    method: method ?? base?.method ?? 'GET',
    url,
    headers: new Headers(headers ?? base?.headers),
    body: body === undefined ? inherited : body,
  };
  return { request, rest: base === undefined ? rest : { signal: base.signal, redirect: base.redirect, ...rest } };
}

/** In a page, `fetch` takes relative URLs. */
function absolute(url: string | URL): string {
  const base = (globalThis as { location?: { href: string } }).location?.href;
  return base !== undefined && URL.canParse(String(url), base) ? new URL(url, base).href : String(url);
}

function isRedirect(response: Response): boolean {
  return response.type === 'opaqueredirect' || (/^30[12378]$/.test(String(response.status)) && response.headers.has('location'));
}

/** The next request as the Fetch standard has it (HTTP-redirect fetch), but that it stays where signatures may go. */
function follow(request: UnsignedRequest, response: Response, origins: ReadonlySet<string>): UnsignedRequest {
  if (response.type === 'opaqueredirect') {
    throw new TypeError(`Cannot follow the redirect of ${quote(request.url)}: a browser does not tell where it leads, so it cannot be signed`);
  }
  const url = new URL(response.headers.get('location') as string, request.url);
  if (!origins.has(url.origin)) {
    throw new TypeError(`Cannot follow the redirect of ${quote(request.url)} to ${quote(url.origin)}: nothing is signed for that origin, see the option "origins"`);
  }
  const { status } = response;
  const becomesGet = (status === 303 && request.method !== 'HEAD') || ((status === 301 || status === 302) && request.method.toUpperCase() === 'POST');
  if (becomesGet) {
    const headers = new Headers(request.headers as Headers);
    for (const name of ['content-encoding', 'content-language', 'content-location', 'content-type', 'content-length']) headers.delete(name);
    return { method: 'GET', url: url.href, headers };
  }
  if (request.body instanceof ReadableStream) {
    throw new TypeError(`Cannot follow the redirect of ${quote(request.url)}: its body was a stream, and is spent`);
  }
  return { ...request, url: url.href };
}

/** @throws TypeError where one is not an origin */
export function readOrigins(origins: readonly string[] | undefined): ReadonlySet<string> | undefined {
  if (origins === undefined) return undefined;
  for (const origin of origins) {
    if (!(URL.canParse(origin) && new URL(origin).origin === origin)) {
      throw new TypeError(`Cannot sign for origin ${quote(origin)}: expected one such as https://api.example.com`);
    }
  }
  return new Set(origins);
}
