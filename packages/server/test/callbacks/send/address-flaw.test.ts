import { checkCallbackUrl } from '@countersign/server/callbacks';
import { describe, expect, it } from 'vitest';

type PrivateAddresses = 'refuse' | 'allow-private-addresses';

/** Why an address is refused; `accepted` if it is not. */
function verdict(address: string, privateAddresses: PrivateAddresses = 'refuse'): Promise<string> {
  const options = { privateAddresses, resolve: async () => [address] };
  return checkCallbackUrl('https://receiver.test/', options).then(
    () => 'accepted',
    ({ code, message }) => {
      expect(code).toBe('ERR_CALLBACK_ADDRESS_REFUSED');
      return message.replace(`Cannot call host "receiver.test": "${address}" is refused, `, '');
    },
  );
}

const allowPrivate = (address: string) => verdict(address, 'allow-private-addresses');
const notPublic = (range: string): string => `it is not public: ${range}`;
const CLOUD = 'it hands out credentials of a cloud';
const CARRIES = 'it carries an IPv4 address that hands out credentials of a cloud';
const NOT_GLOBAL = 'it is not global unicast';

/** The first and the last address of each range, and the addresses just outside of it. */
const EDGES: readonly [range: string, first: string, last: string, outside: string[]][] = [
  ['unspecified', '0.0.0.0', '0.255.255.255', ['1.0.0.0']],
  ['private', '10.0.0.0', '10.255.255.255', ['9.255.255.255', '11.0.0.0']],
  ['carrierGradeNat', '100.64.0.0', '100.127.255.255', ['100.63.255.255', '100.128.0.0']],
  ['loopback', '127.0.0.0', '127.255.255.255', ['126.255.255.255', '128.0.0.0']],
  ['linkLocal', '169.254.0.0', '169.254.255.255', ['169.253.255.255', '169.255.0.0']],
  ['private', '172.16.0.0', '172.31.255.255', ['172.15.255.255', '172.32.0.0']],
  ['reserved', '192.0.0.0', '192.0.0.255', ['191.255.255.255', '192.0.1.0']],
  ['reserved', '192.0.2.0', '192.0.2.255', ['192.0.1.255', '192.0.3.0']],
  ['reserved', '192.88.99.0', '192.88.99.255', ['192.88.98.255', '192.88.100.0']],
  ['private', '192.168.0.0', '192.168.255.255', ['192.167.255.255', '192.169.0.0']],
  ['reserved', '198.18.0.0', '198.19.255.255', ['198.17.255.255', '198.20.0.0']],
  ['reserved', '198.51.100.0', '198.51.100.255', ['198.51.99.255', '198.51.101.0']],
  ['reserved', '203.0.113.0', '203.0.113.255', ['203.0.112.255', '203.0.114.0']],
  ['multicast', '224.0.0.0', '239.255.255.255', ['223.255.255.255']],
  ['reserved', '240.0.0.0', '255.255.255.254', []],
  ['6to4', '2002::', '2002:ffff:ffff::', ['2001:ffff::', '2003::']],
  ['teredo', '2001::', '2001:0:ffff::', ['2000:ffff::']],
  ['reserved', '2001:db8::', '2001:db8:ffff::', ['2001:db7::', '2001:db9::']],
  ['reserved', '3fff::', '3fff:fff::', ['3ffe:ffff::', '3fff:1000::']],
];

describe('checkCallbackUrl()', () => {
  it.each(EDGES)('refuses %s from %s to %s, and not the addresses next to it', async (...edges) => {
    const [range, first, last, outside] = edges;
    expect([await verdict(first), await verdict(last)]).toEqual(Array(2).fill(notPublic(range)));
    for (const address of outside) expect(await verdict(address), address).toBe('accepted');
  });

  it.each([
    ['::', notPublic('unspecified')],
    ['::1', notPublic('loopback')],
    ['::2', NOT_GLOBAL],
    ['1fff:ffff::', NOT_GLOBAL],
    ['4000::', NOT_GLOBAL],
    ['100::', notPublic('discard')],
    ['fc00::', notPublic('uniqueLocal')],
    ['fdff:ffff::', notPublic('uniqueLocal')],
    ['fe00::', NOT_GLOBAL],
    ['fe80::', notPublic('linkLocal')],
    ['febf::', notPublic('linkLocal')],
    ['fec0::', notPublic('deprecatedSiteLocal')],
    ['ff00::', notPublic('multicast')],
    ['ffff::', notPublic('multicast')],
    ['255.255.255.255', notPublic('broadcast')],
    ['fe80::1%lo', 'it is not an IP address'],
    ['2606:4700::1%eth0', 'it is not an IP address'],
    ['localhost', 'it is not an IP address'],
    ['127.1', 'it is not an IP address'],
    ['0177.0.0.1', 'it is not an IP address'],
    ['', 'it is not an IP address'],
  ])('refuses %s', async (address, why) => {
    expect(await verdict(address)).toBe(why);
  });

  // A router or translator that knows the form would call the address inside. So they are refused,
  // even though 8.8.8.8 is public.
  it.each([
    ['IPv4-mapped', '::ffff:8.8.8.8', notPublic('ipv4Mapped')],
    ['IPv4-mapped, in hex', '::ffff:808:808', notPublic('ipv4Mapped')],
    ['IPv4-compatible', '::8.8.8.8', notPublic('ipv4Mapped')],
    ['IPv4-translated', '::ffff:0:8.8.8.8', notPublic('rfc6145')],
    ['nearly IPv4-translated', '::ffff:0:0:8.8.8.8', NOT_GLOBAL],
    ['NAT64', '64:ff9b::8.8.8.8', notPublic('rfc6052')],
    ['nearly NAT64', '64:ff9b::1:8.8.8.8', NOT_GLOBAL],
    ['NAT64 of local use', '64:ff9b:1::8.8.8.8', notPublic('rfc6052')],
    ['NAT64 of local use, last', '64:ff9b:1:ffff:ffff:ffff:808:808', notPublic('rfc6052')],
    ['nearly NAT64 of local use', '64:ff9b:2::8.8.8.8', NOT_GLOBAL],
    ['6to4', '2002:808:808::1', notPublic('6to4')],
    ['Teredo', '2001:0:808:808::1', notPublic('teredo')],
    ['ISATAP', '2606:4700::5efe:8.8.8.8', notPublic('isatap')],
    ['ISATAP of a universal address', '2606:4700::200:5efe:8.8.8.8', notPublic('isatap')],
    ['ISATAP in another network', '2a00:1450:4001:80b:200:5efe:808:808', notPublic('isatap')],
  ])('refuses IPv4 inside IPv6: %s', async (_, address, why) => {
    expect(await verdict(address)).toBe(why);
    expect(await allowPrivate(address)).toBe(why);
  });

  it.each([
    ['100:5efe:8.8.8.8'],
    ['300:5efe:8.8.8.8'],
    ['8000:5efe:8.8.8.8'],
    ['5eff:8.8.8.8'],
    ['5efe:0:8.8.8.8'],
    ['1:a9fe'],
    ['a9fe:0:1'],
  ])('accepts an interface that only looks like IPv4 inside: %s', async (identifier) => {
    expect(await verdict(`2606:4700::${identifier}`)).toBe('accepted');
  });

  it.each([
    ['168.63.129.16', ['168.63.129.15', '168.63.129.17']],
    ['100.100.100.200', ['100.100.100.199', '100.100.100.201']],
    ['192.80.8.124', ['192.80.8.123', '192.80.8.125']],
    ['fd00:ec2::254', ['fd00:ec1::254', 'fd00:ec3::254']],
    ['fd00:ec2:ffff::', []],
    ['fd20:ce::254', ['fd20:cd::254', 'fd20:cf::254']],
    ['fd20:ce:ffff::', []],
    ['fd00:42::42', ['fd00:41::42', 'fd00:43::42']],
    ['fd00:42:ffff::', []],
  ])(
    'refuses %s, which hands out credentials of a cloud, even if private addresses are allowed',
    async (address, beside: string[]) => {
      expect(await verdict(address)).toBe(CLOUD);
      expect(await allowPrivate(address)).toBe(CLOUD);
      for (const other of beside) expect(await allowPrivate(other), other).toBe('accepted');
    },
  );

  it.each([
    '169.254.169.254',
    '169.254.0.0',
    '169.254.255.255',
    '168.63.129.16',
    '100.100.100.200',
    '192.80.8.124',
  ])(
    'refuses %s behind any prefix, because a network may translate it to IPv4',
    async (address) => {
      for (const prefix of ['2606:4700::', 'fd00::', 'fd12:3456::5efe:', 'fd12::ffff:']) {
        expect(await verdict(prefix + address)).toBe(CARRIES);
        expect(await allowPrivate(prefix + address)).toBe(CARRIES);
      }
    },
  );

  it('allows private addresses if the option says so, and nothing else', async () => {
    for (const address of ['10.0.0.1', '127.0.0.1', '100.64.0.1', '192.168.0.1', '::1', 'fd12::1'])
      expect(await allowPrivate(address), address).toBe('accepted');
    for (const [address, range] of [
      ['0.0.0.0', 'unspecified'],
      ['169.254.1.1', 'linkLocal'],
      ['224.0.0.1', 'multicast'],
      ['255.255.255.255', 'broadcast'],
      ['192.0.2.1', 'reserved'],
      ['::', 'unspecified'],
      ['fe80::1', 'linkLocal'],
      ['fec0::1', 'deprecatedSiteLocal'],
      ['::ffff:127.0.0.1', 'ipv4Mapped'],
      ['64:ff9b::10.0.0.1', 'rfc6052'],
    ] as const)
      expect(await allowPrivate(address), address).toBe(notPublic(range));
  });
});
