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
  type SignableRequest,
  UNSIGNED_PAYLOAD,
} from '@countersign/shared';
import { prepareBody, type SignableBody } from './body.ts';
import { createCredentials, createMac, type CredentialsSource } from './credentials.ts';
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
  readonly body: Uint8Array | Blob | ReadableStream<Uint8Array> | undefined;
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
   * @throws TypeError where the URL is not absolute or the body is a one-shot stream
   */
  sign(request: UnsignedRequest): Promise<SignedRequest>;
  /**
   * Signs a URL, for somebody who has no access key.
   *
   * @returns the URL, which works for `expiresIn` seconds, with this method only
   * @throws RangeError where `expiresIn` is not a whole number of seconds from 1 to 604,800
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
  const { audience, scheme, clock, nonce, signedHeaders } = checkOptions(options);
  const credentialsNow = createCredentials(options.credentials, clock);
  const mac = createMac();

  async function signWith(request: SignableRequest, bodyHash: string, epoch?: string, expiresIn?: number) {
    const credentials = await credentialsNow();
    const { accessKeyId, sessionToken } = credentials;
    const intent = { accessKeyId, audience, signedAt: Math.floor(clock()), nonce: nonce(), epoch, expiresIn, sessionToken, bodyHash, signedHeaders };
    const prepared = scheme.prepare(request, intent);
    const stringToSign = scheme.stringToSign(prepared.request, prepared.params);
    const signature = await mac(credentials, scheme, prepared.params, stringToSign);
    return scheme.write(prepared.request, prepared.params, signature);
  }

  return {
    async sign({ method, url, headers = {}, body, epoch }) {
      const { request, origin, target, sent } = readUnsigned(method, url, headers);
      const prepared = await prepareBody(body, declaredHash(request.headers));
      if (prepared.contentType !== undefined && !request.headers.values.has('content-type')) {
        (request.headers.values as Map<string, string>).set('content-type', prepared.contentType);
        sent['content-type'] = prepared.contentType;
      }
      const written = await signWith(request, prepared.bodyHash, epoch);
      for (const [name, value] of written.headers) sent[name] = value;
      return { method: request.method, url: origin + target, headers: sent, body: prepared.body };
    },

    async presign({ method = 'GET', url, headers = {}, expiresIn }) {
      if (!(Number.isInteger(expiresIn) && expiresIn >= 1 && expiresIn <= 604_800)) {
        throw new RangeError(`Cannot presign for ${quote(expiresIn)} s: expected a whole number from 1 to 604800`);
      }
      const { request, origin } = readUnsigned(method, url, headers);
      const bodyHash = declaredHash(request.headers) ?? EMPTY_SHA256;
      const { query } = await signWith(request, bodyHash, undefined, expiresIn);
      return `${origin}${request.path.replace(/\?$/, '')}?${query}`;
    },
  };
}

/** Reads a request as a transport will write it: `new URL()` is what they all go by. */
function readUnsigned(method: string, url: string | URL, headers: HeadersInput) {
  if (typeof method !== 'string' || method === '') throw new TypeError(`Cannot sign method ${quote(method)}: expected one such as "POST"`);
  const parsed = parseUrl(url);
  const target = parsed.pathname + parsed.search;
  const { values, repeated } = readHeaders(headers);
  const sent: Record<string, string> = Object.fromEntries(values);
  for (const name of repeated) {
    throw new TypeError(`Cannot sign header ${quote(name)}: it is given more than once, join its values`);
  }
  const host = values.get('host') ?? parsed.host;
  checkHost(host);
  const request = { method: method.toUpperCase(), ...parseTarget(target), headers: { values: new Map(values).set('host', host), repeated } };
  return { request, origin: parsed.origin, target, sent };
}

function parseUrl(url: string | URL): URL {
  const parsed = URL.canParse(String(url)) ? new URL(url) : undefined;
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol)) {
    throw new TypeError(`Cannot sign URL ${quote(url)}: expected an absolute http or https URL`);
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw new TypeError(`Cannot sign a URL with credentials in it, for ${quote(parsed.host)}: an Authorization header cannot hold both`);
  }
  return parsed;
}

function declaredHash({ values }: HeaderFields): string | undefined {
  const declared = values.get('x-countersign-content-sha256');
  if (declared === undefined || declared === UNSIGNED_PAYLOAD || isSha256Hex(declared)) return declared;
  throw new TypeError(`Cannot sign body hash ${quote(declared)}: expected 64 characters of lower-case hex, or ${UNSIGNED_PAYLOAD}`);
}

const defaults = { scheme: countersign(), clock: () => Date.now() / 1000 };

function checkOptions(options: SignerOptions) {
  if (typeof options !== 'object' || options === null) throw new TypeError('Cannot build signer: expected options, { credentials, audience }');
  const { audience, scheme = defaults.scheme, clock = defaults.clock, nonce = createNonces(), signedHeaders = [] } = options;
  const expect = (name: string, value: unknown, holds: boolean, expected: string): void => {
    if (!holds) throw new TypeError(`Cannot build signer: option ${quote(name)} is ${quote(value)}: expected ${expected}`);
  };
  expect('audience', audience, typeof audience === 'string' && isAudience(audience), 'the name of a service: 1 to 128 of A-Z a-z 0-9 . _ : -');
  expect('scheme', scheme, typeof scheme?.prepare === 'function', 'a scheme such as countersign()');
  expect('clock', clock, typeof clock === 'function', 'a function that returns Unix seconds');
  expect('nonce', nonce, typeof nonce === 'function', 'a function that returns a new nonce');
  expect('signedHeaders', signedHeaders, Array.isArray(signedHeaders) && signedHeaders.every((name) => typeof name === 'string'), 'names of headers');
  return { audience, scheme, clock, nonce, signedHeaders: new Set(signedHeaders.map((name) => name.toLowerCase())) };
}
