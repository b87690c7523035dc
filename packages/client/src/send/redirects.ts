import { quote, toUrl } from '@countersign/shared';
import { isStream } from '../sign/body.ts';
import type { UnsignedRequest } from '../sign/requests.ts';

/** Whether `fetch` would follow a response. */
export function isRedirect(response: Response): boolean {
  return (
    response.type === 'opaqueredirect' ||
    (/^30[12378]$/.test(String(response.status)) && response.headers.has('location'))
  );
}

/** Headers that describe a body, and are dropped with it. */
const BODY_HEADERS = [
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-type',
  'x-countersign-content-sha256',
];

/**
 * Builds the request that a redirect asks for, as the Fetch standard does (HTTP-redirect fetch).
 *
 * @param origins the origins that the client signs for: a redirect never leaves them
 * @throws TypeError if the redirect cannot be followed, with the reason
 */
export function followRedirect(
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
    for (const name of BODY_HEADERS) headers.delete(name);
    return { method: 'GET', url: url.href, headers };
  }
  if (isStream(request.body)) refuse(': its body was a stream, and is spent');
  return { ...request, url: url.href };
}
