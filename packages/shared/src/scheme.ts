import type { SignableRequest } from './canonical-request.ts';

/** What every signature says of itself, whichever its wire form. */
export interface SignatureParams {
  readonly accessKeyId: string;
  /** The service that the request is for. */
  readonly audience: string;
  /** Unix seconds. */
  readonly signedAt: number;
  /** The signer's own limit, in seconds after `signedAt`; without one the server's window decides. */
  readonly expiresIn?: number | undefined;
  /** What makes this request unlike any other of the same key. */
  readonly nonce: string;
  /** The nonce store's epoch, echoed. */
  readonly epoch?: string | undefined;
  /** Of session credentials. */
  readonly sessionToken?: string | undefined;
  /** Lower-case names, sorted. */
  readonly signedHeaders: readonly string[];
  /** SHA-256 of the body in lower-case hex, or `UNSIGNED-PAYLOAD`. */
  readonly bodyHash: string;
}

/** What a signer decides before anything is signed; the scheme finds the rest in the request. */
export interface SigningIntent {
  readonly accessKeyId: string;
  readonly audience: string;
  /** Unix seconds. */
  readonly signedAt: number;
  readonly nonce: string;
  /** Seconds: asks for a URL that works until then, instead of headers. */
  readonly expiresIn?: number | undefined;
  readonly epoch?: string | undefined;
  readonly sessionToken?: string | undefined;
  readonly bodyHash: string;
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

/**
 * A wire form of signatures: a value without state that touches no clock, no key store and no socket. The pipelines of
 * client and server are written once, in terms of this interface, and know no scheme by name.
 */
export interface Scheme<P extends SignatureParams = SignatureParams> {
  readonly name: string;
  /** Adds to the request the fields that the signature will cover. */
  prepare(
    request: SignableRequest,
    intent: SigningIntent,
  ): { readonly request: SignableRequest; readonly params: P };
  /** The text whose hash is signed, for people to compare. */
  canonicalRequest(request: SignableRequest, params: P): string;
  /** Bytes, never text: the bodies `ff` and `fe` differ. */
  stringToSign(request: SignableRequest, params: P): Uint8Array;
  /** Names what {@link Scheme.signingKey} depends on beside the secret, so that it can be cached. */
  keyScope(params: P): string;
  signingKey(secret: Uint8Array, params: P): Uint8Array;
  /** Writes everything that a request gains by being signed. */
  write(request: SignableRequest, params: P, signature: Uint8Array): WireFields;
  /**
   * Reads a signature of this scheme.
   *
   * @returns `undefined` where the request carries none
   * @throws SignatureError where it carries one that is not well-formed, or two
   */
  read(request: SignableRequest): ParsedSignature<P> | undefined;
}
