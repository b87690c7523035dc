import { quote, SignatureError } from './errors.ts';
import { type HeaderFields, isNamed } from './header-fields.ts';

/** The prefix of our own fields. Each of them that is in a request must be signed. */
export const OWN_PREFIX = 'x-countersign-';

/** Each changes how the server reads the body or the method. */
const SIGNED_WHEN_PRESENT = ['host', 'content-encoding', 'content-type', 'x-http-method-override'];

const HYPHEN = 0x2d;
const NOT_PLAIN = /[^\t -~]/;

/**
 * Whether a field must be signed if it is present: `host`, all our own, and those that change what
 * a request means.
 *
 * @param name in any case
 */
export function mustBeSigned(name: string): boolean {
  for (const field of SIGNED_WHEN_PRESENT) if (isNamed(name, field)) return true;
  // Most other fields differ from ours in the second letter.
  return name.charCodeAt(1) === HYPHEN && name.toLowerCase().startsWith(OWN_PREFIX);
}

/**
 * The canonical headers: a line `name:value` for each signed header, in the order of the list.
 *
 * @throws SignatureError `ERR_COMPONENT_NOT_COVERED` if a signed header is absent: it is never read
 * as empty; `ERR_SIGNATURE_AMBIGUOUS` if it occurs twice; `ERR_SIGNATURE_MALFORMED` if its value
 * holds a control character or an 8-bit octet, with which an attacker could forge a line
 */
export function canonicalHeaders(headers: HeaderFields, signedHeaders: readonly string[]): string {
  let lines = '';
  for (const name of signedHeaders) {
    const value = headers.get(name);
    if (value === undefined) {
      throw new SignatureError(
        'ERR_COMPONENT_NOT_COVERED',
        `Signed header ${quote(name)} is not in the request`,
      );
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
