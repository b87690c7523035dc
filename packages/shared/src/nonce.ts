const NONCE = /^[A-Za-z0-9_-]{22}$/;
const EPOCH = /^[A-Za-z0-9_-]{1,64}$/;

/** Whether a value can be a nonce of Countersign: 16 bytes, as 22 characters of base64url. */
export function isNonce(value: unknown): value is string {
  return typeof value === 'string' && NONCE.test(value);
}

/** Whether a value can be the epoch of a nonce store: 1 to 64 characters of base64url. */
export function isEpoch(value: unknown): value is string {
  return typeof value === 'string' && EPOCH.test(value);
}
