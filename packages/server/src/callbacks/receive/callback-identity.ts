import type { HeadersInput } from '@countersign/shared';
import type { IncomingBody } from '../../verify/check-body.ts';

/** A callback that was verified: all of it is what its sender signed. */
export interface CallbackIdentity {
  /**
   * The same for each attempt to deliver one callback, and signed. Where a format signs no id it is
   * a hash of what is signed: a repetition has the same one, whatever its headers say.
   */
  readonly id: string;
  /** Unix seconds: when this attempt was signed; `undefined` where the format does not tell. */
  readonly signedAt: number | undefined;
  /** The name of the form it is written in. */
  readonly scheme: string;
  /** Whose callbacks these are, as the verifier was told. Ids of two senders are two ids. */
  readonly sender: string;
  /** The body as it came over the wire. */
  readonly body: Uint8Array;
  /**
   * The body as text.
   *
   * @throws TypeError where it is not UTF-8
   */
  text(): string;
}

/** A callback as it was received. */
export interface CallbackRequest {
  /**
   * Raw pairs or `req.rawHeaders` where they can be had: in other forms duplicates are joined or
   * gone.
   */
  readonly headers: HeadersInput;
  /** As {@link ReceivedRequest.parsedHeaders}. */
  readonly parsedHeaders?: Readonly<Record<string, unknown>> | undefined;
  /**
   * The body as it came over the wire: bytes, text (taken as UTF-8), nothing, or a way to read it.
   * Never parsed and written anew.
   */
  readonly body?: Uint8Array | string | IncomingBody | undefined;
  /** The network address of the caller, if it is known: `onRefused` is told it. */
  readonly clientAddress?: string | undefined;
}
