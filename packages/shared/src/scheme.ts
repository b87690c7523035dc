import type { Algorithm, SignKey, VerifyKey } from './algorithms.ts';
import type { BodyJudge } from './body-judge.ts';
import type { SignableRequest } from './canonical-request.ts';
import type { HeaderFields } from './header-fields.ts';

/** The parts of a request that say what is asked of which server. */
export type TargetPart = 'method' | 'authority' | 'path' | 'query';

/** All of them. A server refuses a signature that does not cover each, whole. */
export const WHOLE_TARGET: readonly TargetPart[] = Object.freeze([
  'method',
  'authority',
  'path',
  'query',
]);

/**
 * What a signature says of the body: nothing, that each part of it carries a signature of its own
 * ({@link Scheme.openBody}), or its hash in lower-case hex.
 */
export type BodyClaim =
  | 'unsigned'
  | 'chunks'
  | { readonly sha256: string }
  | { readonly sha512: string };

/** What every signature says of itself, whichever its wire form. */
export interface SignatureParams {
  readonly accessKeyId: string;
  /**
   * The service that the request is for. Without one the scheme itself was told which service it reads for, and its
   * `read` refused all others.
   */
  readonly audience?: string | undefined;
  /** As the request says. It must be that of the key's record, which alone decides. */
  readonly algorithm?: Algorithm | undefined;
  /** Unix seconds. */
  readonly signedAt: number;
  /**
   * The signer's own limit, in seconds after `signedAt`. Of a signed URL it is the life; of headers it can only shorten the
   * server's window.
   */
  readonly expiresIn?: number | undefined;
  /** Whether the signature stands in the URL. This alone decides whether the request may be used again. */
  readonly inUrl: boolean;
  /** Which parts of the request target the signature covers, each whole: {@link WHOLE_TARGET}, or it is refused. */
  readonly covers: readonly TargetPart[];
  /** The headers that it covers: lower-case names, each once. */
  readonly signedHeaders: readonly string[];
  /**
   * What it says of the body. `undefined` if the body is covered without being declared: then its SHA-256 is computed
   * first, and given to {@link Scheme.stringToSign}.
   */
  readonly body?: BodyClaim | undefined;
  /** What makes this request unlike any other of the same key. Without one SHA-256 of the string to sign is claimed. */
  readonly nonce?: string | undefined;
  /** The nonce store's epoch, echoed. */
  readonly epoch?: string | undefined;
  /** Of session credentials. */
  readonly sessionToken?: string | undefined;
}

/** What a signer decides before anything is signed; the scheme finds the rest in the request. */
export interface SigningIntent {
  readonly accessKeyId: string;
  readonly audience: string;
  /** That of the key: HMAC-SHA256 if not given. */
  readonly algorithm?: Algorithm | undefined;
  /** Unix seconds. */
  readonly signedAt: number;
  readonly nonce: string;
  /** Seconds: asks for a URL that works until then, instead of headers. */
  readonly expiresIn?: number | undefined;
  readonly epoch?: string | undefined;
  readonly sessionToken?: string | undefined;
  readonly body: BodyClaim;
  /** Names of further headers to sign where present, lower-case. */
  readonly signedHeaders?: ReadonlySet<string> | undefined;
}

/** A signature as it was received. */
export interface ParsedSignature<P extends SignatureParams = SignatureParams> {
  readonly params: P;
  readonly signature: Uint8Array;
}

/** What a scheme adds to a request: header fields, or the end of its query. */
export interface WireFields {
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** The whole query, where the scheme writes to it. */
  readonly query?: string;
}

/** How a scheme derives from a secret the key that signs. */
export interface KeyDerivation<P extends SignatureParams = SignatureParams> {
  /** Names what the key depends on beside the secret, the scheme included: keys are cached and handed out under this name. */
  scope(params: P): string;
  key(secret: Uint8Array, params: P): Uint8Array;
}

/** A response as it goes over the wire, without its body, and the request that it answers. */
export interface SignableResponse<P extends SignatureParams = SignatureParams> {
  readonly status: number;
  readonly headers: HeaderFields;
  readonly request: SignableRequest;
  /** The signature of the request. */
  readonly signed: ParsedSignature<P>;
}

/** What a signature of a response must cover beside its body: the status, and the signed request. */
export type ResponsePart = 'status' | 'request';

/** What a signature of a response says of itself. */
export interface ResponseParams {
  /** As the response says. It must be that of the key. */
  readonly algorithm?: Algorithm | undefined;
  /** Unix seconds. */
  readonly signedAt: number;
  /** What it covers beside the body: both parts, or it is refused. */
  readonly covers: readonly ResponsePart[];
  /** The headers that it covers: lower-case names, each once. */
  readonly signedHeaders: readonly string[];
}

/** What a signer of responses decides before anything is signed. */
export interface ResponseIntent {
  /** That of the key: HMAC-SHA256 if not given. */
  readonly algorithm?: Algorithm | undefined;
  /** Unix seconds. */
  readonly signedAt: number;
  /** Lower-case names of further headers to sign if they are present, beside `content-type`. */
  readonly signedHeaders?: ReadonlySet<string> | undefined;
}

/** A signature of a response as it was received. */
export interface ParsedResponse {
  readonly params: ResponseParams;
  readonly signature: Uint8Array;
}

/**
 * How a scheme signs responses. A signature covers the request with its signature, so a response to
 * another request is refused, and it covers the body by its SHA-256.
 */
export interface ResponseForm<P extends SignatureParams = SignatureParams> {
  /** Adds to the header fields of the response those that the signature will cover. */
  prepare(
    response: SignableResponse<P>,
    intent: ResponseIntent,
  ): { readonly headers: HeaderFields; readonly params: ResponseParams };
  /** @param bodyHash SHA-256 of the body before any content coding, in lower-case hex */
  stringToSign(response: SignableResponse<P>, params: ResponseParams, bodyHash: string): Uint8Array;
  /** Writes every field that a response gains by being signed. */
  write(
    response: SignableResponse<P>,
    params: ResponseParams,
    signature: Uint8Array,
  ): WireFields['headers'];
  /**
   * @returns `undefined` if the response is not signed
   * @throws SignatureError if its signature is not well-formed, or if there are two
   */
  read(response: SignableResponse<P>): ParsedResponse | undefined;
}

/**
 * A wire form of signatures: a value without state that touches no clock, no key store and no socket. The pipelines of
 * client and server are written once, in terms of this interface, and know no scheme by name.
 *
 * The bytes that one scheme signs must never be those of another, since a key may be used with both: begin them with
 * something that no other scheme writes there.
 */
export interface Scheme<P extends SignatureParams = SignatureParams> {
  /** A token (RFC 9110 section 5.6.2), which `Identity.scheme` tells. */
  readonly name: string;
  /** The algorithms that it has a form for. A key of any other is refused. */
  readonly algorithms: readonly Algorithm[];
  /** For HMAC only. Without it the secret is the key. */
  readonly derive?: KeyDerivation<P> | undefined;
  /** Header fields and query parameters that let their bearer in: lower-case names, whose values `explain()` never shows. */
  readonly confidential?: readonly string[] | undefined;
  /**
   * Which request targets the scheme can sign. `strict` (if not given): those that every reader
   * reads in one way. `as-sent`: also those whose escapes are malformed or not UTF-8, because the
   * standard of the scheme says so. Targets that are routed in two ways are refused for all.
   */
  readonly targets?: 'strict' | 'as-sent' | undefined;
  /** What `WWW-Authenticate` says of a refusal: a challenge (RFC 9110 section 11.6.1). */
  challenge(audience: string, reason: string): string;
  /** Adds to the request the fields that the signature will cover. */
  prepare(
    request: SignableRequest,
    intent: SigningIntent,
  ): { readonly request: SignableRequest; readonly params: P };
  /**
   * What is signed, as text for people to compare.
   *
   * @param bodyHash SHA-256 of the body, if `params.body` is `undefined`
   */
  canonicalRequest(request: SignableRequest, params: P, bodyHash?: string): string;
  /** Bytes, never text: the bodies `ff` and `fe` differ. */
  stringToSign(request: SignableRequest, params: P, bodyHash?: string): Uint8Array;
  /** Writes everything that a request gains by being signed. */
  write(request: SignableRequest, params: P, signature: Uint8Array): WireFields;
  /**
   * Reads a signature of this scheme. A field of the scheme that the signature must cover, and does not, is refused here:
   * the server asks for those that every scheme must cover.
   *
   * @returns `undefined` where the request carries none
   * @throws SignatureError where it carries one that is not well-formed, or two
   */
  read(request: SignableRequest): ParsedSignature<P> | undefined;
  /**
   * Opens a body that is signed in chunks, after the signature of the request was verified with the
   * same key.
   *
   * @returns `undefined` if the scheme cannot verify this body
   */
  openBody?(
    request: SignableRequest,
    params: P,
    signature: Uint8Array,
    key: VerifyKey,
  ): BodyJudge | undefined;
  /** Writes a body in chunks, each with its signature, for {@link Scheme.openBody} to verify. */
  sealBody?(
    body: AsyncIterable<Uint8Array>,
    request: SignableRequest,
    params: P,
    signature: Uint8Array,
    key: SignKey,
  ): AsyncIterable<Uint8Array>;
  /** If not given, the scheme cannot sign responses. */
  readonly responses?: ResponseForm<P> | undefined;
}
