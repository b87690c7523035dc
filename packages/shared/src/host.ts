import { quote, SignatureError } from './errors.ts';
import { toUrl } from './to-url.ts';

const NAME_OR_ADDRESS = /^(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?$/i;
const LONGEST = 261;

/**
 * Checks a host, with its port if it has one. Node does not check `Host`. A name that different
 * readers take for different hosts (`a.example.`, `a.example:080`, `a/b?c@d`) must not be signed.
 *
 * @throws SignatureError `ERR_TARGET_AMBIGUOUS`
 */
export function checkHost(host: string): void {
  if (!(host.length <= LONGEST && NAME_OR_ADDRESS.test(host))) {
    throw new SignatureError(
      'ERR_TARGET_AMBIGUOUS',
      `Cannot sign host ${quote(host)}: expected a name or address, and a port if any`,
    );
  }
}

/** Letters, digits and full stops, or an IPv6 address. Only `URL` accepts a `*` in a host. */
const PLAIN_HOST = /^(?:[\w.-]+|\[[\da-f:.]+\])$/;

/**
 * The origin of an http or https URL, as `URL` writes it, such as `https://api.example.com`.
 *
 * @returns `undefined` if it is not such a URL; a text that differs from `url` if `url` is more
 * than an origin
 */
export function httpOriginOf(url: unknown): string | undefined {
  const parsed = typeof url === 'string' ? toUrl(url) : undefined;
  if (parsed === undefined) return undefined;
  const { protocol, hostname, origin } = parsed;
  return /^https?:$/.test(protocol) && PLAIN_HOST.test(hostname) ? origin : undefined;
}
