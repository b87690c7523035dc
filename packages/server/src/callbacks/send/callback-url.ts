import { isIP } from 'node:net';
import { quote, toUrl } from '@countersign/shared';
import type { PrivateAddresses } from './address-flaw.ts';
import { CallbackAddressError } from './callback-address-error.ts';

/** What may be allowed. Each value names what it weakens. */
export interface CallbackUrlOptions {
  /**
   * Whether callbacks may use plain http, which every network on the way can read: `refuse` if not
   * given.
   */
  readonly http?: 'refuse' | 'allow-plain-http' | undefined;
  /**
   * Whether callbacks may go into your own network: `refuse` if not given. Allow it for receivers
   * of your own, and in tests.
   */
  readonly privateAddresses?: PrivateAddresses | undefined;
}

const LONGEST = 2_048;
/**
 * `new URL()` accepts all of these: tabs and line feeds inside, backslashes for slashes, spaces
 * around. Two parsers could then see two different hosts.
 */
const FORGIVEN = /[^\x21-\x7e\u00a1-\uffff]|\\/;
const ABSOLUTE = /^https?:\/\/[^/?#]/i;
/**
 * Names that only exist inside a network (RFC 6762, 6761, 8375, 9476 and the draft for `internal`).
 * They are refused even if they resolve to a public address.
 */
const OWN_NAMES = /(?:^|\.)(?:localhost|local|internal|intranet|lan|home\.arpa|onion|alt)$/;
const LOWEST_PORT = 1_024;

/**
 * Checks the text of an endpoint's URL. It does not ask DNS.
 *
 * @throws CallbackAddressError `ERR_CALLBACK_URL_REFUSED`
 */
export function parseCallbackUrl(text: string, options: CallbackUrlOptions = {}): URL {
  if (typeof text !== 'string') refuse(`expected text, got ${typeof text}`);
  // The length comes first, because the customer who registers a URL chooses it.
  if (!(text.length <= LONGEST)) refuse(`it has ${text.length} characters, ${LONGEST} are allowed`);
  const shown = quote(withoutCredentials(text));
  if (FORGIVEN.test(text)) refuse(`${shown} has characters that readers of URLs do not agree on`);
  const url =
    (ABSOLUTE.test(text) ? toUrl(text) : undefined) ??
    refuse(`${shown} is not an absolute https URL`);
  if (/^[^/]*\/\/[^/?#]*@/.test(text)) refuse(`${shown} has credentials in it`);
  if (url.protocol !== 'https:' && options.http !== 'allow-plain-http')
    refuse(`${shown} is not https, so everybody on the way could read what is sent`);
  if (text.includes('#')) refuse(`${shown} has a fragment, which is never sent`);
  // Ports below belong to mail, shells and others that could misread a request as a command.
  if (url.port !== '' && !(Number(url.port) >= LOWEST_PORT))
    refuse(`${shown} has port ${url.port}: expected the default, or ${LOWEST_PORT} and above`);
  checkHostname(url.hostname, shown, options);
  return url;
}

function checkHostname(hostname: string, shown: string, options: CallbackUrlOptions): void {
  // A second spelling of the same name, which certificates do not contain.
  if (hostname.endsWith('.') || hostname.includes('..') || hostname.startsWith('.'))
    refuse(`${shown} has an empty label in its host`);
  if (options.privateAddresses === 'allow-private-addresses' || isIP(hostOf(hostname)) !== 0)
    return;
  if (OWN_NAMES.test(hostname) || !hostname.includes('.'))
    refuse(`${shown} names a host of a private network`);
}

/** The name or address, without the brackets of an IPv6 address. */
export function hostOf(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}

/** A message must not hold a password, even if the URL is refused. */
function withoutCredentials(text: string): string {
  return text.replace(/^([^/]*[/\\]*)[^/\\?#]*@/, '$1…@');
}

function refuse(why: string): never {
  throw new CallbackAddressError('ERR_CALLBACK_URL_REFUSED', `Cannot use callback URL: ${why}`);
}
