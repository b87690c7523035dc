import {
  checkHost,
  describeValue,
  type HeaderFields,
  type HeadersInput,
  isMethod,
  parseTarget,
  quote,
  readHeaders,
  type SignableRequest,
  SignatureError,
} from '@countersign/shared';

/** Where clients think that they call, as the server's owner configured it: never as a client says. */
export interface PublicAddress {
  /** The host to verify in place of what a proxy made of it. */
  readonly publicOrigin?: string | undefined;
  /** The path prefix that a proxy stripped. */
  readonly publicPrefix: string;
}

/** Which request targets the schemes of a server can sign. */
export interface TargetRules {
  /** `as-sent` if at least one scheme signs targets with any escapes. */
  readonly targets: 'strict' | 'as-sent';
}

/** What the server allows of the header fields of a request. */
export interface HeaderBounds {
  /** The most fields that are read. */
  readonly maxHeaderFields: number;
}

/** What the server received of a request before its body, and in which other forms the application reads it. */
export interface ReceivedHead {
  readonly method: string;
  readonly url: string;
  readonly headers: HeadersInput;
  readonly parsedHeaders?: Readonly<Record<string, unknown>> | undefined;
  readonly urlHost?: string | undefined;
}

/**
 * Reads a request as the client signed it.
 *
 * @throws SignatureError `ERR_TARGET_AMBIGUOUS`, `ERR_SIGNATURE_AMBIGUOUS`, `ERR_SIGNATURE_MALFORMED`
 */
export function readRequest(
  { method, url, headers, parsedHeaders, urlHost }: ReceivedHead,
  settings: PublicAddress & HeaderBounds & TargetRules,
): SignableRequest {
  if (typeof method !== 'string' || typeof url !== 'string')
    throw new TypeError(
      `Cannot verify request: expected { method, url, headers }, got method ${describeValue(method)} and url ${describeValue(url)}`,
    );
  if (!isMethod(method)) {
    throw new SignatureError(
      'ERR_SIGNATURE_MALFORMED',
      `Cannot verify method ${quote(method)}: it is not a token`,
    );
  }
  // The target is checked as it came: a prefix must not make origin form of what was not.
  const { path, query } = parseTarget(url, settings.targets);
  return {
    method,
    path: settings.publicPrefix + path,
    query,
    headers: readHost(readFields(headers, parsedHeaders, settings), urlHost, settings.publicOrigin),
  };
}

/**
 * Reads header fields, and refuses them if the application reads others.
 *
 * @param parsed the fields as the application reads them, by lower-case name
 * @throws SignatureError `ERR_SIGNATURE_AMBIGUOUS`, `ERR_SIGNATURE_MALFORMED`
 */
export function readFields(
  headers: HeadersInput,
  parsed: Readonly<Record<string, unknown>> | undefined,
  { maxHeaderFields }: HeaderBounds,
): HeaderFields {
  const fields = readHeaders(headers, maxHeaderFields);
  if (parsed === undefined) return fields;
  const { raw } = fields;
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index] as string;
    if (Object.hasOwn(parsed, name) || Object.hasOwn(parsed, name.toLowerCase())) continue;
    // The host of HTTP/2.
    if (name === 'host' && Object.hasOwn(parsed, ':authority')) continue;
    // An attacker who holds a signed request back could add unsigned fields, which hide signed ones
    // from the application.
    throw new SignatureError(
      'ERR_SIGNATURE_AMBIGUOUS',
      `Header ${quote(name)} was received, but the application cannot see it: send fewer fields, or raise server.maxHeadersCount`,
    );
  }
  return fields;
}

function readHost(
  headers: HeaderFields,
  urlHost: string | undefined,
  publicHost: string | undefined,
): HeaderFields {
  if (publicHost !== undefined) return headers.with([['host', publicHost]]);
  const host = headers.get('host');
  if (host !== undefined) checkHost(host);
  if (host !== undefined && urlHost !== undefined && !isSameHost(host, urlHost)) {
    throw new SignatureError(
      'ERR_TARGET_AMBIGUOUS',
      `The URL has the host ${quote(urlHost)}, the header Host says ${quote(host)}: if the framework makes the URL up, set "publicOrigin"`,
    );
  }
  return headers;
}

/** A parsed URL has its host in lower case and without the default port of its scheme, which `Host` may name. */
export function isSameHost(host: string, urlHost: string): boolean {
  const name = host.toLowerCase();
  return name === urlHost || name.replace(/:(?:80|443)$/, '') === urlHost;
}
