import type { HeadersInput } from '@countersign/shared';
import type { IncomingBody } from '../../verify/check-body.ts';

/** A callback that was verified. Its sender has signed all of it. */
export interface CallbackIdentity {
  /**
   * Signed, and the same for each attempt to deliver one callback. If a format signs no id, this is
   * a hash of what is signed. So a repetition has the same id, even if its headers differ.
   */
  readonly id: string;
  /** Unix seconds: when this attempt was signed; `undefined` if the format signs no time. */
  readonly signedAt: number | undefined;
  /** The name of the scheme. */
  readonly scheme: string;
  /** The name of the sender, from the verifier's options. Two senders may use the same id. */
  readonly sender: string;
  /** The body as it came over the wire. */
  readonly body: Uint8Array;
  /**
   * The body as text.
   *
   * @throws TypeError if it is not UTF-8
   */
  text(): string;
}

/** A callback as it was received. */
export interface CallbackRequest {
  /**
   * Raw pairs or `req.rawHeaders`, if the runtime has them. In other forms, duplicate headers are
   * joined or lost.
   */
  readonly headers: HeadersInput;
  /** See {@link ReceivedRequest.parsedHeaders}. */
  readonly parsedHeaders?: Readonly<Record<string, unknown>> | undefined;
  /**
   * The body as it came over the wire: bytes, text (taken as UTF-8), nothing, or an object that
   * reads it. Do not pass a body that was parsed and serialized again: its bytes may differ.
   */
  readonly body?: Uint8Array | string | IncomingBody | undefined;
  /** The network address of the caller, if it is known. `onRefused` receives it. */
  readonly clientAddress?: string | undefined;
}
