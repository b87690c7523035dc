/**
 * A key that is ready for HMAC-SHA256. It is opaque: in Node it is a `KeyObject`, which no log
 * prints.
 */
export interface MacKey {
  readonly [macKeyBrand]: never;
}
declare const macKeyBrand: unique symbol;

/** A SHA-256 that gets its bytes in pieces. */
export interface Sha256 {
  update(bytes: Uint8Array): void;
  /** The digest in lower-case hex. It can be called only once. */
  hex(): string;
}
