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

/**
 * The address that clients call, as the server's owner configured it. A client cannot change it.
 */
export interface PublicAddress {
  /** The host that clients call, if a proxy changes `Host`. */
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
  /** How many fields are read at most. */
  readonly maxHeaderFields: number;
}

/** A request without its body, as the server received it, and as the application reads it. */
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
 * @throws SignatureError `ERR_TARGET_AMBIGUOUS`, `ERR_SIGNATURE_AMBIGUOUS`,
 * `ERR_SIGNATURE_MALFORMED`
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
  // The target is checked before the prefix is added. With the prefix every target would look like
  // origin form.
  const { path, query } = parseTarget(url, settings.targets);
  return {
    method,
    path: settings.publicPrefix + path,
    query,
    headers: readHost(readFields(headers, parsedHeaders, settings), urlHost, settings.publicOrigin),
  };
}

/**
 * Reads header fields. Refuses them if the application cannot see one of them.
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
    // In HTTP/2 the host is in `:authority`.
    if (name === 'host' && Object.hasOwn(parsed, ':authority')) continue;
    // An attacker who holds back a signed request could add so many unsigned fields that the
    // application does not see the signed ones.
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

/** A parsed URL has its host in lower case and without the default port, which `Host` may name. */
export function isSameHost(host: string, urlHost: string): boolean {
  const name = host.toLowerCase();
  return name === urlHost || name.replace(/:(?:80|443)$/, '') === urlHost;
}
