import type { HeadersInput } from '@countersign/shared';
import type { SignableBody, StreamBody } from './body.ts';

/** A request to sign. */
export interface UnsignedRequest {
  readonly method: string;
  /** Absolute: the host is signed too. */
  readonly url: string | URL;
  /** Each name once. The signature replaces an `Authorization` among them. */
  readonly headers?: HeadersInput | undefined;
  readonly body?: SignableBody;
  /**
   * The `Countersign-Epoch` of the server's last response. `createFetch()` and `signing()` record
   * it by themselves.
   */
  readonly epoch?: string | undefined;
}

/** A signed request. It must be sent exactly as it is. */
export interface SignedRequest {
  readonly method: string;
  readonly url: string;
  /** By lower-case name. */
  readonly headers: Record<string, string>;
  readonly body: Uint8Array | Blob | StreamBody | undefined;
}

/** A URL to sign. */
export interface UnsignedUrl {
  /** `GET` if not given. */
  readonly method?: string | undefined;
  readonly url: string | URL;
  /** Headers that every request with the URL must have, with these values. */
  readonly headers?: HeadersInput | undefined;
  /** Seconds for which the URL works. */
  readonly expiresIn: number;
}
