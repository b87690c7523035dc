import { hash } from 'node:crypto';
import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Longer than an address, its zone and its port. */
const LONGEST = 96;

/** Some proxies write the port as well: every connection would be an address of its own. */
const WITH_PORT = /^(?:(\d+\.\d+\.\d+\.\d+)|\[([^\]]+)\]):\d{1,5}$/;

/** IPv6 addresses that have an IPv4 address in them, and are named as that one. */
const IPV4_INSIDE: readonly string[] = ['ipv4Mapped', 'rfc6145', 'rfc6052'];

/**
 * Names a client address, so that a host with many addresses has one name: IPv6 by its first 64 bits, which a single host has to
 * itself, and IPv4 within IPv6 as the IPv4 that it is. What is no address is taken as it stands.
 */
export function clientAddressName(clientAddress: string): string {
  // As IPv4 comes to servers that listen to both: mostly.
  const plain = clientAddress.startsWith('::ffff:') ? clientAddress.slice(7) : clientAddress;
  if (isIPv4(plain)) return plain;
  if (!(clientAddress.length <= LONGEST)) return hash('sha256', clientAddress, 'base64url');
  const [, ipv4, ipv6 = clientAddress] = WITH_PORT.exec(plain) ?? [];
  if (ipv4 !== undefined) return ipv4;
  if (!ipaddr.IPv6.isValid(ipv6)) return clientAddress;
  const parsed = ipaddr.IPv6.parse(ipv6);
  if (IPV4_INSIDE.includes(parsed.range())) return parsed.toByteArray().slice(12).join('.');
  const network = parsed.parts.slice(0, 4).map((part) => part.toString(16));
  return `${network.join(':')}::/64`;
}
