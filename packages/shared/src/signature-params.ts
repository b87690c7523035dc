import type { Algorithm } from './algorithms.ts';

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
 * (`openBody` of the scheme), or its hash in lower-case hex.
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
   * first, and given to `stringToSign` of the scheme.
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
