import { parseChallenges } from './challenges.ts';

/**
 * Why a client signs a refused request again: it lacked the server's epoch, or the server does not
 * accept its credentials (any more).
 */
export type RetryReason = 'epoch' | 'credentials';

/**
 * In lower case, as challenges are read. Servers name all algorithms of our scheme by the first.
 */
const SCHEME = 'countersign1-hmac-sha256';

/**
 * Reads from a response whether the same request, signed again, may succeed.
 *
 * Only the service that the request was for can say that it did not act. A gateway may have acted
 * and passed on the refusal of a service behind it. That refusal names another audience, so the
 * client sends nothing again.
 *
 * @param challenges the `WWW-Authenticate` of the response
 * @param audience the service that the request was for
 */
export function findRetryReason(
  status: number,
  challenges: string | null | undefined,
  audience: string,
): RetryReason | undefined {
  if (status !== 401) return undefined;
  const own = parseChallenges(challenges ?? '').filter(
    ({ scheme, params }) => scheme === SCHEME && params.get('realm') === audience,
  );
  const error = own.length === 1 ? own[0]?.params.get('error') : undefined;
  if (error === 'replay-unknown') return 'epoch';
  return error === 'signature-invalid' ? 'credentials' : undefined;
}
