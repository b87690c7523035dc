import { quote, SignatureError } from './errors.ts';
import type { HeaderFields } from './header-fields.ts';

/** The prefix of the fields that are ours: every one of them in a request must be signed. */
export const OWN_PREFIX = 'x-countersign-';

/** Each changes what the server makes of the body, or of the method. */
const SIGNED_WHEN_PRESENT = new Set(['host', 'content-encoding', 'content-type', 'x-http-method-override']);

const NOT_PLAIN = /[^\t -~]/;

/**
 * Whether a field must be signed if it is there: `host`, every one of ours, and those that change what a request means.
 *
 * @param name in any case
 */
export function mustBeSigned(name: string): boolean {
  const initial = name[0];
  // Most fields are not among them, and their first letter says so.
  if (initial !== 'x' && initial !== 'X' && initial !== 'c' && initial !== 'C' && initial !== 'h' && initial !== 'H') return false;
  const field = name.toLowerCase();
  return field.startsWith(OWN_PREFIX) || SIGNED_WHEN_PRESENT.has(field);
}

/**
 * Writes the canonical headers: a `name:value` line for each signed header, in the order of the list.
 *
 * @throws SignatureError `ERR_COMPONENT_NOT_COVERED` where a signed header is absent: it is never read as empty;
 * `ERR_SIGNATURE_AMBIGUOUS` where it occurs twice; `ERR_SIGNATURE_MALFORMED` where its value holds a control or an
 * 8-bit octet, with which a line could be forged
 */
export function canonicalHeaders(headers: HeaderFields, signedHeaders: readonly string[]): string {
  let lines = '';
  for (const name of signedHeaders) {
    const value = headers.get(name);
    if (value === undefined) {
      throw new SignatureError('ERR_COMPONENT_NOT_COVERED', `Signed header ${quote(name)} is not in the request`);
    }
    if (NOT_PLAIN.test(value)) {
      throw new SignatureError(
        'ERR_SIGNATURE_MALFORMED',
        `Cannot sign header ${quote(name)}: its value holds a control or a character beyond ASCII`,
      );
    }
    lines += `${name}:${value}\n`;
  }
  return lines;
}
