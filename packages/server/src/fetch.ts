import { createSha256, SignatureError, sha256Hex } from '@countersign/shared';
import {
  type AdapterOptions,
  type AdapterPolicy,
  adapterSchema,
  checkHandler,
  isVerifier,
  parseVerifierOrOptions,
  sourceSchema,
} from './adapter-options.ts';
import { readFetchBody, untouchedBody } from './fetch-body.ts';
import type { Identity } from './identity.ts';
import { parseOptions } from './options.ts';
import { problemOf } from './problem-details.ts';
import { type BodySource, checkBodyHash } from './steps/body.ts';
import type { Verifier } from './verifier.ts';
import type { VerifierOptions } from './verifier-options.ts';

export type { CallbackAdapterOptions } from './callbacks/callback-adapter.ts';
export { withCallback } from './callbacks/fetch-callbacks.ts';
export { callbackOf } from './callbacks/received-callbacks.ts';

/** A verified request: whose it is, and the request to read from now on. */
export interface VerifiedRequest {
  readonly identity: Identity;
  readonly request: Request;
}

/** What is done around a verifier. */
export interface FetchOptions<Rest extends unknown[] = []> extends AdapterOptions {
  /**
   * Tells the network address of a caller, which failures are limited by: a `Request` has none, but the runtime tells it, mostly in
   * what it gives beside. Not `X-Forwarded-For` as it stands, which anybody can write. Nothing is limited if not given.
   */
  readonly source?: ((request: Request, ...rest: Rest) => string | undefined) | undefined;
}

const fetchSchema = adapterSchema.extend({
  source: sourceSchema<[request: Request, ...rest: unknown[]]>(),
});
type FetchPolicy = ReturnType<typeof fetchSchema.parse>;

const defaults: FetchPolicy = fetchSchema.parse({});

/**
 * Verifies a `Request`, as Hono, Next.js and workers hand it out. What is verified is its `Host` header where it has one, and
 * not the host in its `url`, which some runtimes make up.
 *
 * @returns who signed it, and a request whose body can be read
 * @throws TypeError or RangeError where an argument cannot be used
 * @throws SignatureError where it is refused: {@link refusalResponse} makes the answer of it
 *
 * @example
 * ```ts
 * import { createVerifier, generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
 * import { refusalResponse, verifyRequest } from '@countersign/server/fetch';
 *
 * const keys = new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]);
 * const verifier = createVerifier({ audience: 'video-api', keys, nonces: new MemoryNonceStore() });
 *
 * const unsigned = new Request('https://api.test/VideoParser/');
 * const response = await verifyRequest(verifier, unsigned).catch((error) => refusalResponse(error, verifier));
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
  if (typeof request !== 'object')
    throw new TypeError(`Cannot verify request: expected a Request, got ${typeof request}`);
  return verifyWith(
    verifier,
    options === undefined ? defaults : parseOptions('adapter', fetchSchema, options),
    request,
  );
}

/**
 * Makes the answer to a refused request.
 *
 * @param error what `verifyRequest` threw; anything but a `SignatureError` is thrown again
 */
export function refusalResponse(error: unknown, verifier: Pick<Verifier, 'audience'>): Response {
  if (!(error instanceof SignatureError)) throw error;
  const { status, headers, body } = problemOf(error, verifier.audience);
  return new Response(body, { status, headers });
}

/**
 * Wraps a fetch-style handler, so that it is called for signed requests only. The others are answered here.
 *
 * @param handler called with a readable request, the signer's identity, and whatever else the runtime gives
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
 * import { withSignature } from '@countersign/server/fetch';
 *
 * const handler = withSignature((_request, identity) => new Response(`Hello ${identity.subject}`), {
 *   audience: 'video-api',
 *   keys: new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]),
 *   nonces: new MemoryNonceStore(),
 * });
 * console.assert((await handler(new Request('https://api.test/'))).status === 401);
 * ```
 */
export function withSignature<Rest extends unknown[]>(
  handler: (request: Request, identity: Identity, ...rest: Rest) => Response | Promise<Response>,
  given: Verifier | (VerifierOptions & FetchOptions<Rest>),
  options: FetchOptions<Rest> = {},
): (request: Request, ...rest: Rest) => Promise<Response> {
  const { verifier, policy } = parseVerifierOrOptions(
    fetchSchema,
    given as Verifier | (VerifierOptions & FetchOptions<unknown[]>),
    options as FetchOptions<unknown[]>,
  );
  checkHandler('handler', handler);
  return async function signedRequestHandler(received, ...rest) {
    let verified: VerifiedRequest;
    try {
      verified = await verifyWith(verifier, policy, received, rest);
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
  policy: FetchPolicy,
  received: Request,
  rest: readonly unknown[] = [],
): Promise<VerifiedRequest> {
  const { href, origin, host, hash } = new URL(received.url);
  const headers = [...received.headers];
  // Runtimes that keep `Host` from programs tell it in the URL only.
  if (!received.headers.has('host')) headers.push(['host', host]);
  const body = requestBody(received, policy);
  // Cut out rather than put together: `/a` and `/a?` have one `search`.
  const url = href.slice(origin.length, href.length - hash.length);
  const identity = await verifier.verify({
    method: received.method,
    url,
    headers,
    body,
    source: policy.source?.(received, ...rest),
  });
  return { identity, request: body.request() };
}

function requestBody(
  received: Request,
  policy: AdapterPolicy,
): BodySource & { request(): Request } {
  let verified = received;
  return {
    request: () => verified,
    async check(declared, seconds) {
      if (policy.body === 'stream') {
        const body = untouchedBody(received, 'verifyRequest()');
        if (body === null) return checkBodyHash(sha256Hex(''), declared);
        verified = new Request(received, {
          body: body.pipeThrough(hashOnTheWay(declared)),
          duplex: 'half',
        } as RequestInit);
        return;
      }
      const { bytes, request } = await readFetchBody(
        received,
        policy.limit,
        seconds,
        'verifyRequest()',
      );
      checkBodyHash(sha256Hex(bytes), declared);
      verified = request;
    },
  };
}

/** Passes bytes on as they come; fails instead of ending where their hash is wrong. */
function hashOnTheWay(declared: string): TransformStream<Uint8Array, Uint8Array> {
  const digest = createSha256();
  return new TransformStream({
    transform(chunk, controller) {
      digest.update(chunk);
      controller.enqueue(chunk);
    },
    flush: () => checkBodyHash(digest.hex(), declared),
  });
}

/** Headers of a `Response` from `fetch` cannot be changed: then a copy of it can. */
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
