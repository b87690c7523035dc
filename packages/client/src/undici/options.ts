import { stringify } from 'node:querystring';
import { quote } from '@countersign/shared';
import type { Dispatcher } from 'undici';
import type { SignableBody } from '../sign/body.ts';
import type { SignedRequest, UnsignedRequest } from '../sign/requests.ts';

/** Reads the request that undici was asked to send. */
export function readRequest(opts: Dispatcher.DispatchOptions, origin: string): UnsignedRequest {
  return {
    method: opts.method,
    url: origin + writeTarget(opts.path, opts.query),
    headers: readHeaderPairs(opts.headers),
    body: opts.body as SignableBody,
  };
}

/** Writes a signed request as options for undici. */
export function writeOptions(
  { query, ...rest }: Dispatcher.DispatchOptions,
  origin: string,
  { method, url, headers, body }: SignedRequest,
): Dispatcher.DispatchOptions {
  return {
    ...rest,
    method: method as Dispatcher.HttpMethod,
    path: url.slice(origin.length),
    headers,
    body: (body ?? null) as Dispatcher.DispatchOptions['body'] & object,
  };
}

/** Writes the target as undici would when it sends: it must be signed exactly as it is sent. */
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

/**
 * Reads headers in all the forms that undici takes: a flat list, pairs or a record. A value may be
 * a list or a number.
 */
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
