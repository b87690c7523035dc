import { hash } from 'node:crypto';
import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Longer than an address, its zone and its port. */
const LONGEST = 96;

/** Some proxies write the port as well: every connection would be a source of its own. */
const WITH_PORT = /^(?:(\d+\.\d+\.\d+\.\d+)|\[([^\]]+)\]):\d{1,5}$/;

/** IPv6 addresses that have an IPv4 address in them, and are as many sources as that has. */
const IPV4_INSIDE: readonly string[] = ['ipv4Mapped', 'rfc6145', 'rfc6052'];

/**
 * Names a source so that whoever can choose among many addresses is one: IPv6 by its first 64 bits, which a single host has to
 * itself, and IPv4 within IPv6 as the IPv4 that it is. What is no address is taken as it stands.
 */
export function sourceName(source: string): string {
  // As IPv4 comes to servers that listen to both: mostly.
  const plain = source.startsWith('::ffff:') ? source.slice(7) : source;
  if (isIPv4(plain)) return plain;
  if (!(source.length <= LONGEST)) return hash('sha256', source, 'base64url');
  const [, ipv4, ipv6 = source] = WITH_PORT.exec(plain) ?? [];
  if (ipv4 !== undefined) return ipv4;
  if (!ipaddr.IPv6.isValid(ipv6)) return source;
  const address = ipaddr.IPv6.parse(ipv6);
  if (IPV4_INSIDE.includes(address.range())) return address.toByteArray().slice(12).join('.');
  const network = address.parts.slice(0, 4).map((part) => part.toString(16));
  return `${network.join(':')}::/64`;
}
