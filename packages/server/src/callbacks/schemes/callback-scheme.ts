import type { HeaderFields } from '@countersign/shared';

/** The signed parameters of a callback, besides its body. */
export interface CallbackParams {
  /** The same for each attempt to deliver one callback. */
  readonly id: string;
  /** Unix seconds: when this attempt was signed. */
  readonly signedAt: number;
}

/** The received headers of a callback. A field that the format does not have is `undefined`. */
export interface ReceivedCallback {
  readonly id: string | undefined;
  readonly signedAt: number | undefined;
  /** As in the header. One correct signature is enough. */
  readonly signatures: readonly string[];
}

/** A secret or a public key, ready for use. */
export interface CallbackKey {
  /** Signs. A public key has no `sign`. */
  readonly sign?: ((content: Uint8Array) => string) | undefined;
  /** Whether this key made one of the signatures. Compares in constant time. */
  verify(content: Uint8Array, signatures: readonly string[]): boolean;
}

/**
 * A wire format of signed callbacks (webhooks): its headers, and the bytes that are signed. It has
 * no state, and uses no clock, store or socket.
 */
export interface CallbackScheme {
  readonly name: string;
  /**
   * `unsigned` if the format signs no time. Then the verifier cannot check a window or a replay,
   * because a copy and an honest redelivery are the same bytes. Only `once()` recognizes a
   * repetition.
   */
  readonly time?: 'signed' | 'unsigned' | undefined;
  /**
   * Reads a key from its text.
   *
   * @throws TypeError if the text is not a key; the message never shows it
   */
  parseKey(text: string): CallbackKey;
  /**
   * Reads the headers of a callback.
   *
   * @returns `undefined` if the callback has no signature of this scheme
   * @throws SignatureError `ERR_SIGNATURE_MALFORMED`, `ERR_SIGNATURE_AMBIGUOUS`
   */
  read(headers: HeaderFields): ReceivedCallback | undefined;
  /** The bytes that are signed. Never text: as text, the bodies `ff` and `fe` would be equal. */
  content(received: Omit<ReceivedCallback, 'signatures'>, body: Uint8Array): Uint8Array;
  /**
   * Reads the id from the body, for formats that sign the body but no header with an id. The
   * verifier calls it only after the signature of the body is checked.
   */
  readonly idOf?: ((body: Uint8Array) => string | undefined) | undefined;
  /** Writes the headers of a callback. Schemes that can only be received do not have it. */
  readonly write?: (
    params: CallbackParams,
    signatures: readonly string[],
  ) => Record<string, string>;
}
