import { isIP } from 'node:net';
import { quote } from '@countersign/shared';
import { findAddressFlaw } from './address-flaw.ts';
import { CallbackAddressError } from './callback-address-error.ts';
import { type CallbackUrlOptions, hostOf, parseCallbackUrl } from './callback-url.ts';
import { createResolver, type ResolveHost } from './resolve-host.ts';

/** How a URL is checked. */
export interface CallbackAddressOptions extends CallbackUrlOptions {
  /**
   * Finds the addresses of a host name. If not given, the sender asks DNS, and uses neither
   * `/etc/hosts` nor search domains.
   */
  readonly resolve?: ResolveHost | undefined;
}

/** A URL that may be called, and its checked addresses. Nothing resolves the name again. */
export interface CallbackAddress {
  readonly url: URL;
  readonly addresses: readonly string[];
}

const MOST_ADDRESSES = 32;
const resolveByDns = createResolver(5);

/**
 * Checks the URL of an endpoint. Call it when a customer registers the URL. The sender checks again
 * before each attempt, because the name may have other addresses by then. The URL must be https,
 * without credentials, on the default port or a port from 1024 on. *Every* address of its host must
 * be public: with one good and one bad address, chance would decide which is called.
 *
 * @param url the text that the customer gave
 * @param options what is allowed besides
 * @returns the URL, and the addresses that were checked: connect to these, not to the name, which
 * may change between the check and the call
 * @throws CallbackAddressError `ERR_CALLBACK_URL_REFUSED`, `ERR_CALLBACK_ADDRESS_REFUSED`,
 * `ERR_CALLBACK_HOST_UNRESOLVED`
 *
 * @example
 * ```ts
 * import { checkCallbackUrl } from '@countersign/server/callbacks';
 *
 * const url = 'https://169.254.169.254/latest/meta-data/';
 * const refusal = await checkCallbackUrl(url).catch((error) => error);
 * console.assert(refusal.code === 'ERR_CALLBACK_ADDRESS_REFUSED');
 * ```
 * @see docs/callbacks-sending.md, "Where callbacks may go"
 */
export async function checkCallbackUrl(
  url: string,
  options: CallbackAddressOptions = {},
): Promise<CallbackAddress> {
  const parsed = parseCallbackUrl(url, options);
  const host = hostOf(parsed.hostname);
  const addresses =
    isIP(host) === 0 ? await addressesOf(host, options.resolve ?? resolveByDns) : [host];
  for (const address of addresses) {
    const flaw = findAddressFlaw(address, options.privateAddresses);
    if (flaw === undefined) continue;
    throw new CallbackAddressError(
      'ERR_CALLBACK_ADDRESS_REFUSED',
      `Cannot call host ${quote(host)}: ${quote(address)} is refused, ${flaw}`,
    );
  }
  return { url: parsed, addresses };
}

async function addressesOf(host: string, resolve: ResolveHost): Promise<readonly string[]> {
  const addresses = await resolve(host).catch((cause: unknown) => {
    throw unresolved(host, `its addresses cannot be found: ${quote(codeOf(cause))}`, cause);
  });
  if (!(addresses.length > 0)) throw unresolved(host, 'it has no address');
  if (!(addresses.length <= MOST_ADDRESSES))
    throw unresolved(host, `it has more than ${MOST_ADDRESSES} addresses`);
  return addresses;
}

function codeOf(cause: unknown): unknown {
  return (cause as NodeJS.ErrnoException | undefined)?.code ?? cause;
}

function unresolved(host: string, why: string, cause?: unknown): CallbackAddressError {
  const message = `Cannot call host ${quote(host)}: ${why}`;
  return new CallbackAddressError('ERR_CALLBACK_HOST_UNRESOLVED', message, { cause });
}
