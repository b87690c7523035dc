import type { HeaderFields } from '@countersign/shared';

/** What a callback says of itself, beside its body. */
export interface CallbackParams {
  /** The same for each attempt to deliver one callback. */
  readonly id: string;
  /** Unix seconds: when this attempt was signed. */
  readonly signedAt: number;
}

/** The headers of a callback as they were received. What a format does not have is `undefined`. */
export interface ReceivedCallback {
  readonly id: string | undefined;
  readonly signedAt: number | undefined;
  /** As they stand on the wire; one suffices that is good. */
  readonly signatures: readonly string[];
}

/** A secret or a public key, ready to be used. */
export interface CallbackKey {
  /** Signs, where the key can: a public one cannot. */
  readonly sign?: ((content: Uint8Array) => string) | undefined;
  /** Whether one of the signatures is this key's, compared in constant time. */
  verify(content: Uint8Array, signatures: readonly string[]): boolean;
}

/**
 * A wire form of signed callbacks (webhooks): which headers there are, and which bytes are signed.
 * A value without state that touches no clock, no store and no socket.
 */
export interface CallbackScheme {
  readonly name: string;
  /**
   * `unsigned` where nothing that is signed tells when. Then neither a window nor a replay can be
   * checked: a copy and an honest redelivery are the same bytes, and `once()` alone tells that it
   * was there before.
   */
  readonly time?: 'signed' | 'unsigned' | undefined;
  /**
   * Reads a key as it is written down.
   *
   * @throws TypeError where it is none; the key is never part of the message
   */
  parseKey(text: string): CallbackKey;
  /**
   * Reads the headers of a callback.
   *
   * @returns `undefined` where it carries no signature of this form
   * @throws SignatureError `ERR_SIGNATURE_MALFORMED`, `ERR_SIGNATURE_AMBIGUOUS`
   */
  read(headers: HeaderFields): ReceivedCallback | undefined;
  /** What is signed. Bytes, never text: the bodies `ff` and `fe` differ. */
  content(received: Omit<ReceivedCallback, 'signatures'>, body: Uint8Array): Uint8Array;
  /**
   * The id where it stands in the body, which is signed, as headers often are not. Asked only once
   * the body is known to be signed.
   */
  readonly idOf?: ((body: Uint8Array) => string | undefined) | undefined;
  /** The headers of a callback that is sent. Forms that we only receive have none. */
  readonly write?: (
    params: CallbackParams,
    signatures: readonly string[],
  ) => Record<string, string>;
}
