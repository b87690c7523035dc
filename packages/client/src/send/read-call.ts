import { toUrl } from '@countersign/shared';
import { isPlain, prepareBody, type SignableBody } from '../sign/body.ts';
import type { UnsignedRequest } from '../sign/requests.ts';

/** What `fetch` takes, and the bodies that a signer takes. */
export type SignedRequestInit = Omit<RequestInit, 'body'> & { body?: SignableBody };

/** What is copied from a `Request`, besides what is signed. */
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

/** Gives the URL of a call. In a page it may be relative, as with `fetch`. */
export function readUrl(input: string | URL | Request): string {
  const url = String(input instanceof Request ? input.url : input);
  const base = (globalThis as { location?: { href: string } }).location?.href;
  return (base === undefined ? undefined : toUrl(url, base)?.href) ?? url;
}

/**
 * Splits the arguments of a call into the request to sign and the rest, which `fetch` gets as it
 * is. The body of a `Request` is read to its end, because a signed body is sent from memory.
 */
export async function readCall(
  url: string,
  input: string | URL | Request,
  init: SignedRequestInit,
): Promise<{ readonly request: UnsignedRequest; readonly rest: RequestInit }> {
  const { method, headers, body, ...rest } = init;
  const base = input instanceof Request ? input : undefined;
  const fields = new Headers(headers ?? base?.headers);
  // `fetch` always sends the host of the URL.
  fields.delete('host');
  const request = {
    method: method ?? base?.method ?? 'GET',
    url,
    headers: fields,
    body: body ?? (base === undefined ? undefined : await readBody(base)),
  };
  const inherited: RequestInit =
    base === undefined ? {} : Object.fromEntries(INHERITED.map((name) => [name, base[name]]));
  // `follow` is the default of every `Request`, so it does not say that the caller wants it.
  if (base !== undefined && base.redirect !== 'follow') inherited.redirect = base.redirect;
  return { request, rest: { ...inherited, ...rest } };
}

/** The arguments for an unsigned call: those of `fetch`, but a plain object is sent as JSON. */
export async function readUnsignedInit(init: SignedRequestInit): Promise<RequestInit> {
  if (!isPlain(init.body)) return init as RequestInit;
  const { body, contentType } = await prepareBody(init.body, undefined);
  const headers = new Headers(init.headers);
  if (!headers.has('content-type')) headers.set('content-type', contentType as string);
  return { ...init, headers, body: body as Uint8Array<ArrayBuffer> };
}

async function readBody(request: Request): Promise<Uint8Array | undefined> {
  // A request without a body has null here; in some browsers the property does not exist.
  if (request.body === null) return undefined;
  const bytes = new Uint8Array(await request.arrayBuffer());
  return bytes.length === 0 ? undefined : bytes;
}
