/** A key that is ready for HMAC-SHA256. Opaque: in Node a `KeyObject`, which no log prints. */
export interface MacKey {
  readonly [macKeyBrand]: never;
}
declare const macKeyBrand: unique symbol;

/** A SHA-256 that gets its bytes in pieces. */
export interface Sha256 {
  update(bytes: Uint8Array): void;
  /** The digest in lower-case hex. Call once. */
  hex(): string;
}
