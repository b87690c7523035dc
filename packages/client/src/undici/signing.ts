import type { Dispatcher } from 'undici';
import { originOf, readOrigins } from '../send/origins.ts';
import { createReSigner, type ResponseHead } from '../send/re-sign.ts';
import { checkObject, type SignerOptions } from '../sign/signer-options.ts';
import { readRequest, writeOptions } from './options.ts';

/** What `signing` is built from. */
export interface SigningOptions extends SignerOptions {
  /**
   * The origins whose requests are signed, such as `https://api.example.com`. Requests to all other
   * origins pass unsigned.
   */
  readonly origins: readonly string[];
}

/**
 * Builds an interceptor for undici. It lets requests to origins that are not among `origins` pass
 * unsigned, as interceptors do with requests that are not theirs; `createFetch()` refuses them.
 *
 * It signs each attempt that passes through it. If the server refuses the epoch or the credentials,
 * it signs the request again, once for each of the two.
 *
 * `compose()` puts a later interceptor outside an earlier one. Put `retry()` and `redirect()`
 * outside, so that each of their attempts is signed again; inside, they would send one signature
 * twice:
 *
 *     request ─▶ redirect() ─▶ retry() ─▶ signing() ─▶ socket
 *     agent.compose([signing(…), interceptors.retry(), interceptors.redirect()])
 *
 * @param options see {@link SigningOptions}
 * @returns an interceptor for `agent.compose()`. A request that cannot be signed fails with the
 *   error that `signer.sign` throws
 * @throws TypeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { signing } from '@countersign/client/undici';
 * import { Agent, interceptors } from 'undici';
 *
 * const agent = new Agent().compose([
 *   signing({
 *     credentials: {
 *       accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
 *       secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA',
 *     },
 *     audience: 'video-api',
 *     origins: ['https://api.example.com'],
 *   }),
 *   interceptors.retry(),
 * ]);
 * ```
 */
export function signing(options: SigningOptions): Dispatcher.DispatcherComposeInterceptor {
  checkObject('build signing', options, '{ credentials, audience, origins }');
  const { origins: given, ...signerOptions } = options;
  const begin = createReSigner('signing', signerOptions);
  const origins = readOrigins('signing', given);

  return (dispatch) =>
    function signedDispatch(opts, handler) {
      const origin = readOrigin(opts.origin);
      if (!origins.has(origin)) return dispatch(opts, handler);

      const signal = signalOf(opts);
      const fail = (error: unknown): void =>
        handler.onResponseError?.(
          undefined as never,
          signal?.aborted ? (error as Error) : withCode(error),
        );
      const send = async (): Promise<void> => {
        const attempts = begin(readRequest(opts, origin), signal);
        const attempt = async (): Promise<void> => {
          const signed = writeOptions(opts, origin, await attempts.sign());
          const retry = (head: ResponseHead): (() => void) | undefined => {
            const reason = attempts.read(head);
            if (reason === undefined) return undefined;
            return () => void attempts.prepare(reason).then(attempt).catch(fail);
          };
          dispatch(signed, watch(handler, retry));
        };
        await attempt();
      };
      send().catch(fail);
      return true;
    };
}

/**
 * Reads the origin of a request.
 *
 * @throws TypeError if there is none: a `Client` or `Pool` of undici 7 does not tell its origin.
 *   Such a request must neither be signed for an unknown origin nor be sent unsigned.
 */
function readOrigin(origin: string | URL | undefined): string {
  if (origin === undefined)
    throw new TypeError(
      'Cannot sign a request without an origin: compose signing() on an Agent, or give each request its origin',
    );
  return originOf(origin) ?? '';
}

/** The signal of `request()` and the like. undici itself handles all other ways to abort. */
function signalOf(opts: Dispatcher.DispatchOptions): AbortSignal | undefined {
  const { signal } = opts as Dispatcher.RequestOptions;
  return signal instanceof AbortSignal ? signal : undefined;
}

/**
 * Passes everything on, but not a response after which the request is signed again: the handler
 * never sees that one.
 *
 * @param retry says how to send the request again; `undefined` if the response is the final one
 */
function watch(
  handler: Dispatcher.DispatchHandler,
  retry: (head: ResponseHead) => (() => void) | undefined,
): Dispatcher.DispatchHandler {
  let repeating = false;
  return {
    onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
    onRequestUpgrade: (controller, status, headers, socket) =>
      handler.onRequestUpgrade?.(controller, status, headers, socket),
    onResponseStart(controller, status, headers, message) {
      const header = (name: string): string => [headers[name] ?? ''].flat().join(', ');
      const again = retry({ status, header });
      if (again === undefined)
        return handler.onResponseStart?.(controller, status, headers, message);
      repeating = true;
      // The client needs nothing more of this response, and its body might never end.
      controller.abort(new Error('The request is signed again'));
      again();
    },
    onResponseData(controller, chunk) {
      if (!repeating) handler.onResponseData?.(controller, chunk);
    },
    onResponseEnd(controller, trailers) {
      if (!repeating) handler.onResponseEnd?.(controller, trailers);
    },
    onResponseError(controller, error) {
      if (!repeating) handler.onResponseError?.(controller, error);
    },
  };
}

/**
 * `retry()` repeats errors without a code, but a request that cannot be signed now never can be.
 */
function withCode(error: unknown): Error {
  return error instanceof Error && !('code' in error)
    ? Object.assign(error, { code: 'ERR_CANNOT_SIGN' })
    : (error as Error);
}
