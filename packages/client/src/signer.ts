import {
  checkHost,
  countersign,
  EMPTY_SHA256,
  type HeaderFields,
  type HeadersInput,
  isAudience,
  isSha256Hex,
  parseTarget,
  quote,
  readHeaders,
  type Scheme,
  type Target,
  UNSIGNED_PAYLOAD,
} from '@countersign/shared';
import { prepareBody, type SignableBody, type StreamBody } from './body.ts';
import { type CredentialsSource, createCredentials, createMac } from './credentials.ts';
import { isEpoch } from './epochs.ts';
import { createNonces } from './nonce.ts';

/** What a signer is built from. */
export interface SignerOptions {
  /** An access key, or a function that gives one: asked again when what it gave expires. */
  readonly credentials: CredentialsSource;
  /** The name of the service that is called. */
  readonly audience: string;
  /** The wire form: our own if not given. */
  readonly scheme?: Scheme | undefined;
  /** Unix seconds; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /** Gives 22 characters of base64url, never the same twice; random ones if not given. */
  readonly nonce?: (() => string) | undefined;
  /** Names of further headers to sign where present. */
  readonly signedHeaders?: readonly string[] | undefined;
}

/** A request to sign. */
export interface UnsignedRequest {
  readonly method: string;
  /** Absolute: the host is signed too. */
  readonly url: string | URL;
  /** Each once. An `Authorization` among them gives way to the signature. */
  readonly headers?: HeadersInput | undefined;
  readonly body?: SignableBody;
  /** What the server told last in `Countersign-Epoch`. `createFetch()` and `signing()` keep track of it by themselves. */
  readonly epoch?: string | undefined;
}

/** A signed request: what must be sent, exactly. */
export interface SignedRequest {
  readonly method: string;
  readonly url: string;
  /** By lower-case name. */
  readonly headers: Record<string, string>;
  readonly body: Uint8Array | Blob | StreamBody | undefined;
}

/** A URL to sign. */
export interface UnsignedUrl {
  /** `GET` if not given. */
  readonly method?: string | undefined;
  readonly url: string | URL;
  /** Headers that whoever uses the URL must send as they are. */
  readonly headers?: HeadersInput | undefined;
  /** Seconds for which the URL works. */
  readonly expiresIn: number;
}

/** Signs requests with an access key. */
export interface Signer {
  /**
   * Signs a request, with a nonce of its own: sign every attempt anew.
   *
   * @throws SignatureError `ERR_TARGET_AMBIGUOUS` and others where no server would accept it
   * @throws TypeError where the URL is not absolute, a header is given twice, or the body is a one-shot stream
   */
  sign(request: UnsignedRequest): Promise<SignedRequest>;
  /**
   * Signs a URL, for somebody who has no access key.
   *
   * @returns the URL, which works for `expiresIn` seconds, with this method only
   * @throws RangeError where `expiresIn` is not a whole number of seconds from 1 to 604,800
   * @throws TypeError where the credentials have a session token: a URL cannot carry it
   */
  presign(request: UnsignedUrl): Promise<string>;
}

/**
 * Builds a signer.
 *
 * @param options see {@link SignerOptions}
 * @throws TypeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { createSigner } from '@countersign/client';
 *
 * const signer = createSigner({
 *   credentials: { accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC', secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA' },
 *   audience: 'video-api',
 * });
 * const { headers, body } = await signer.sign({
 *   method: 'POST',
 *   url: 'https://api.test/VideoParser/',
 *   body: { videoUrl: 'https://videos.test/cats.mp4' },
 * });
 * console.assert(headers['content-type'] === 'application/json' && 'authorization' in headers && body !== undefined);
 * ```
 * @see docs/wire-format.md
 */
export function createSigner(options: SignerOptions): Signer {
  const {
    credentials: source,
    audience,
    scheme,
    clock,
    nonce,
    signedHeaders,
  } = checkOptions(options);
  const credentialsNow = createCredentials(source, clock);
  const mac = createMac();

  async function signWith(
    { method, target, host, headers }: Unsigned,
    bodyHash: string,
    epoch?: string,
    expiresIn?: number,
  ) {
    const credentials = await credentialsNow();
    const { accessKeyId, sessionToken } = credentials;
    if (expiresIn !== undefined && sessionToken !== undefined) {
      throw new TypeError(
        'Cannot presign with session credentials: a URL cannot carry the session token',
      );
    }
    const request = { method, ...target, headers: headers.with([['host', host]]) };
    const intent = {
      accessKeyId,
      audience,
      signedAt: Math.floor(clock()),
      nonce: checkNonce(nonce()),
      epoch,
      expiresIn,
      sessionToken,
      bodyHash,
      signedHeaders,
    };
    const prepared = scheme.prepare(request, intent);
    const stringToSign = scheme.stringToSign(prepared.request, prepared.params);
    const signature = await mac(credentials, scheme, prepared.params, stringToSign);
    return scheme.write(prepared.request, prepared.params, signature);
  }

  return {
    async sign({ method, url, headers = {}, body, epoch }) {
      if (epoch !== undefined && !isEpoch(epoch)) {
        throw new TypeError(
          `Cannot sign with epoch ${quote(epoch)}: expected 1 to 64 characters of base64url`,
        );
      }
      const unsigned = readUnsigned(method, url, headers);
      const prepared = await prepareBody(body, declaredHash(unsigned.headers));
      const typed = withContentType(unsigned, prepared.contentType);
      const written = await signWith(typed, prepared.bodyHash, epoch);
      const { origin, pathAndQuery } = typed;
      const sent = toRecord(typed.headers.with(written.headers));
      return {
        method: unsigned.method,
        url: origin + pathAndQuery,
        headers: sent,
        body: prepared.body,
      };
    },

    async presign({ method = 'GET', url, headers = {}, expiresIn }) {
      if (!(Number.isInteger(expiresIn) && expiresIn >= 1 && expiresIn <= 604_800)) {
        throw new RangeError(
          `Cannot presign: "expiresIn" is the ${typeof expiresIn} ${quote(expiresIn)}: expected a whole number from 1 to 604800`,
        );
      }
      const unsigned = readUnsigned(method, url, headers);
      const { query } = await signWith(
        unsigned,
        declaredHash(unsigned.headers) ?? EMPTY_SHA256,
        undefined,
        expiresIn,
      );
      const target = `${unsigned.target.path}?${query}`;
      // It has become longer.
      parseTarget(target);
      return unsigned.origin + target;
    },
  };
}

/** A request as a transport will write it. */
interface Unsigned {
  readonly method: string;
  readonly origin: string;
  readonly pathAndQuery: string;
  readonly target: Target;
  readonly host: string;
  /** Each once; `host` only where the caller gave one. */
  readonly headers: HeaderFields;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}$/;
const LINE_BREAK = /[\0\r\n]/;
const NONCE = /^[A-Za-z0-9_-]{22}$/;

/** `new URL()` is what all transports go by. */
function readUnsigned(method: string, url: string | URL, headers: HeadersInput): Unsigned {
  if (typeof method !== 'string' || !METHOD.test(method))
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

/** What the body says of itself counts where the caller says nothing, as with `fetch`. */
function withContentType(unsigned: Unsigned, contentType: string | undefined): Unsigned {
  if (contentType === undefined || unsigned.headers.get('content-type') !== undefined)
    return unsigned;
  return { ...unsigned, headers: unsigned.headers.with([['content-type', contentType]]) };
}

/** By lower-case name, values without the spaces and tabs around them. */
function toRecord(headers: HeaderFields): Record<string, string> {
  const record: Record<string, string> = {};
  for (const name of headers.names) {
    const value = headers.get(name) as string;
    // A header name like any other, but assigned it would be the prototype.
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

/** @throws TypeError where it is not an absolute http or https URL, or has credentials in it */
export function parseUrl(url: string | URL): URL {
  const parsed = URL.canParse(String(url)) ? new URL(url) : undefined;
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

function declaredHash(fields: HeaderFields): string | undefined {
  const declared = fields.get('x-countersign-content-sha256');
  if (declared === undefined || declared === UNSIGNED_PAYLOAD || isSha256Hex(declared))
    return declared;
  throw new TypeError(
    `Cannot sign body hash ${quote(declared)}: expected 64 characters of lower-case hex, or ${UNSIGNED_PAYLOAD}`,
  );
}

function checkNonce(nonce: string): string {
  if (typeof nonce === 'string' && NONCE.test(nonce)) return nonce;
  throw new TypeError(
    `Cannot sign with nonce ${quote(nonce)}: expected 22 characters of base64url`,
  );
}

const defaults = { scheme: countersign(), clock: () => Date.now() / 1000 };

function checkOptions(options: SignerOptions) {
  if (typeof options !== 'object' || options === null)
    throw new TypeError('Cannot build signer: expected options, { credentials, audience }');
  const {
    credentials,
    audience,
    scheme = defaults.scheme,
    clock = defaults.clock,
    nonce = createNonces(),
    signedHeaders = [],
    ...unknown
  } = options;
  const expect = (name: string, value: unknown, holds: boolean, expected: string): void => {
    if (!holds)
      throw new TypeError(
        `Cannot build signer: option ${quote(name)} is ${quote(value)}: expected ${expected}`,
      );
  };
  // An option misspelt would not be missed: with "origin" for "origins", `createFetch()` would sign for everybody.
  for (const name of Object.keys(unknown))
    throw new TypeError(`Cannot build signer: option ${quote(name)} is unknown`);
  expect(
    'audience',
    audience,
    typeof audience === 'string' && isAudience(audience),
    'the name of a service: 1 to 128 of A-Z a-z 0-9 . _ : -',
  );
  expect('scheme', scheme, typeof scheme?.prepare === 'function', 'a scheme such as countersign()');
  expect('clock', clock, typeof clock === 'function', 'a function that returns Unix seconds');
  expect('nonce', nonce, typeof nonce === 'function', 'a function that returns a new nonce');
  expect(
    'signedHeaders',
    signedHeaders,
    Array.isArray(signedHeaders) && signedHeaders.every((name) => typeof name === 'string'),
    'names of headers',
  );
  return {
    credentials,
    audience,
    scheme,
    clock,
    nonce,
    signedHeaders: new Set(signedHeaders.map((name) => name.toLowerCase())),
  };
}
