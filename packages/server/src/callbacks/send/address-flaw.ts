import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Whether callbacks may go into one's own network. */
export type PrivateAddresses = 'refuse' | 'allow-private-addresses';

/**
 * What may be allowed by name. Link-local addresses may not: there the clouds hand out credentials.
 */
const PRIVATE = new Set(['loopback', 'private', 'carrierGradeNat', 'uniqueLocal']);

/**
 * All that is assigned as global unicast (RFC 4291 section 2.4). `::127.0.0.1` is outside of it,
 * and so is what is not known yet.
 */
const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3') as [ipaddr.IPv6, number];

/**
 * Where clouds hand out credentials, at addresses that look public or merely private: Azure,
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
 * Says why an address must not be called. In the positive: what is not known to be public is
 * refused, so that no range that is invented later is a way in. Addresses that carry an IPv4
 * address inside (mapped, 6to4, Teredo, NAT64, ISATAP) are refused whatever they carry.
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
  // A private prefix may translate to IPv4 (RFC 6052), and this is what it would translate.
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
