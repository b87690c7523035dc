import { stringify } from 'node:querystring';
import { quote } from '@countersign/shared';
import type { Dispatcher } from 'undici';
import { originOf, readOrigins } from '../send/origins.ts';
import { accessKeyIdOf, type Cure, cureOf } from '../send/refusals.ts';
import { unlessAborted } from '../send/unless-aborted.ts';
import { isStream, type SignableBody } from '../sign/body.ts';
import { createEpochs } from '../sign/epochs.ts';
import { buildSigner } from '../sign/signer.ts';
import { checkObject, type SignerOptions } from '../sign/signer-options.ts';

/** What `signing` is built from. */
export interface SigningOptions extends SignerOptions {
  /** The origins whose requests are signed, such as `https://api.example.com`. All others pass unsigned. */
  readonly origins: readonly string[];
}

/**
 * Builds an interceptor for undici. Requests to origins that are not among `origins` pass unsigned, as interceptors let pass what
 * is not theirs; `createFetch()` refuses them.
 *
 * It signs each attempt that it sees, and signs again, once, where a server's nonce store has lost its memory.
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
  checkObject('build signing', options, '{ credentials, audience, origins }');
  const { origins: given, ...signerOptions } = options;
  const { signer, credentials } = buildSigner('signing', signerOptions);
  const origins = readOrigins('signing', given);
  const epochs = createEpochs();

  return (dispatch) =>
    function signedDispatch(opts, handler) {
      const origin = readOrigin(opts.origin);
      if (!origins.has(origin)) return dispatch(opts, handler);

      const signal = signalOf(opts);
      const attempt = (tried: readonly Cure[]): void => {
        unlessAborted(sign(opts, origin, epochs.get(origin)), signal)
          .then((signed) => {
            const id = accessKeyIdOf(signed.headers as Record<string, string>);
            const isUseful = (cure: Cure): boolean =>
              !tried.includes(cure) &&
              !isStream(opts.body) &&
              (cure === 'epoch' || credentials.isReplaceable(id));
            const repeat = async (cure: Cure): Promise<void> => {
              if (cure === 'credentials')
                await unlessAborted(credentials.replace(id), signal).catch(() => undefined);
              attempt([...tried, cure]);
            };
            dispatch(
              signed,
              watch(
                handler,
                options.audience,
                (epoch) => epochs.note(origin, epoch),
                isUseful,
                repeat,
              ),
            );
          })
          .catch((error) =>
            handler.onResponseError?.(
              undefined as never,
              signal?.aborted ? error : withCode(error),
            ),
          );
      };
      attempt([]);
      return true;
    };

  async function sign(
    opts: Dispatcher.DispatchOptions,
    origin: string,
    epoch: string | undefined,
  ): Promise<Dispatcher.DispatchOptions> {
    const { query, ...rest } = opts;
    const { method, url, headers, body } = await signer.sign({
      method: opts.method,
      url: origin + writeTarget(opts.path, query),
      headers: readHeaderPairs(opts.headers),
      body: opts.body as SignableBody,
      epoch,
    });
    return {
      ...rest,
      method: method as Dispatcher.HttpMethod,
      path: url.slice(origin.length),
      headers,
      body: (body ?? null) as Dispatcher.DispatchOptions['body'] & object,
    };
  }
}

/**
 * @throws TypeError where there is none: a `Client` or `Pool` has the origin in itself, and a request that is not known
 * to go there must neither be signed nor slip through unsigned
 */
function readOrigin(origin: string | URL | undefined): string {
  if (origin === undefined)
    throw new TypeError(
      'Cannot sign a request without an origin: compose signing() on an Agent, or give each request its origin',
    );
  return originOf(origin) ?? '';
}

/** What `request()` and the like were given. Other ways to abort are heard once the request is on its way. */
function signalOf(opts: Dispatcher.DispatchOptions): AbortSignal | undefined {
  const { signal } = opts as Dispatcher.RequestOptions;
  return signal instanceof AbortSignal ? signal : undefined;
}

/** Passes everything on, except an answer after which the request is sent again: of that nobody hears. */
function watch(
  handler: Dispatcher.DispatchHandler,
  audience: string,
  note: (epoch: string | undefined) => void,
  isUseful: (cure: Cure) => boolean,
  repeat: (cure: Cure) => Promise<void>,
): Dispatcher.DispatchHandler {
  let repeating = false;
  return {
    onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
    onRequestUpgrade: (controller, status, headers, socket) =>
      handler.onRequestUpgrade?.(controller, status, headers, socket),
    onResponseStart(controller, status, headers, message) {
      note(first(headers['countersign-epoch']));
      const challenges = [headers['www-authenticate'] ?? ''].flat().join(', ');
      const cure = cureOf(status, challenges, audience);
      if (cure === undefined || !isUseful(cure))
        return handler.onResponseStart?.(controller, status, headers, message);
      repeating = true;
      // Nothing more of it is wanted, and it might never end.
      controller.abort(new Error('The request is signed again'));
      void repeat(cure);
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

function first(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** What undici would write when it sends; what is signed is written here. */
function writeTarget(path: string, query: Record<string, unknown> | null | undefined): string {
  if (typeof path !== 'string' || path[0] !== '/')
    throw new TypeError(`Cannot sign path ${quote(path)}: expected one that starts with "/"`);
  const written = stringify((query ?? {}) as NodeJS.Dict<string>);
  if (written === '') return path;
  if (/[?#]/.test(path))
    throw new TypeError(
      `Cannot sign path ${quote(path)}: it has a query, and "query" is given too`,
    );
  return `${path}?${written}`;
}

type HeaderValue = string | number | boolean | null | undefined;

/** Reads headers in all the forms that undici takes: a flat list, pairs, a record; with lists of values, and numbers. */
function readHeaderPairs(headers: unknown): [string, string][] {
  const pairs: [string, string][] = [];
  for (const [name, value] of entriesOf(headers)) {
    for (const item of Array.isArray(value) ? (value as HeaderValue[]) : [value as HeaderValue]) {
      if (item !== undefined) pairs.push([name, String(item ?? '')]);
    }
  }
  return pairs;
}

function entriesOf(headers: unknown): Iterable<readonly [string, unknown]> {
  if (Array.isArray(headers) && !Array.isArray(headers[0])) {
    return headers.flatMap((name: string, index) =>
      index % 2 === 0 ? [[name, headers[index + 1]] as const] : [],
    );
  }
  const isIterable =
    typeof (headers as Iterable<unknown> | null | undefined)?.[Symbol.iterator] === 'function';
  return isIterable
    ? (headers as Iterable<readonly [string, unknown]>)
    : Object.entries(headers ?? {});
}

/** `retry()` tries again what has no code, and what cannot be signed now cannot be signed a second later. */
function withCode(error: unknown): Error {
  return error instanceof Error && !('code' in error)
    ? Object.assign(error, { code: 'ERR_CANNOT_SIGN' })
    : (error as Error);
}
