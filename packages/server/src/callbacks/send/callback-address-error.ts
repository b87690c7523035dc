/**
 * Why no callback goes to a URL: it is not written as it must be, its host has an address that is
 * not public, or no address at all. Only the last may mend itself.
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
