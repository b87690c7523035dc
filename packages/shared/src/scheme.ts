import type { Algorithm, SignKey, VerifyKey } from './algorithms.ts';
import type { BodyJudge } from './body-judge.ts';
import type { SignableRequest } from './canonical-request.ts';
import type { ResponseForm } from './response-form.ts';
import type {
  ParsedSignature,
  SignatureParams,
  SigningIntent,
  WireFields,
} from './signature-params.ts';

/** How a scheme derives a signing key from a secret. */
export interface KeyDerivation<P extends SignatureParams = SignatureParams> {
  /**
   * Names everything that the key depends on beside the secret, including the scheme. Keys are
   * cached and handed out under this name.
   */
  scope(params: P): string;
  key(secret: Uint8Array, params: P): Uint8Array;
}

/**
 * A wire form of signatures. It is a value without state, and touches no clock, no key store and no
 * socket. The pipelines of client and server are written once, for this interface, and know no
 * scheme by name.
 *
 * Two schemes must never sign the same bytes, because one key may be used with both. So these bytes
 * must begin with something that no other scheme writes there.
 */
export interface Scheme<P extends SignatureParams = SignatureParams> {
  /** A token (RFC 9110 section 5.6.2). It appears as `Identity.scheme`. */
  readonly name: string;
  /** The algorithms that the scheme can write. A key of any other algorithm is refused. */
  readonly algorithms: readonly Algorithm[];
  /** For HMAC only. If not given, the secret itself is the key. */
  readonly derive?: KeyDerivation<P> | undefined;
  /**
   * Header fields and query parameters that give access to their bearer: lower-case names.
   * `explain()` never shows their values.
   */
  readonly confidential?: readonly string[] | undefined;
  /**
   * Which request targets the scheme can sign. `strict` (if not given): those that every reader
   * reads in one way. `as-sent`: also those whose escapes are malformed or not UTF-8, because the
   * standard of the scheme says so. Targets that are routed in two ways are refused for all.
   */
  readonly targets?: 'strict' | 'as-sent' | undefined;
  /** The value of `WWW-Authenticate` for a refusal: a challenge (RFC 9110 section 11.6.1). */
  challenge(audience: string, reason: string): string;
  /** Extends the request by the fields that the signature will cover. */
  prepare(
    request: SignableRequest,
    intent: SigningIntent,
  ): { readonly request: SignableRequest; readonly params: P };
  /**
   * The signed content, as text for people to compare.
   *
   * @param bodyHash SHA-256 of the body, if `params.body` is `undefined`
   */
  canonicalRequest(request: SignableRequest, params: P, bodyHash?: string): string;
  /**
   * The bytes that are signed. They are not text, because as text the bodies `ff` and `fe` would be
   * equal.
   */
  stringToSign(request: SignableRequest, params: P, bodyHash?: string): Uint8Array;
  /** Writes the header fields or the query that carry the signature. */
  write(request: SignableRequest, params: P, signature: Uint8Array): WireFields;
  /**
   * Reads a signature of this scheme. It refuses a signature that does not cover a field of the
   * scheme that it must cover. The server itself checks the fields that every scheme must cover.
   *
   * @returns `undefined` if the request carries none
   * @throws SignatureError if it carries one that is not well-formed, or two
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
