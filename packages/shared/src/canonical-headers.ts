import { quote, SignatureError } from './errors.ts';
import { type HeaderFields, isNamed } from './header-fields.ts';

/** The prefix of Countersign's own fields. A request must sign every one of them that it has. */
export const OWN_PREFIX = 'x-countersign-';

/**
 * Each of these fields changes how the server reads the body or the method, or which host answers.
 */
const SIGNED_WHEN_PRESENT = ['host', 'content-encoding', 'content-type', 'x-http-method-override'];

const HYPHEN = 0x2d;
const NOT_PLAIN = /[^\t -~]/;

/**
 * Whether a field must be signed if it is present: `host`, every field of Countersign, and those
 * that change a request's meaning.
 *
 * @param name in any case
 */
export function mustBeSigned(name: string): boolean {
  for (const field of SIGNED_WHEN_PRESENT) if (isNamed(name, field)) return true;
  // The second character alone already excludes most other fields.
  return name.charCodeAt(1) === HYPHEN && name.toLowerCase().startsWith(OWN_PREFIX);
}

/**
 * The canonical headers: a line `name:value` for each signed header, in the order of the list.
 *
 * @throws SignatureError `ERR_COMPONENT_NOT_COVERED` if a signed header is absent, because an
 * absent header must not count as an empty one; `ERR_SIGNATURE_AMBIGUOUS` if it occurs twice;
 * `ERR_SIGNATURE_MALFORMED` if its value holds a control or an 8-bit octet, because an attacker
 * could forge a line with it
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
