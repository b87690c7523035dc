import type { Algorithm } from './algorithms.ts';

/** The parts of a request that say which server is asked for what. */
export type TargetPart = 'method' | 'authority' | 'path' | 'query';

/** All parts. A server refuses a signature that does not cover each part completely. */
export const WHOLE_TARGET: readonly TargetPart[] = Object.freeze([
  'method',
  'authority',
  'path',
  'query',
]);

/**
 * What a signature says about the body: nothing, its hash in lower-case hex, or that each chunk of
 * it carries its own signature (`openBody` of the scheme).
 */
export type BodyClaim =
  | 'unsigned'
  | 'chunks'
  | { readonly sha256: string }
  | { readonly sha512: string };

/** The params of a signature that every wire form has. */
export interface SignatureParams {
  readonly accessKeyId: string;
  /**
   * The service that the request is for. If not given, the scheme was configured with the service,
   * and its `read` refused requests for all others.
   */
  readonly audience?: string | undefined;
  /**
   * The algorithm that the request names. It must be the algorithm in the key's record, which alone
   * decides.
   */
  readonly algorithm?: Algorithm | undefined;
  /** Unix seconds. */
  readonly signedAt: number;
  /**
   * The signer's own limit, in seconds after `signedAt`. A signed URL lives that long. For signed
   * headers it can only shorten the server's window.
   */
  readonly expiresIn?: number | undefined;
  /**
   * Whether the signature is in the URL. This alone decides whether the request may be used again.
   */
  readonly inUrl: boolean;
  /**
   * The parts that the signature covers completely. The server refuses it unless they are {@link
   * WHOLE_TARGET}.
   */
  readonly covers: readonly TargetPart[];
  /** The headers that the signature covers: lower-case names, each once. */
  readonly signedHeaders: readonly string[];
  /**
   * What the signature says about the body. `undefined` if it covers the body without declaring a
   * hash. Then the server first computes the body's SHA-256, and passes it to `stringToSign` of the
   * scheme.
   */
  readonly body?: BodyClaim | undefined;
  /**
   * Makes this request different from every other of the same key. If not given, the SHA-256 of the
   * string to sign is claimed as the nonce.
   */
  readonly nonce?: string | undefined;
  /** The nonce store's epoch, which the client echoes. */
  readonly epoch?: string | undefined;
  /** The token of session credentials. */
  readonly sessionToken?: string | undefined;
}

/** What a signer decides before anything is signed. The scheme finds the rest in the request. */
export interface SigningIntent {
  readonly accessKeyId: string;
  readonly audience: string;
  /** The algorithm of the key: HMAC-SHA256 if not given. */
  readonly algorithm?: Algorithm | undefined;
  /** Unix seconds. */
  readonly signedAt: number;
  readonly nonce: string;
  /** In seconds. If given, the signature goes into the URL, which works for that long. */
  readonly expiresIn?: number | undefined;
  readonly epoch?: string | undefined;
  readonly sessionToken?: string | undefined;
  readonly body: BodyClaim;
  /** Lower-case names of further headers to sign if they are present. */
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
  /** The whole query, if the scheme writes to it. */
  readonly query?: string;
}
