import { SignatureError } from '@countersign/shared';
import type { Window } from './check-window.ts';
import type { AnyKey } from './choose-key.ts';

/**
 * Checks that a session has begun. Another server may have lent it, by its own clock.
 *
 * This check comes last, after the nonce was claimed. The client signs the refused request again,
 * so a captured copy of it must not be accepted when the session has begun.
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
    `Session ${accessKeyId} begins in ${Math.ceil(wait)} s, ${ahead} s are allowed: the clock of this server is behind the clock of the server that lent it; synchronise them`,
    { retryAfter: Math.ceil(wait - ahead) },
  );
}
