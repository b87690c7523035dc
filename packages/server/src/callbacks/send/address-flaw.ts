import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Whether callbacks may go into the sender's own network. */
export type PrivateAddresses = 'refuse' | 'allow-private-addresses';

/**
 * Ranges that the option may allow. Link-local addresses are not among them, because clouds hand
 * out credentials there.
 */
const PRIVATE = new Set(['loopback', 'private', 'carrierGradeNat', 'uniqueLocal']);

/**
 * The range that is assigned as global unicast (RFC 4291 section 2.4). `::127.0.0.1` is outside of
 * it, and so are ranges that are not assigned yet.
 */
const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3') as [ipaddr.IPv6, number];

/**
 * Addresses at which clouds hand out credentials, and which look public or merely private: Azure,
 * Alibaba, Equinix Metal, AWS, Google and Scaleway.
 */
const METADATA = [
  '168.63.129.16/32',
  '100.100.100.200/32',
  '192.80.8.124/32',
  'fd00:ec2::/32',
  'fd20:ce::/32',
  'fd00:42::/32',
].map((range) => ipaddr.parseCIDR(range));

/** Most clouds hand out credentials at 169.254.169.254, and some at another link-local address. */
const LINK_LOCAL_IPV4 = ipaddr.parseCIDR('169.254.0.0/16');

/**
 * Says why an address must not be called. An address that is not known to be public is refused, so
 * a range that is assigned later is no way in. Addresses with an IPv4 address inside (mapped, 6to4,
 * Teredo, NAT64, ISATAP) are always refused.
 */
export function findAddressFlaw(
  address: string,
  privateAddresses: PrivateAddresses = 'refuse',
): string | undefined {
  // A zone chooses an interface of this machine.
  if (isIP(address) === 0 || address.includes('%')) return 'it is not an IP address';
  const parsed = ipaddr.parse(address);
  if (METADATA.some((range) => isWithin(parsed, range)))
    return 'it hands out credentials of a cloud';
  // A network may translate a private prefix to IPv4 (RFC 6052). It would call this address.
  if (parsed instanceof ipaddr.IPv6) {
    const carried = new ipaddr.IPv4(parsed.toByteArray().slice(12));
    if ([LINK_LOCAL_IPV4, ...METADATA].some((range) => isWithin(carried, range)))
      return 'it carries an IPv4 address that hands out credentials of a cloud';
  }
  const range = parsed.range();
  if (PRIVATE.has(range) && privateAddresses === 'allow-private-addresses') return undefined;
  if (range !== 'unicast') return `it is not public: ${range}`;
  if (parsed instanceof ipaddr.IPv6) {
    if (!parsed.match(GLOBAL_UNICAST)) return 'it is not global unicast';
    // ISATAP (RFC 5214 section 6.1): the interface carries an IPv4 address, which a router may
    // unpack.
    if (parsed.parts[5] === 0x5efe && ((parsed.parts[4] as number) & 0xfdff) === 0)
      return 'it is not public: isatap';
  }
  return undefined;
}

function isWithin(
  address: ipaddr.IPv4 | ipaddr.IPv6,
  [range, bits]: [ipaddr.IPv4 | ipaddr.IPv6, number],
): boolean {
  return address.kind() === range.kind() && address.match(range, bits);
}
