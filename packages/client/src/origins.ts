import { describeValue } from '@countersign/shared';

/** Letters, digits, full stops; or an IPv6 address. A `*` is a host for `URL`, and for nobody else. */
const HOST = /^(?:[\w.-]+|\[[\da-f:.]+\])$/;

/**
 * Reads the option `origins`: whose requests are signed.
 *
 * @param what is built with it
 * @throws TypeError naming the entry and its value
 */
export function readOrigins(what: string, origins: unknown): ReadonlySet<string> {
  const refuse = (name: string, value: string, expected: string): never => {
    throw new TypeError(`Cannot build ${what}: option "${name}" is ${value}: expected ${expected}`);
  };
  if (!Array.isArray(origins) || origins.length === 0)
    return refuse(
      'origins',
      Array.isArray(origins) ? 'an empty list' : describeValue(origins),
      'a list such as ["https://api.example.com"]',
    );
  for (const [index, given] of origins.entries()) {
    const url = readHttpUrl(given);
    if (url !== undefined && url.origin === given) continue;
    const example = url?.origin ?? 'https://api.example.com';
    // A URL may hold a password.
    const shown = String(given).includes('@') ? 'a URL with a user name' : describeValue(given);
    refuse(`origins.${index}`, shown, `scheme, host and port only, such as "${example}"`);
  }
  return new Set(origins);
}

/** The origin of a URL, as `URL` writes it; `undefined` where there is none. */
export function originOf(url: string | URL): string | undefined {
  const origin = URL.canParse(String(url)) ? new URL(url).origin : 'null';
  return origin === 'null' ? undefined : origin;
}

function readHttpUrl(given: unknown): URL | undefined {
  if (typeof given !== 'string' || !URL.canParse(given)) return undefined;
  const url = new URL(given);
  return /^https?:$/.test(url.protocol) && HOST.test(url.hostname) ? url : undefined;
}
