/** Percent-encoding of RFC 3986 section 2. */

const NOT_UNRESERVED = /[!'()*]/g;

/** Encodes everything but the unreserved characters of RFC 3986 section 2.3. */
export function encodePercent(text: string): string {
  return encodeURIComponent(text).replace(
    NOT_UNRESERVED,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/**
 * Decodes escapes, strictly.
 *
 * @returns `undefined` if an escape is malformed or the escapes are not UTF-8. Decoders disagree on
 * such a text, and lossy ones read `%e4` and `%ff` alike
 */
export function decodePercent(text: string): string | undefined {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
