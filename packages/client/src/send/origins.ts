import { describeValue, httpOriginOf, toUrl } from '@countersign/shared';

/**
 * Reads the option `origins`: requests to these origins are signed.
 *
 * @param what is built with it, for messages
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
    const origin = httpOriginOf(given);
    if (origin !== undefined && origin === given) continue;
    const example = origin ?? 'https://api.example.com';
    refuse(
      `origins.${index}`,
      describeValue(given),
      `scheme, host and port only, such as "${example}"`,
    );
  }
  return new Set(origins);
}

/** The origin of a URL, as `URL` writes it; `undefined` if it has none. */
export function originOf(url: string | URL): string | undefined {
  const origin = toUrl(url)?.origin;
  return origin === 'null' ? undefined : origin;
}
