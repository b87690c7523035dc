import { SignatureError, type SignatureParams } from '@countersign/shared';

/** How long a request lives, in seconds. */
export interface Window {
  /** The highest age of a signed request. */
  readonly window: number;
  /** How far ahead of this server's clock a request may be dated. */
  readonly ahead: number;
  /** The longest life that a presigned URL may ask for. */
  readonly presignedMaxExpires: number;
}

/**
 * For how many seconds a signature is valid after it was made. A signed URL lives for as long as it
 * says. Headers may ask for less than the window, never for more.
 */
export function lifetime(
  { inUrl, expiresIn }: Pick<SignatureParams, 'inUrl' | 'expiresIn'>,
  { window }: Pick<Window, 'window'>,
): number {
  if (expiresIn === undefined) return window;
  return inUrl === true ? expiresIn : Math.min(expiresIn, window);
}

/**
 * Refuses a request that is too old, or dated too far ahead. Both checks say what is allowed, so
 * that NaN is refused, too.
 *
 * @param now Unix seconds
 * @throws SignatureError `ERR_SIGNATURE_EXPIRED`, `ERR_SIGNATURE_NOT_YET_VALID`;
 * `ERR_SIGNATURE_MALFORMED` if a presigned URL asks for more than the server allows
 */
export function checkWindow(params: SignatureParams, limits: Window, now: number): void {
  const { signedAt, expiresIn, inUrl } = params;
  if (inUrl && expiresIn !== undefined && !(expiresIn <= limits.presignedMaxExpires)) {
    throw new SignatureError(
      'ERR_SIGNATURE_MALFORMED',
      `The URL asks for ${expiresIn} s, at most ${limits.presignedMaxExpires} s are allowed`,
    );
  }
  if (!(signedAt - now <= limits.ahead)) {
    throw new SignatureError(
      'ERR_SIGNATURE_NOT_YET_VALID',
      `The request is dated ${Math.ceil(signedAt - now)} s ahead of the server's clock, ${limits.ahead} s are allowed: set the client's clock`,
    );
  }
  const allowed = lifetime(params, limits);
  if (!(now - signedAt <= allowed)) {
    throw new SignatureError(
      'ERR_SIGNATURE_EXPIRED',
      `The request was signed ${Math.floor(now - signedAt)} s ago, ${allowed} s are allowed: sign it again`,
    );
  }
}
