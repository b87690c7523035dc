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

/** How a scheme derives from a secret the key that signs. */
export interface KeyDerivation<P extends SignatureParams = SignatureParams> {
  /** Names what the key depends on beside the secret, the scheme included: keys are cached and handed out under this name. */
  scope(params: P): string;
  key(secret: Uint8Array, params: P): Uint8Array;
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
