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
  /** The nonce of the request. In a scheme without nonces, a hash of the string to sign. */
  readonly nonce: string;
  /** Lower-case names. An attacker may have changed all other headers. */
  readonly signedHeaders: readonly string[];
  /**
   * The host that the request was signed for, with its port if it has one. It is the host of
   * `publicOrigin` if the verifier has one. Build links with it.
   */
  readonly host: string;
  /**
   * Whether the signature covers the body. If not, an attacker on the network may have replaced the
   * body (`unsignedPayload`).
   */
  readonly bodySigned: boolean;
  /**
   * Whether the same request is accepted again until it expires. That is so for a presigned URL,
   * unless `presignedUrls` is `once`.
   */
  readonly reusable: boolean;
  /** The nonce store's epoch, for the response header `Countersign-Epoch`. */
  readonly epoch?: string | undefined;
  /** Unix seconds: when the access key, or the session, expires. */
  readonly expiresAt?: number | undefined;
  /** Present if the request was signed with session credentials. */
  readonly session?: Session | undefined;
}
