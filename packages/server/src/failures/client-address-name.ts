import { hash } from 'node:crypto';
import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Characters: more than an address with its zone and its port has. */
const LONGEST = 96;

/**
 * Some proxies write the port too. Without this pattern each connection would be an address of its
 * own.
 */
const WITH_PORT = /^(?:(\d+\.\d+\.\d+\.\d+)|\[([^\]]+)\]):\d{1,5}$/;

/** Kinds of IPv6 addresses that contain an IPv4 address. They are named by the IPv4 address. */
const IPV4_INSIDE: readonly string[] = ['ipv4Mapped', 'rfc6145', 'rfc6052'];

/**
 * Names a client address so that a host with many addresses has one name. IPv6 is named by its
 * first 64 bits, which one host has to itself. IPv4 within IPv6 is named as that IPv4 address. A
 * text that is no address is its own name.
 */
export function clientAddressName(clientAddress: string): string {
  // Servers that listen to both see IPv4 addresses in this form, so it is the usual one.
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
