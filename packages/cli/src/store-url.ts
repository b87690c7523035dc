import { fileURLToPath } from 'node:url';
import { quote } from '@countersign/shared';
import { UsageError } from './errors.ts';

interface Node {
  readonly host: string;
  readonly port: number;
}

/** Where keys are kept. */
export type Place =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'redis'; readonly url: string }
  | {
      readonly kind: 'cluster';
      readonly nodes: readonly Node[];
      readonly username: string;
      readonly password: string;
    };

const EXPECTED =
  'expected file:PATH, redis://HOST:PORT, rediss://HOST:PORT or redis-cluster://HOST:PORT,HOST:PORT';

/**
 * Reads where keys are kept.
 *
 * @throws UsageError where it is no such place. Nothing of it is part of the message but its scheme: who knows where in it a password is
 */
export function parseStoreUrl(text: string): Place {
  const [, scheme, rest = ''] = /^([a-z-]+):(.*)$/s.exec(text) ?? [];
  try {
    if (scheme === 'file' && rest !== '') return { kind: 'file', path: pathOf(text, rest) };
    if (/^rediss?:\/\/./.test(text)) return { kind: 'redis', url: redisUrl(text) };
    if (/^redis-cluster:\/\/./.test(text)) return parseCluster(rest.slice(2));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    // What is wrong with a URL is not worth a password in a message.
  }
  const around = /^[\s"']|[\s"']$/.test(text) ? ', without quotes or spaces around it' : '';
  throw new UsageError(`Cannot open store ${unread(text)}: ${EXPECTED}${around}`);
}

/** A store's URL as it can be shown. A file has no password. */
export function withoutPassword(text: string): string {
  return text
    .replace(/^(?!file:)(.*?):(?!\/\/).*@/s, '$1:***@')
    .replace(/([?&][^=&]*password=)[^&]*/gi, '$1***');
}

/** What could not be read, as it can be shown. */
function unread(text: string): string {
  const [scheme = ''] = /^[a-z][a-z\d+.-]*:(?=\/)/i.exec(text) ?? [];
  return quote(`${scheme}…`);
}

function pathOf(text: string, rest: string): string {
  if (!rest.startsWith('//')) return rest;
  // With a host, what is meant for the folder where one works would lie in the root folder.
  if (new URL(text).host !== '')
    throw new UsageError(
      `Cannot open store ${quote(text, 200)}: what follows file:// is a host; write ${quote(`file:${rest.slice(2)}`, 200)}`,
    );
  return fileURLToPath(text);
}

/** ioredis takes whatever it is given for the number of a database, and falls over it later. */
function redisUrl(text: string): string {
  const { href, pathname, searchParams } = new URL(text);
  if (/^\/?\d*$/.test(pathname) && /^\d*$/.test(searchParams.get('db') ?? '')) return href;
  throw new UsageError(
    `Cannot open store ${unread(text)}: expected no more than the number of a database after redis://HOST:PORT/; in a password write / as %2F`,
  );
}

function parseCluster(text: string): Place {
  const at = text.lastIndexOf('@');
  const { username, password } = new URL(`redis://${text.slice(0, at + 1)}host`);
  const nodes = text
    .slice(at + 1)
    .split(',')
    .map((node) => {
      const { hostname, port } = new URL(`redis://${node}`);
      return { host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port || 6379) };
    });
  return {
    kind: 'cluster',
    nodes,
    username: decodeURIComponent(username),
    password: decodeURIComponent(password),
  };
}
