import type { Session } from './session-provider.ts';

/** Who signed a request, and what the signature covers. */
export interface Identity {
  readonly accessKeyId: string;
  /** Whose key it is. */
  readonly subject: string;
  readonly scopes: readonly string[];
  /** The name of the scheme that the request was signed with. */
  readonly scheme: string;
  readonly audience: string;
  /** Unix seconds. */
  readonly signedAt: number;
  /** That of the request; of a scheme without nonces what stands for it, made of the string to sign. */
  readonly nonce: string;
  /** Lower-case names. Of all other headers nothing is known. */
  readonly signedHeaders: readonly string[];
  /**
   * The host that the request was signed for, with its port if it has one: that of `publicOrigin`,
   * if the verifier has one. Build links with it.
   */
  readonly host: string;
  /** Whether the signature covers the body. If not, anybody on the way may have replaced it (`unsignedPayload`). */
  readonly bodySigned: boolean;
  /** Whether the same request is accepted again until it expires, as a presigned URL is unless `presignedUrls` is `once`. */
  readonly reusable: boolean;
  /** The nonce store's epoch, to be told in `Countersign-Epoch`. */
  readonly epoch?: string | undefined;
  /** Unix seconds: when the access key, or the session, expires. */
  readonly expiresAt?: number | undefined;
  /** Where the request was signed with session credentials. */
  readonly session?: Session | undefined;
}
