import { quote, SignatureError } from './errors.ts';
import { remember } from './remember.ts';

/** Header fields as they are handed in: raw pairs, `req.rawHeaders`, a `Headers`, or a record. */
export type HeadersInput =
  | Iterable<readonly [name: string, value: string]>
  | readonly string[]
  | Readonly<Record<string, string | readonly string[] | undefined>>;

/** Header fields by lower-case name, with a note of what occurred twice. */
export interface HeaderFields {
  /** A value of each field, without spaces and tabs around it. */
  readonly values: ReadonlyMap<string, string>;
  /** The names that occurred more than once. */
  readonly repeated: ReadonlySet<string>;
}

/** The prefix of the fields that are ours: every one of them in a request must be signed. */
export const OWN_PREFIX = 'x-countersign-';

/** Signed whenever present: each changes what the server makes of the body or of the method. */
export const SIGNED_WHEN_PRESENT: readonly string[] = ['content-encoding', 'content-type', 'x-http-method-override'];

const MOST_FIELDS = 1_000;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VALUE = /^[\t -~]*$/;
const NONE: ReadonlySet<string> = new Set();

/**
 * Reads header fields in one pass. Duplicates are noted rather than joined: Node keeps the first `Authorization` of
 * two and joins other fields, and a signature must not depend on which.
 *
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED` where a name is not a token or there are more than 1,000 fields
 * @throws TypeError where a name or value is not a string
 */
export function readHeaders(input: HeadersInput): HeaderFields {
  const fields: MutableFields = { values: new Map(), repeated: NONE, count: 0 };
  if (!isIterable(input)) {
    for (const [name, value] of Object.entries(input)) {
      if (Array.isArray(value)) for (const item of value) add(fields, name, item);
      else if (value !== undefined) add(fields, name, value as string);
    }
  } else if (isFlat(input)) {
    for (let index = 0; index < input.length; index += 2) add(fields, input[index] as string, input[index + 1] as string);
  } else {
    for (const [name, value] of input) add(fields, name, value);
  }
  return fields;
}

interface MutableFields {
  readonly values: Map<string, string>;
  repeated: ReadonlySet<string>;
  count: number;
}

function add(fields: MutableFields, name: string, value: string): void {
  if (typeof name !== 'string' || typeof value !== 'string') {
    throw new TypeError(`Cannot read header ${quote(name)}: expected text, got ${typeof value}`);
  }
  if (++fields.count > MOST_FIELDS) {
    throw new SignatureError('ERR_SIGNATURE_MALFORMED', `Cannot read more than ${MOST_FIELDS} header fields`);
  }
  const key = fieldName(name);
  if (key === '') return;
  const { size } = fields.values;
  if (fields.values.set(key, trim(value)).size === size) fields.repeated = new Set(fields.repeated).add(key);
}

/** The lower-case name of a field, or nothing for what is not one. */
const fieldName = remember(256, (name) => {
  // HTTP/2 has the host in a pseudo-field; Node hands those out beside the real ones.
  if (name === ':authority') return 'host';
  if (TOKEN.test(name)) return name.toLowerCase();
  if (name[0] === ':') return '';
  throw new SignatureError('ERR_SIGNATURE_MALFORMED', `Cannot read header ${quote(name)}: its name is not a token`);
});

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
    const value = headers.values.get(name);
    if (value === undefined) {
      throw new SignatureError('ERR_COMPONENT_NOT_COVERED', `Signed header ${quote(name)} is not in the request`);
    }
    if (headers.repeated.has(name)) {
      throw new SignatureError('ERR_SIGNATURE_AMBIGUOUS', `Signed header ${quote(name)} occurs more than once`);
    }
    if (!VALUE.test(value)) {
      throw new SignatureError(
        'ERR_SIGNATURE_MALFORMED',
        `Cannot sign header ${quote(name)}: its value holds a control or a character beyond ASCII`,
      );
    }
    lines += `${name}:${value}\n`;
  }
  return lines;
}

/** Whether a field must be signed if it is there. */
export function mustBeSigned(name: string, further: ReadonlySet<string> | undefined): boolean {
  return (
    name === 'host' || name.startsWith(OWN_PREFIX) || SIGNED_WHEN_PRESENT.includes(name) || further?.has(name) === true
  );
}

/** Removes spaces and tabs at both ends, and nothing else: `String.trim` would eat U+00A0 too. */
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

function isIterable(input: HeadersInput): input is Iterable<readonly [string, string]> | readonly string[] {
  return typeof (input as Iterable<unknown>)[Symbol.iterator] === 'function';
}

function isFlat(input: Iterable<readonly [string, string]> | readonly string[]): input is readonly string[] {
  return Array.isArray(input) && typeof input[0] === 'string';
}
