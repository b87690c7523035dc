/**
 * Why a URL is not called: its text is not allowed, its host has an address that is not public, or
 * its host has no address. Only the last may pass by itself.
 */
export type CallbackAddressErrorCode =
  | 'ERR_CALLBACK_URL_REFUSED'
  | 'ERR_CALLBACK_ADDRESS_REFUSED'
  | 'ERR_CALLBACK_HOST_UNRESOLVED';

/** A URL must not, or cannot, be called. */
export class CallbackAddressError extends Error {
  override readonly name = 'CallbackAddressError';
  readonly code: CallbackAddressErrorCode;

  constructor(code: CallbackAddressErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
