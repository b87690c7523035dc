import { describeValue, quote, toUrl } from '@countersign/shared';
import { isPlain, isStream, prepareBody, type SignableBody } from '../sign/body.ts';
import { createEpochs } from '../sign/epochs.ts';
import { buildSigner, type UnsignedRequest } from '../sign/signer.ts';
import { checkObject, type SignerOptions } from '../sign/signer-options.ts';
import { parseUrl } from '../sign/unsigned-request.ts';
import { originOf, readOrigins } from './origins.ts';
import { accessKeyIdOf, type Cure, cureOf } from './refusals.ts';
import { unlessAborted } from './unless-aborted.ts';

/** What `createFetch` is built from. */
export interface CreateFetchOptions extends SignerOptions {
  /** The origins whose requests are signed, such as `https://api.example.com`. If not given, every request is signed. */
  readonly origins?: readonly string[] | undefined;
  /**
   * What becomes of a request to an origin that is not among `origins`: `refuse` (if not given) rejects it, so that no request
   * goes out unsigned by mistake; `send-unsigned` sends it as `fetch` does.
   */
  readonly otherOrigins?: 'refuse' | 'send-unsigned' | undefined;
  /** The `fetch` underneath: the global one, looked up at each call, if not given. */
  readonly fetch?: typeof fetch | undefined;
}

/** `fetch`, but that plain objects and arrays are sent as JSON. */
export type SignedFetch = (
  input: string | URL | Request,
  init?: SignedRequestInit,
) => Promise<Response>;

/** What `fetch` takes, and the bodies that a signer takes. */
type SignedRequestInit = Omit<RequestInit, 'body'> & { body?: SignableBody };

const MOST_REDIRECTS = 20;

/**
 * Builds a `fetch` that signs. Every attempt has a signature of its own: where a server's nonce store has lost its memory the
 * request is signed again, once, with what the server told.
 *
 * Redirects are refused, unlike by `fetch`, unless a call asks for `redirect: 'follow'`: without TLS anybody could answer with one,
 * and so choose what is signed next. They are then signed anew, within `origins` or the first one: neither signature nor body
 * leaves.
 *
 * @param options see {@link CreateFetchOptions}
 * @returns a function that throws what `fetch` and `signer.sign` throw, and a TypeError for an origin that is not among `origins`
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
  checkObject('build fetch', options, '{ credentials, audience }');
  const { origins: given, otherOrigins, fetch: underlying, ...signerOptions } = options;
  const { signer, credentials } = buildSigner('fetch', signerOptions);
  const origins = given === undefined ? undefined : readOrigins('fetch', given);
  checkOtherOrigins(otherOrigins, origins);
  if (underlying !== undefined && typeof underlying !== 'function') {
    throw new TypeError(
      `Cannot build fetch: option "fetch" is ${describeValue(underlying)}: expected a function like fetch()`,
    );
  }
  const epochs = createEpochs();
  const send = (...call: Parameters<typeof fetch>): Promise<Response> =>
    (underlying ?? fetch)(...call);

  async function attempt(
    request: UnsignedRequest,
    origin: string,
    init: RequestInit,
  ): Promise<{ readonly response: Response; readonly accessKeyId: string }> {
    const signing = signer.sign({ ...request, epoch: epochs.get(origin) });
    const { url, ...signed } = await unlessAborted(signing, init.signal);
    const duplex = isStream(signed.body) ? { duplex: 'half' } : {};
    const response = await send(url, {
      ...init,
      ...duplex,
      ...signed,
      redirect: 'manual',
    } as RequestInit);
    epochs.note(origin, response.headers.get('countersign-epoch'));
    return { response, accessKeyId: accessKeyIdOf(signed.headers) };
  }

  async function signedAttempt(
    request: UnsignedRequest,
    origin: string,
    init: RequestInit,
  ): Promise<Response> {
    const tried = new Set<Cure>();
    for (;;) {
      const { response, accessKeyId } = await attempt(request, origin, init);
      const challenges = response.headers.get('www-authenticate');
      // A `fetch` of the application may have gone elsewhere.
      const isAsked = response.url === '' || originOf(response.url) === origin;
      const cure = isAsked ? cureOf(response.status, challenges, options.audience) : undefined;
      if (cure === undefined || tried.has(cure) || isStream(request.body)) return response;
      if (cure === 'credentials') {
        const replacement = credentials.replace(accessKeyId);
        if (!(await unlessAborted(replacement, init.signal))) return response;
      }
      tried.add(cure);
      discard(response);
    }
  }

  return async function signedFetch(input, init = {}) {
    const url = absolute(input instanceof Request ? input.url : input);
    if (origins !== undefined && !origins.has(originOf(url) ?? '')) {
      if (otherOrigins === 'send-unsigned') return send(input, await unsignedInit(init));
      throw new TypeError(
        `Cannot fetch from ${quote(parseUrl(url).origin)}: the option "origins" has only ${quote([...origins].join(', '), 200)}; add it there, or set the option "otherOrigins" to "send-unsigned"`,
      );
    }
    const { request: first, rest } = await readCall(url, input, init);
    let request = first;
    for (let redirects = 0; ; redirects++) {
      const { origin } = parseUrl(request.url);
      const response = await signedAttempt(request, origin, rest);
      if (rest.redirect === 'manual' || !isRedirect(response)) return response;
      discard(response);
      // Whoever can change an answer could otherwise have any request signed.
      if (rest.redirect !== 'follow')
        throw new TypeError(
          `Cannot fetch ${quote(request.url)}: it redirects, and is not told to { redirect: 'follow' }`,
        );
      if (redirects >= MOST_REDIRECTS)
        throw new TypeError(`Cannot fetch ${quote(request.url)}: it redirects too often`);
      request = follow(request, response, origins ?? new Set([origin]));
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

/** Lets go of a connection. Not awaited: a response that somebody has cloned is cancelled only when both copies are. */
function discard(response: Response): void {
  response.body?.cancel().catch(() => undefined);
}

/** For other origins, if that is allowed, it is `fetch`, but that plain objects are sent as JSON to them too. */
async function unsignedInit(init: SignedRequestInit): Promise<RequestInit> {
  if (!isPlain(init.body)) return init as RequestInit;
  const { body, contentType } = await prepareBody(init.body, undefined);
  const headers = new Headers(init.headers);
  if (!headers.has('content-type')) headers.set('content-type', contentType as string);
  return { ...init, headers, body: body as Uint8Array<ArrayBuffer> };
}

/** What is taken over from a `Request`, beside what is signed. */
const INHERITED = [
  'cache',
  'credentials',
  'integrity',
  'keepalive',
  'mode',
  'referrer',
  'referrerPolicy',
  'signal',
] as const;

/** A `Request` is read to its end: what is signed is sent from memory. */
async function readCall(
  url: string,
  input: string | URL | Request,
  init: SignedRequestInit,
): Promise<{ request: UnsignedRequest; rest: RequestInit }> {
  const { method, headers, body, ...rest } = init;
  const base = input instanceof Request ? input : undefined;
  const fields = new Headers(headers ?? base?.headers);
  // `fetch` sends that of the URL, whatever stands here.
  fields.delete('host');
  const request = {
    method: method ?? base?.method ?? 'GET',
    url,
    headers: fields,
    body: body ?? (base === undefined ? undefined : await readBody(base)),
  };
  const inherited: RequestInit =
    base === undefined ? {} : Object.fromEntries(INHERITED.map((name) => [name, base[name]]));
  // That a `Request` follows is what it says where nobody has said anything.
  if (base !== undefined && base.redirect !== 'follow') inherited.redirect = base.redirect;
  return { request, rest: { ...inherited, ...rest } };
}

async function readBody(request: Request): Promise<Uint8Array | undefined> {
  // Where there is none it is null; some browsers never tell.
  if (request.body === null) return undefined;
  const bytes = new Uint8Array(await request.arrayBuffer());
  return bytes.length === 0 ? undefined : bytes;
}

/** In a page, `fetch` takes relative URLs. */
function absolute(url: string | URL): string {
  const base = (globalThis as { location?: { href: string } }).location?.href;
  const parsed = base === undefined ? undefined : toUrl(url, base);
  return parsed?.href ?? String(url);
}

function isRedirect(response: Response): boolean {
  return (
    response.type === 'opaqueredirect' ||
    (/^30[12378]$/.test(String(response.status)) && response.headers.has('location'))
  );
}

/** Headers that say something of a body, and go with it. */
const OF_BODY = [
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-type',
  'x-countersign-content-sha256',
];

/** The next request as the Fetch standard has it (HTTP-redirect fetch), but that it stays where signatures may go. */
function follow(
  request: UnsignedRequest,
  response: Response,
  origins: ReadonlySet<string>,
): UnsignedRequest {
  const refuse = (why: string): never => {
    throw new TypeError(`Cannot follow the redirect of ${quote(request.url)}${why}`);
  };
  if (response.type === 'opaqueredirect')
    refuse(': a browser does not tell where it leads, so it cannot be signed');
  const location = response.headers.get('location') as string;
  const url = toUrl(location, request.url) ?? refuse(` to ${quote(location)}: it is not a URL`);
  if (!origins.has(url.origin))
    refuse(` to ${quote(url.origin)}: nothing is signed for that origin, see the option "origins"`);
  const { status } = response;
  const method = request.method.toUpperCase();
  if (
    (status === 303 && method !== 'GET' && method !== 'HEAD') ||
    ((status === 301 || status === 302) && method === 'POST')
  ) {
    const headers = new Headers(request.headers as Headers);
    for (const name of OF_BODY) headers.delete(name);
    return { method: 'GET', url: url.href, headers };
  }
  if (isStream(request.body)) refuse(': its body was a stream, and is spent');
  return { ...request, url: url.href };
}
