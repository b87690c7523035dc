import { kindOf, quote, SignatureError } from '@countersign/shared';
import { watchPromise } from '../../lib/call-hook.ts';
import { functionOption, parseOptions } from '../../lib/options.ts';
import type { Identity } from '../../verify/identity.ts';
import { isSameHost } from '../../verify/read-request.ts';
import type { Verifier } from '../../verify/verifier.ts';
import type { VerifierOptions } from '../../verify/verifier-options.ts';
import {
  type AdapterOptions,
  adapterSchema,
  checkHandler,
  clientAddressSchema,
  isVerifier,
  parseVerifierOrOptions,
} from '../adapter-options.ts';
import { ConnectionHold } from '../connection-hold.ts';
import { problemOf } from '../problem-details.ts';
import { heldFetchBody, streamedFetchBody } from './body.ts';
import { incomingOf, keepIncoming, targetOf, whileHeld } from './incoming.ts';

/** Who signed a verified request, and the request to read from now on. */
export interface VerifiedRequest {
  readonly identity: Identity;
  readonly request: Request;
}

/** Options of the fetch adapter beside those of the verifier. */
export interface FetchOptions<Rest extends unknown[] = []> extends AdapterOptions {
  /**
   * Returns the network address of a caller, by which failures are limited. A `Request` has no
   * address, but most runtimes pass one in a further argument. Do not return `X-Forwarded-For`
   * unchecked, because any client can write it. If not given, nothing is limited.
   */
  readonly clientAddress?: ((request: Request, ...rest: Rest) => string | undefined) | undefined;
  /**
   * Returns the request target on the request line, such as `(request, env) => env.incoming.url`,
   * if the runtime knows it. A `Request` does not: `new URL()` has resolved dot segments and
   * absolute forms in its `url`. If not given, the target is taken from Node's own request on
   * @hono/node-server, and otherwise from `url`.
   */
  readonly target?: ((request: Request, ...rest: Rest) => string | undefined) | undefined;
}

const fetchSchema = adapterSchema.extend({
  clientAddress: clientAddressSchema<[request: Request, ...rest: unknown[]]>(),
  target: functionOption<(request: Request, ...rest: unknown[]) => string | undefined>(
    'a function that tells the request target',
  ).optional(),
});
type FetchSettings = ReturnType<typeof fetchSchema.parse>;

const defaults: FetchSettings = fetchSchema.parse({});

/**
 * Verifies a `Request`, as Hono, Next.js and workers hand it out.
 *
 * `new URL()` has changed `url` before it can be verified: `/admin/../videos`,
 * `/admin/%2e%2e/videos` and `http://api.test/videos` all become `/videos`. The application sees
 * the same `/videos`. If a proxy in front acts on the target on the request line, give the option
 * `target`. Three things are refused: a fragment; a `Host` that is not the host in `url`, unless
 * `publicOrigin` is set; and a body that the runtime hides, such as that of a `GET`.
 *
 * @returns who signed it, and a request to read instead of the given one, whose body has been read
 * @throws TypeError or RangeError if an argument cannot be used
 * @throws SignatureError if the request is refused: {@link refusalResponse} makes the answer from
 * it
 *
 * @example
 * ```ts
 * import {
 *   createVerifier,
 *   generateAccessKey,
 *   MemoryKeyStore,
 *   MemoryNonceStore,
 * } from '@countersign/server';
 * import { refusalResponse, verifyRequest } from '@countersign/server/fetch';
 *
 * const keys = new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]);
 * const verifier = createVerifier({ audience: 'video-api', keys, nonces: new MemoryNonceStore() });
 *
 * const unsigned = new Request('https://api.test/VideoParser/');
 * const response = await verifyRequest(verifier, unsigned).catch((error) =>
 *   refusalResponse(error, verifier),
 * );
 * console.assert(response instanceof Response && response.status === 401);
 * ```
 */
export async function verifyRequest(
  verifier: Verifier,
  request: Request,
  options?: FetchOptions,
): Promise<VerifiedRequest> {
  if (!isVerifier(verifier))
    throw new TypeError('Cannot verify request: expected a verifier, from createVerifier()');
  const { url, headers } = (request ?? {}) as Partial<Request>;
  if (typeof url !== 'string' || typeof headers?.get !== 'function')
    throw new TypeError(
      `Cannot verify request: expected a Request, got ${kindOf(request)} (in Hono it is context.req.raw)`,
    );
  const settings = options === undefined ? defaults : parseOptions('adapter', fetchSchema, options);
  return verifyWith(verifier, settings, request, 'verifyRequest()');
}

/**
 * Makes the answer to a refused request.
 *
 * @param error what `verifyRequest` threw; anything but a `SignatureError` is thrown again
 */
export function refusalResponse(
  error: unknown,
  verifier: Pick<Verifier, 'audience' | 'challenge'>,
): Response {
  if (!(error instanceof SignatureError)) throw error;
  const { status, headers, body } = problemOf(error, verifier.audience, verifier.challenge);
  return new Response(body, { status, headers });
}

/**
 * Wraps a fetch-style handler, so that it is called for signed requests only. Countersign answers
 * all others itself.
 *
 * @param handler called with a readable request, the signer's identity, and the further arguments
 * that the runtime passes
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
 * import { withSignature } from '@countersign/server/fetch';
 *
 * const handler = withSignature(
 *   (_request, identity) => new Response(`Hello ${identity.subject}`),
 *   {
 *     audience: 'video-api',
 *     keys: new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]),
 *     nonces: new MemoryNonceStore(),
 *   },
 * );
 * console.assert((await handler(new Request('https://api.test/'))).status === 401);
 * ```
 */
export function withSignature<Rest extends unknown[]>(
  handler: (request: Request, identity: Identity, ...rest: Rest) => Response | Promise<Response>,
  given: Verifier | (VerifierOptions & FetchOptions<Rest>),
  options: FetchOptions<Rest> = {},
): (request: Request, ...rest: Rest) => Promise<Response> {
  const { verifier, settings } = parseVerifierOrOptions(
    fetchSchema,
    given as Verifier | (VerifierOptions & FetchOptions<unknown[]>),
    options as FetchOptions<unknown[]>,
  );
  checkHandler('handler', handler);
  return async function signedRequestHandler(received, ...rest) {
    let verified: VerifiedRequest;
    try {
      verified = await verifyWith(verifier, settings, received, 'withSignature()', rest);
    } catch (error) {
      return refusalResponse(error, verifier);
    }
    const response = await handler(verified.request, verified.identity, ...rest);
    return verified.identity.epoch === undefined
      ? response
      : withEpoch(response, verified.identity.epoch);
  };
}

async function verifyWith(
  verifier: Verifier,
  settings: FetchSettings,
  received: Request,
  caller: string,
  rest: readonly unknown[] = [],
): Promise<VerifiedRequest> {
  const parsed = new URL(received.url);
  const { host } = parsed;
  const headers = [...received.headers];
  // Some runtimes hide `Host` from programs, and show the host in the URL only.
  if (!received.headers.has('host')) headers.push(['host', host]);
  const incoming = incomingOf(received, rest[0]);
  const hold = new ConnectionHold(incoming);
  const bodyOf = settings.body === 'stream' ? streamedFetchBody : heldFetchBody;
  const body = bodyOf(received, settings.limit, caller, hold);
  const verify = (): Promise<Identity> =>
    verifier.verify({
      method: received.method,
      url: toldTarget(settings, received, rest) ?? incoming?.url ?? targetOf(parsed),
      headers,
      urlHost: host,
      body,
      clientAddress: settings.clientAddress?.(received, ...rest),
    });
  const identity = await whileHeld(hold, incoming, verify);
  const request = withHost(body.request(), parsed, identity.host);
  keepIncoming(request, incoming);
  return { identity, request };
}

/**
 * Shows the application the verified host, in the URL and in the header field. With `publicOrigin`,
 * the host on the wire may be any.
 */
function withHost(request: Request, url: URL, host: string | undefined): Request {
  const field = request.headers.get('host') ?? host;
  if (host === undefined || (isSameHost(host, url.host) && field === host)) return request;
  url.host = host;
  // A host without a port means the default port. The setter of `host` would keep the old port.
  if (!/:\d+$/.test(host)) url.port = '';
  const headers = new Headers(request.headers);
  headers.set('host', host);
  return new Request(new Request(url, request), { headers });
}

/**
 * Calls the option `target`.
 *
 * @throws TypeError if it gives anything but text. That is a fault of the server, so the client is
 * not refused
 */
function toldTarget(
  { target }: FetchSettings,
  received: Request,
  rest: readonly unknown[],
): string | undefined {
  const told: unknown = target?.(received, ...rest);
  if (told === undefined || typeof told === 'string') return told;
  watchPromise(told, 'COUNTERSIGN_TARGET');
  throw new TypeError(
    `Option "target" gave ${quote(told)}: expected the request target as text, such as "/a?b=c", or undefined`,
  );
}

/**
 * Sets the epoch. The headers of a `Response` from `fetch` cannot be changed, so such a response is
 * copied.
 */
function withEpoch(response: Response, epoch: string): Response {
  try {
    response.headers.set('countersign-epoch', epoch);
    return response;
  } catch {
    const copy = new Response(response.body, response);
    copy.headers.set('countersign-epoch', epoch);
    return copy;
  }
}
