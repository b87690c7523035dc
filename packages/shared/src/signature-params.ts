import type { Algorithm } from './algorithms.ts';

/** The parts of a request that say what is requested from which server. */
export type TargetPart = 'method' | 'authority' | 'path' | 'query';

/** All parts. A server refuses a signature that does not cover each of them completely. */
export const WHOLE_TARGET: readonly TargetPart[] = Object.freeze([
  'method',
  'authority',
  'path',
  'query',
]);

/**
 * What a signature says of the body: nothing, that each part of it carries a signature of its own
 * (`openBody` of the scheme), or its hash in lower-case hex.
 */
export type BodyClaim =
  | 'unsigned'
  | 'chunks'
  | { readonly sha256: string }
  | { readonly sha512: string };

/** The parameters of a signature, in any scheme. */
export interface SignatureParams {
  readonly accessKeyId: string;
  /**
   * The service that the request is for. If it is `undefined`, the scheme itself knows the service,
   * and its `read` refused all others.
   */
  readonly audience?: string | undefined;
  /** The algorithm in the request. It must be the one in the key's record, which alone decides. */
  readonly algorithm?: Algorithm | undefined;
  /** Unix seconds. */
  readonly signedAt: number;
  /**
   * The signer's own limit, in seconds after `signedAt`. A signed URL lives for so long. In headers
   * the limit can only shorten the server's window.
   */
  readonly expiresIn?: number | undefined;
  /** Whether the signature is in the URL. Only then may the request be used again. */
  readonly inUrl: boolean;
  /** The parts that the signature covers completely. If not {@link WHOLE_TARGET}, it is refused. */
  readonly covers: readonly TargetPart[];
  /** The headers that it covers: lower-case names, each once. */
  readonly signedHeaders: readonly string[];
  /**
   * What it says about the body. `undefined` if the signature covers the body and the request does
   * not declare its hash. Then the server first hashes the body, and gives its SHA-256 to
   * `stringToSign`.
   */
  readonly body?: BodyClaim | undefined;
  /**
   * Unique for each request of a key. If `undefined`, a hash of the string to sign takes its place.
   */
  readonly nonce?: string | undefined;
  /** The nonce store's epoch that the request echoes. */
  readonly epoch?: string | undefined;
  /** The token of session credentials. */
  readonly sessionToken?: string | undefined;
}

/** What a signer decides before it signs. The scheme finds the rest in the request. */
export interface SigningIntent {
  readonly accessKeyId: string;
  readonly audience: string;
  /** The algorithm of the key: HMAC-SHA256 if not given. */
  readonly algorithm?: Algorithm | undefined;
  /** Unix seconds. */
  readonly signedAt: number;
  readonly nonce: string;
  /** Seconds: asks for a URL that works until then, instead of headers. */
  readonly expiresIn?: number | undefined;
  readonly epoch?: string | undefined;
  readonly sessionToken?: string | undefined;
  readonly body: BodyClaim;
  /** Lower-case names of more headers to sign if present. */
  readonly signedHeaders?: ReadonlySet<string> | undefined;
}

/** A signature as received. */
export interface ParsedSignature<P extends SignatureParams = SignatureParams> {
  readonly params: P;
  readonly signature: Uint8Array;
}

/** What a scheme adds to a request: header fields, or the end of its query. */
export interface WireFields {
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** The whole query, if the scheme writes to it. */
  readonly query?: string;
}
