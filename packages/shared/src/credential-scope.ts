import { quote, SignatureError } from './errors.ts';
import { copyText } from './remember.ts';

/** What a signing key is good for: one day and one audience. */
export interface CredentialScope {
  /** UTC day, such as `20261121`. */
  readonly date: string;
  /** The name of the service that the request is for. */
  readonly audience: string;
}

/** Who signed, and what the signing key was good for. */
export interface Credential extends CredentialScope {
  readonly accessKeyId: string;
  /** The credential as on the wire. */
  readonly text: string;
}

/** The last part of every credential. It names the scheme that the signing key is for. */
export const TERMINATOR = 'countersign1_request';

const ACCESS_KEY_ID = /^[A-Za-z0-9._-]{1,128}$/;
const AUDIENCE = /^[A-Za-z0-9._:-]{1,128}$/;
const CREDENTIAL =
  /^([A-Za-z0-9._-]{1,128})\/([0-9]{8})\/([A-Za-z0-9._:-]{1,128})\/countersign1_request$/;

/** Whether a text can be an access key id: 1 to 128 of `A-Z a-z 0-9 . _ -`. */
export function isAccessKeyId(text: string): boolean {
  return ACCESS_KEY_ID.test(text);
}

/** Whether a text can name a service: 1 to 128 of `A-Z a-z 0-9 . _ : -`. */
export function isAudience(text: string): boolean {
  return AUDIENCE.test(text);
}

/** Formats a credential: `<accessKeyId>/<date>/<audience>/countersign1_request`. */
export function formatCredential(accessKeyId: string, scope: CredentialScope): string {
  return `${accessKeyId}/${scope.date}/${scope.audience}/${TERMINATOR}`;
}

/**
 * Parses a credential. No part can hold a `/`, so there is only one way to read it.
 *
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED`
 */
export function parseCredential(text: string): Credential {
  const match = CREDENTIAL.exec(text);
  if (match === null) {
    throw new SignatureError(
      'ERR_SIGNATURE_MALFORMED',
      `Cannot parse credential ${quote(text, 160)}: expected <accessKeyId>/<YYYYMMDD>/<audience>/${TERMINATOR}`,
    );
  }
  const [, accessKeyId, date, audience] = match as unknown as [string, string, string, string];
  // Stores keep the ids that they were asked for.
  return { text, accessKeyId: copyText(accessKeyId), date, audience };
}
