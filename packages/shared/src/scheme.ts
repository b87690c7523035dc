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

/** How a scheme derives the signing key from a secret. */
export interface KeyDerivation<P extends SignatureParams = SignatureParams> {
  /**
   * Names everything that the key depends on besides the secret, including the scheme. Keys are
   * cached and handed out under this name.
   */
  scope(params: P): string;
  key(secret: Uint8Array, params: P): Uint8Array;
}

/**
 * A wire form of signatures. It has no state, and uses no clock, key store or socket. The client
 * and the server use only this interface, and know no scheme by name.
 *
 * Two schemes must never sign the same bytes, because a key may be used with both. So begin the
 * bytes with something that no other scheme writes there.
 */
export interface Scheme<P extends SignatureParams = SignatureParams> {
  /** A token (RFC 9110 section 5.6.2). `Identity.scheme` gives it to the application. */
  readonly name: string;
  /** The algorithms that the scheme supports. A key for another algorithm is refused. */
  readonly algorithms: readonly Algorithm[];
  /** For HMAC only. Without it, the secret is the key. */
  readonly derive?: KeyDerivation<P> | undefined;
  /**
   * Lower-case names of header fields and query parameters that let their bearer in. `explain()`
   * never shows their values.
   */
  readonly confidential?: readonly string[] | undefined;
  /**
   * Which request targets the scheme can sign. `strict` (if not given): those that all readers read
   * alike. `as-sent`: also those whose escapes are malformed or not UTF-8, because the standard of
   * the scheme says so. Targets that can be routed in two ways are always refused.
   */
  readonly targets?: 'strict' | 'as-sent' | undefined;
  /** The challenge in `WWW-Authenticate` for a refusal (RFC 9110 section 11.6.1). */
  challenge(audience: string, reason: string): string;
  /** Adds to the request the fields that the signature will cover. */
  prepare(
    request: SignableRequest,
    intent: SigningIntent,
  ): { readonly request: SignableRequest; readonly params: P };
  /**
   * The signed request as a text, for people to compare.
   *
   * @param bodyHash SHA-256 of the body, if `params.body` is `undefined`
   */
  canonicalRequest(request: SignableRequest, params: P, bodyHash?: string): string;
  /** The bytes to sign. Not text: the bytes `ff` and `fe` would become the same text. */
  stringToSign(request: SignableRequest, params: P, bodyHash?: string): Uint8Array;
  /** Returns everything that signing adds to a request. */
  write(request: SignableRequest, params: P, signature: Uint8Array): WireFields;
  /**
   * Reads a signature of this scheme. It refuses a signature that does not cover a field of the
   * scheme that it must cover. The server checks the fields that every scheme must cover.
   *
   * @returns `undefined` if the request has no signature of this scheme
   * @throws SignatureError if its signature is not well-formed, or if there are two
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
