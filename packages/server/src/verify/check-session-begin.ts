import { SignatureError } from '@countersign/shared';
import type { Window } from './check-window.ts';
import type { AnyKey } from './choose-key.ts';

/**
 * Checks that a session has begun. Another server may have lent it, by its own clock.
 *
 * This comes last, when the nonce is claimed: the client signs again, and a captured copy of the refused request must be
 * worth nothing once the session has begun.
 *
 * @throws SignatureError `ERR_SIGNATURE_NOT_YET_VALID`
 */
export function checkSessionBegin(
  { accessKeyId, session, notBefore }: AnyKey,
  { ahead }: Pick<Window, 'ahead'>,
  now: number,
): void {
  if (session === undefined) return;
  const wait = (notBefore ?? 0) - now;
  if (wait <= ahead) return;
  throw new SignatureError(
    'ERR_SIGNATURE_NOT_YET_VALID',
    `Session ${accessKeyId} begins in ${Math.ceil(wait)} s, ${ahead} s are allowed: the clock of this server is behind the clock of the one that lent it; synchronise them`,
    { retryAfter: Math.ceil(wait - ahead) },
  );
}
