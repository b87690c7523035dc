import { quote, SignatureError } from './errors.ts';

/** Header fields in any form: raw pairs, `req.rawHeaders`, a `Headers`, or a record. */
export type HeadersInput =
  | Iterable<readonly [name: string, value: string]>
  | readonly string[]
  | Readonly<Record<string, string | readonly string[] | undefined>>;

const MOST_FIELDS = 1_000;
const COLON = 0x3a;

/**
 * Header fields as received: a flat list of names and values, as in `req.rawHeaders`. Duplicates
 * are not joined: Node keeps the first of two `Authorization` and joins other fields, and a
 * signature must not depend on that.
 *
 * A request has about twelve fields, so searching the list is cheaper than building a map.
 */
export class HeaderFields {
  readonly raw: readonly string[];

  constructor(raw: readonly string[]) {
    this.raw = raw;
  }

  /** The names, in lower case. */
  get names(): string[] {
    const names: string[] = [];
    for (let index = 0; index < this.raw.length; index += 2)
      names.push((this.raw[index] as string).toLowerCase());
    return names;
  }

  /**
   * The value of a field, without the spaces and tabs around it.
   *
   * @param name in lower case
   * @throws SignatureError `ERR_SIGNATURE_AMBIGUOUS` if the field occurs twice: readers disagree on
   * which one counts
   */
  get(name: string): string | undefined {
    const { raw } = this;
    let found = -1;
    for (let index = 0; index < raw.length; index += 2) {
      if (!isNamed(raw[index] as string, name)) continue;
      if (found !== -1)
        throw new SignatureError(
          'ERR_SIGNATURE_AMBIGUOUS',
          `Header ${quote(name)} occurs more than once`,
        );
      found = index;
    }
    return found === -1 ? undefined : trim(raw[found + 1] as string);
  }

  /** A copy in which these fields have these values instead of their own. */
  with(fields: readonly (readonly [name: string, value: string])[]): HeaderFields {
    const raw = [...this.raw];
    for (const [name, value] of fields) {
      let index = 0;
      while (index < raw.length && !isNamed(raw[index] as string, name)) index += 2;
      if (index === raw.length) raw.push(name, value);
      else raw[index + 1] = value;
    }
    return new HeaderFields(raw);
  }
}

/**
 * Reads header fields.
 *
 * @param most how many fields are read at most: 1,000 if not given
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED` if there are more
 * @throws TypeError if a name or value is not text
 */
export function readHeaders(input: HeadersInput, most = MOST_FIELDS): HeaderFields {
  const raw = flatten(input);
  if (!(raw.length <= 2 * most)) {
    throw new SignatureError(
      'ERR_SIGNATURE_MALFORMED',
      `Cannot read ${raw.length / 2} header fields, ${most} are allowed`,
    );
  }
  let hasPseudoFields = false;
  for (let index = 0; index < raw.length; index += 2) {
    if (typeof raw[index] !== 'string' || typeof raw[index + 1] !== 'string') {
      throw new TypeError(
        `Cannot read header ${quote(raw[index])}: expected text, got ${typeof raw[index + 1]}`,
      );
    }
    hasPseudoFields ||= (raw[index] as string).charCodeAt(0) === COLON;
  }
  return new HeaderFields(hasPseudoFields ? withoutPseudoFields(raw) : raw);
}

function flatten(input: HeadersInput): readonly string[] {
  if (Array.isArray(input) && !Array.isArray(input[0])) return input as readonly string[];
  const raw: string[] = [];
  if (typeof (input as Iterable<unknown>)[Symbol.iterator] === 'function') {
    for (const [name, value] of input as Iterable<readonly [string, string]>) raw.push(name, value);
    return raw;
  }
  for (const [name, value] of Object.entries(input)) {
    if (Array.isArray(value)) for (const item of value) raw.push(name, item);
    else if (value !== undefined) raw.push(name, value as string);
  }
  return raw;
}

/**
 * HTTP/2 has the host in a pseudo-field (RFC 9113 section 8.3.1). Node lists it with the real
 * fields.
 */
function withoutPseudoFields(raw: readonly string[]): string[] {
  const fields: string[] = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] === ':authority' ? 'host' : (raw[index] as string);
    if (name.charCodeAt(0) !== COLON) fields.push(name, raw[index + 1] as string);
  }
  return fields;
}

/**
 * Whether a field has this name. The quick checks come first: most names differ in length, and most
 * equal names are in lower case.
 *
 * @param name in lower case
 */
export function isNamed(field: string, name: string): boolean {
  return field.length === name.length && (field === name || field.toLowerCase() === name);
}

/** Removes only spaces and tabs at both ends: `String.trim` would also remove U+00A0. */
function trim(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && isBlank(value.charCodeAt(start))) start++;
  while (end > start && isBlank(value.charCodeAt(end - 1))) end--;
  return start === 0 && end === value.length ? value : value.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
