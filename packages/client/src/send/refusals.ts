import { parseChallenges } from './challenges.ts';

/**
 * What may help where a request was refused, and so was not executed: the server's epoch, or other credentials than those that it
 * does not accept (any more).
 */
export type Cure = 'epoch' | 'credentials';

/** In lower case, as challenges are read. Servers name all algorithms of our scheme by the first of them. */
const SCHEME = 'countersign1-hmac-sha256';

/**
 * Reads of an answer what may help. Each is tried once by clients of ours.
 *
 * Only the service that the request was for can say that it did not act. A gateway may have acted,
 * and hand on the refusal of a service behind it: that one names another audience, and nothing is
 * sent again.
 *
 * @param challenges the answer's `WWW-Authenticate`
 * @param audience the service that the request was for
 */
export function cureOf(
  status: number,
  challenges: string | null | undefined,
  audience: string,
): Cure | undefined {
  if (status !== 401) return undefined;
  const own = parseChallenges(challenges ?? '').filter(
    ({ scheme, params }) => scheme === SCHEME && params.get('realm') === audience,
  );
  const reason = own.length === 1 ? own[0]?.params.get('error') : undefined;
  if (reason === 'replay-unknown') return 'epoch';
  return reason === 'signature-invalid' ? 'credentials' : undefined;
}

/** The id of the access key that a request was signed with. */
export function accessKeyIdOf({ authorization = '' }: Readonly<Record<string, string>>): string {
  return /Credential=([^/]+)\//.exec(authorization)?.[1] ?? '';
}
