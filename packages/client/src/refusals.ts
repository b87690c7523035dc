/**
 * What may help where a request was refused, and so was not executed: the server's epoch, or other credentials than those that it
 * does not accept (any more).
 */
export type Cure = 'epoch' | 'credentials';

/**
 * Reads of an answer what may help. Each is tried once by clients of ours.
 *
 * @param challenge the answer's `WWW-Authenticate`
 */
export function cureOf(status: number, challenge: string | null | undefined): Cure | undefined {
  const reason = status === 401 ? /\berror="([a-z-]+)"/.exec(challenge ?? '')?.[1] : undefined;
  if (reason === 'replay-unknown') return 'epoch';
  return reason === 'signature-invalid' ? 'credentials' : undefined;
}

/** The id of the access key that a request was signed with. */
export function accessKeyIdOf({ authorization = '' }: Readonly<Record<string, string>>): string {
  return /Credential=([^/]+)\//.exec(authorization)?.[1] ?? '';
}
