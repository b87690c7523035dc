import {
  checkHost,
  type HeaderFields,
  type HeadersInput,
  isMethod,
  isSha256Hex,
  parseTarget,
  quote,
  readHeaders,
  type Target,
  toUrl,
  UNSIGNED_PAYLOAD,
} from '@countersign/shared';

/** A request as a transport will write it. */
export interface Unsigned {
  readonly method: string;
  readonly origin: string;
  readonly pathAndQuery: string;
  readonly target: Target;
  readonly host: string;
  /** Each name once. `host` is among them only if the caller gave one. */
  readonly headers: HeaderFields;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const LINE_BREAK = /[\0\r\n]/;

/** Reads a request as the transports will write it: all of them parse the URL with `new URL()`. */
export function readUnsigned(method: string, url: string | URL, headers: HeadersInput): Unsigned {
  if (typeof method !== 'string' || !isMethod(method))
    throw new TypeError(`Cannot sign method ${quote(method)}: expected one such as "POST"`);
  if (typeof headers !== 'object' || headers === null) {
    throw new TypeError(
      `Cannot sign headers ${quote(headers)}: expected a Headers, pairs or a record`,
    );
  }
  const { origin, host, pathname, search } = parseUrl(url);
  const pathAndQuery = pathname + search;
  const target = parseTarget(pathAndQuery);
  const fields = readHeaders(headers);
  const { names } = fields;
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined)
    throw new TypeError(
      `Cannot sign header ${quote(twice)}: it is given more than once, join its values`,
    );
  for (const name of names) {
    if (!TOKEN.test(name))
      throw new TypeError(`Cannot sign header ${quote(name)}: its name is not a token`);
    if (LINE_BREAK.test(fields.get(name) as string))
      throw new TypeError(`Cannot sign header ${quote(name)}: its value holds a line break`);
  }
  const signedHost = fields.get('host') ?? host;
  checkHost(signedHost);
  return {
    method: method.toUpperCase(),
    origin,
    pathAndQuery,
    target,
    host: signedHost,
    headers: fields,
  };
}

/** Adds the content type of the body if the caller gave none, as `fetch` does. */
export function withContentType(unsigned: Unsigned, contentType: string | undefined): Unsigned {
  if (contentType === undefined || unsigned.headers.get('content-type') !== undefined)
    return unsigned;
  return { ...unsigned, headers: unsigned.headers.with([['content-type', contentType]]) };
}

/** Writes headers by lower-case name. Values have no spaces or tabs around them. */
export function toRecord(headers: HeaderFields): Record<string, string> {
  const record: Record<string, string> = {};
  for (const name of headers.names) {
    const value = headers.get(name) as string;
    // This is a valid header name, but an assignment would set the prototype.
    if (name === '__proto__')
      Object.defineProperty(record, name, {
        value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    else record[name] = value;
  }
  return record;
}

/** @throws TypeError if it is not an absolute http or https URL, or has credentials in it */
export function parseUrl(url: string | URL): URL {
  const parsed = toUrl(url);
  if (parsed !== undefined && (parsed.username !== '' || parsed.password !== '')) {
    throw new TypeError(
      `Cannot sign a URL with credentials in it, for ${quote(parsed.host)}: an Authorization header cannot hold both`,
    );
  }
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) {
    throw new TypeError(`Cannot sign URL ${quote(url)}: expected an absolute http or https URL`);
  }
  return parsed;
}

export function declaredHash(fields: HeaderFields): string | undefined {
  const declared = fields.get('x-countersign-content-sha256');
  if (declared === undefined || declared === UNSIGNED_PAYLOAD || isSha256Hex(declared))
    return declared;
  throw new TypeError(
    `Cannot sign body hash ${quote(declared)}: expected 64 characters of lower-case hex, or ${UNSIGNED_PAYLOAD}`,
  );
}
