import type { Dispatcher } from 'undici';
import type { SignableBody } from './body.ts';
import { asksForEpoch, createEpochs } from './epochs.ts';
import { readOrigins } from './fetch.ts';
import { createSigner, type SignerOptions } from './signer.ts';

/** What `signing` is built from. */
export interface SigningOptions extends SignerOptions {
  /** The origins whose requests are signed, such as `https://api.example.com`. All others pass as they are. */
  readonly origins: readonly string[];
}

/**
 * Builds an interceptor for undici that signs each attempt it sees, and signs again, once, where a server's nonce store has
 * lost its memory.
 *
 * What is composed later stands further outside. `retry()` and `redirect()` belong outside, so that each of their attempts is
 * signed anew; inside, they would send one signature twice:
 *
 *     request ─▶ redirect() ─▶ retry() ─▶ signing() ─▶ socket
 *     agent.compose([signing(…), interceptors.retry(), interceptors.redirect()])
 *
 * @param options see {@link SigningOptions}
 * @returns an interceptor for `agent.compose()`; a request that cannot be signed fails with what `signer.sign` throws
 * @throws TypeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { signing } from '@countersign/client/undici';
 * import { Agent, interceptors } from 'undici';
 *
 * const agent = new Agent().compose([
 *   signing({
 *     credentials: { accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC', secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA' },
 *     audience: 'video-api',
 *     origins: ['https://api.example.com'],
 *   }),
 *   interceptors.retry(),
 * ]);
 * ```
 */
export function signing(options: SigningOptions): Dispatcher.DispatcherComposeInterceptor {
  const signer = createSigner(options);
  const origins = readOrigins(options.origins);
  if (origins === undefined || origins.size === 0) {
    throw new TypeError('Cannot build interceptor: option "origins" is missing: expected the origins to sign for');
  }
  const epochs = createEpochs();

  return (dispatch) =>
    function signedDispatch(opts, handler) {
      const origin = String(opts.origin);
      if (!origins.has(origin)) return dispatch(opts, handler);

      const attempt = (again: boolean): void => {
        sign(opts, origin, epochs.get(origin)).then(
          (signed) => {
            const repeat = again && !isStream(signed.body) ? () => attempt(false) : undefined;
            dispatch(signed, watch(handler, (epoch) => epochs.note(origin, epoch), repeat));
          },
          (error) => handler.onResponseError?.(undefined as never, error),
        );
      };
      attempt(true);
      return true;
    };

  async function sign(opts: Dispatcher.DispatchOptions, origin: string, epoch: string | undefined): Promise<Dispatcher.DispatchOptions> {
    const { query, ...rest } = opts;
    const { method, url, headers, body } = await signer.sign({
      method: opts.method,
      url: origin + opts.path + writeQuery(query),
      headers: (opts.headers ?? {}) as Record<string, string>,
      body: opts.body as SignableBody,
      epoch,
    });
    return { ...rest, method: method as Dispatcher.HttpMethod, path: url.slice(origin.length), headers, body: (body ?? null) as Dispatcher.DispatchOptions['body'] & object };
  }
}

/** Passes everything on, except an answer after which the request is sent again: of that nobody hears. */
function watch(handler: Dispatcher.DispatchHandler, note: (epoch: string | undefined) => void, repeat: (() => void) | undefined): Dispatcher.DispatchHandler {
  let repeating = false;
  return {
    onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
    onRequestUpgrade: (controller, status, headers, socket) => handler.onRequestUpgrade?.(controller, status, headers, socket),
    onResponseStart(controller, status, headers, message) {
      note(first(headers['countersign-epoch']));
      repeating = repeat !== undefined && asksForEpoch(status, first(headers['www-authenticate']));
      if (!repeating) handler.onResponseStart?.(controller, status, headers, message);
    },
    onResponseData(controller, chunk) {
      if (!repeating) handler.onResponseData?.(controller, chunk);
    },
    onResponseEnd(controller, trailers) {
      if (repeating) repeat?.();
      else handler.onResponseEnd?.(controller, trailers);
    },
    onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
  };
}

function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

function isStream(body: unknown): boolean {
  return typeof body === 'object' && body !== null && Symbol.asyncIterator in body;
}

/** undici writes the query when it sends; what is signed is written here. */
function writeQuery(query: Record<string, unknown> | undefined): string {
  if (query === undefined) return '';
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const item of Array.isArray(value) ? value : [value]) parameters.append(name, String(item));
  }
  return `?${parameters}`;
}
