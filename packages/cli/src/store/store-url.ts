import { fileURLToPath } from 'node:url';
import { quote } from '@countersign/shared';
import { UsageError } from '../lib/errors.ts';

interface Node {
  readonly host: string;
  readonly port: number;
}

/** Several hosts. One of them has to answer. */
interface Hosts {
  readonly nodes: readonly Node[];
  readonly username: string;
  readonly password: string;
  readonly tls?: true;
}

/** Where keys are kept. */
export type Place =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'redis'; readonly url: string }
  | ({ readonly kind: 'cluster' } & Hosts)
  | ({
      readonly kind: 'sentinel';
      readonly master: string;
      readonly db: number;
      /** For the Sentinels. `username` and `password` are for the master that they name. */
      readonly sentinelUsername: string;
      readonly sentinelPassword: string;
    } & Hosts);

const EXPECTED =
  'expected file:PATH, redis://HOST:PORT, redis-cluster://HOST:PORT,HOST:PORT or redis-sentinel://HOST:PORT,HOST:PORT/MASTER-NAME, and rediss… for TLS';

/** Whether a store is reached over TLS. */
export function isTls(place: Place): boolean {
  if (place.kind === 'redis') return place.url.startsWith('rediss:');
  return place.kind !== 'file' && place.tls === true;
}

/**
 * Reads where keys are kept.
 *
 * @throws UsageError if the URL is malformed. The message holds only its scheme, because any other
 *   part may hold a password.
 */
export function parseStoreUrl(text: string): Place {
  const [, scheme, rest = ''] = /^([a-z-]+):(.*)$/s.exec(text) ?? [];
  try {
    if (scheme === 'file' && rest !== '') return { kind: 'file', path: pathOf(text, rest) };
    if (/^rediss?:\/\/./.test(text)) return { kind: 'redis', url: redisUrl(text) };
    const several = /^redis(s?)-(cluster|sentinel):\/\/(.+)$/s.exec(text);
    if (several?.[3] !== undefined) {
      const tls = several[1] === 's' ? ({ tls: true } as const) : {};
      const parse = several[2] === 'cluster' ? parseCluster : parseSentinel;
      return { ...parse(several[3]), ...tls };
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    // The message of the parser could hold a password.
  }
  const around = /^[\s"']|[\s"']$/.test(text) ? ', without quotes or spaces around it' : '';
  throw new UsageError(`Cannot open store ${unread(text)}: ${EXPECTED}${around}`);
}

/** The URL of a store with `***` in place of passwords. A file has none. */
export function withoutPassword(text: string): string {
  return text
    .replace(/^(?!file:)(.*?):(?!\/\/).*@/s, '$1:***@')
    .replace(/([?&][^=&]*password=)[^&]*/gi, '$1***');
}

/** The scheme of a malformed URL: the rest may hold a password. */
function unread(text: string): string {
  const [scheme = ''] = /^[a-z][a-z\d+.-]*:(?=\/)/i.exec(text) ?? [];
  return quote(`${scheme}…`);
}

function pathOf(text: string, rest: string): string {
  if (!rest.startsWith('//')) return rest;
  // In file://keys.json, keys.json is the host. The user means a file in the current folder.
  if (new URL(text).host !== '')
    throw new UsageError(
      `Cannot open store ${quote(text, 200)}: file:// is followed by a host; write ${quote(`file:${rest.slice(2)}`, 200)}`,
    );
  return fileURLToPath(text);
}

/** ioredis accepts any text as the number of a database, and fails later. */
function redisUrl(text: string): string {
  const { href, pathname, searchParams } = new URL(text);
  if (/^\/?\d*$/.test(pathname) && /^\d*$/.test(searchParams.get('db') ?? '')) return href;
  throw new UsageError(
    `Cannot open store ${unread(text)}: expected only the number of a database after redis://HOST:PORT/; write a / in a password as %2F`,
  );
}

function parseCluster(text: string): Place {
  return { kind: 'cluster', ...parseHosts(text, 6379) };
}

/** `HOST:PORT,HOST:PORT/MASTER-NAME[/DB][?sentinelUsername=…&sentinelPassword=…]`. */
function parseSentinel(text: string): Place {
  const [, hosts = '', master = '', db = '0', query = ''] =
    /^([^/?]+)\/([^/?]+)(?:\/(\d{1,4}))?(?:\?(.*))?$/s.exec(text) ?? [];
  const parameters = new URLSearchParams(query);
  const sentinelUsername = parameters.get('sentinelUsername') ?? '';
  const sentinelPassword = parameters.get('sentinelPassword') ?? '';
  for (const name of parameters.keys())
    if (!/^sentinel(?:Username|Password)$/.test(name)) throw new Error('Unknown parameter');
  return {
    kind: 'sentinel',
    ...parseHosts(hosts, 26379),
    master: decodeURIComponent(master),
    db: Number(db),
    sentinelUsername,
    sentinelPassword,
  };
}

/** @throws Error if it is no list of hosts */
function parseHosts(text: string, defaultPort: number): Hosts {
  const at = text.lastIndexOf('@');
  const { username, password } = new URL(`redis://${text.slice(0, at + 1)}host`);
  const nodes = text
    .slice(at + 1)
    .split(',')
    .map((node) => {
      const { hostname, port, pathname, search, hash } = new URL(`redis://${node}`);
      if (hostname === '' || `${pathname}${search}${hash}` !== '') throw new Error('Not a host');
      return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port || defaultPort) };
    });
  return {
    nodes,
    username: decodeURIComponent(username),
    password: decodeURIComponent(password),
  };
}
