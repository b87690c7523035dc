import { quote } from '@countersign/shared';

/**
 * Reads the option `origins`: whose requests are signed.
 *
 * @throws TypeError naming the option and its value
 */
export function readOrigins(origins: unknown): ReadonlySet<string> {
  if (!Array.isArray(origins) || origins.length === 0) {
    throw new TypeError(
      `Cannot sign for option "origins" ${quote(origins)}: expected a list such as ["https://api.example.com"]`,
    );
  }
  for (const origin of origins) {
    if (originOf(origin) !== origin) {
      throw new TypeError(
        `Cannot sign for option "origins" with ${quote(origin)} in it: expected an origin such as https://api.example.com`,
      );
    }
  }
  return new Set(origins);
}

/** The origin of a URL, as `URL` writes it; `undefined` where there is none. */
export function originOf(url: string | URL): string | undefined {
  const origin = URL.canParse(String(url)) ? new URL(url).origin : 'null';
  return origin === 'null' ? undefined : origin;
}
