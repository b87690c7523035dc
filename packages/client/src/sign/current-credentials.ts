import {
  type CheckedCredentials,
  type CredentialsProvider,
  checkCredentials,
} from './credentials.ts';

/** Gives the credentials to sign with now. */
export interface CurrentCredentials {
  (): Promise<CheckedCredentials> | CheckedCredentials;
  /**
   * Asks for other credentials, because a server has refused those with this access key id: they
   * may have been revoked or rotated. Asks at most once every few seconds.
   *
   * @returns whether there are other credentials now
   */
  replace(refused: string): Promise<boolean>;
  /** Whether `replace` may give other credentials. */
  isReplaceable(refused: string): boolean;
}

/**
 * Seconds before their expiry at which credentials are renewed, so that they are still valid when
 * the signed request arrives.
 */
const RENEW_BEFORE = 60;
/** The same as a part of their life, if that is short. */
const RENEW_BEFORE_PART = 0.6;
/** Pause in seconds after a failed renewal, or between two questions about refused credentials. */
const RENEWAL_PAUSE = 5;

/**
 * Keeps the credentials that a provider gave, and calls it again shortly before they expire. One
 * call runs at a time. While it runs, or if it fails, the old credentials are used until they
 * expire.
 *
 * @param clock Unix seconds
 * @throws TypeError if the provider is a value that cannot be used
 */
export function createCurrentCredentials(
  provider: CredentialsProvider,
  clock: () => number,
): CurrentCredentials {
  if (typeof provider !== 'function') {
    const credentials = checkCredentials(provider);
    return Object.assign(() => credentials, {
      replace: async () => false,
      isReplaceable: () => false,
    });
  }
  let current: CheckedCredentials | undefined;
  /** When to renew the current credentials, in Unix seconds. */
  let renewAt = Number.NEGATIVE_INFINITY;
  /**
   * From when on calls wait for new credentials, in Unix seconds: the current ones may expire
   * before the request arrives.
   */
  let waitFrom = Number.NEGATIVE_INFINITY;
  let renewal: Promise<CheckedCredentials> | undefined;
  /** When the provider was last told of a refusal, in Unix seconds. */
  let doubtedAt = Number.NEGATIVE_INFINITY;

  const isAlive = (): boolean =>
    current !== undefined && clock() < (current.expiresAt ?? Number.POSITIVE_INFINITY);

  const renew = async (refused?: string): Promise<CheckedCredentials> => {
    try {
      current = checkCredentials(await provider(refused));
      const { expiresAt = Number.POSITIVE_INFINITY } = current;
      const early = Math.min(RENEW_BEFORE, RENEW_BEFORE_PART * (expiresAt - clock()));
      renewAt = expiresAt - early;
      waitFrom = expiresAt - early / 2;
      return current;
    } catch (error) {
      if (!isAlive()) throw error;
      renewAt = clock() + RENEWAL_PAUSE;
      return current as CheckedCredentials;
    }
  };

  const renewOnce = (refused?: string): Promise<CheckedCredentials> => {
    // Cleared here, because `renew` may end before `renewal` is set: it would stay set permanently.
    renewal ??= renew(refused).finally(() => {
      renewal = undefined;
    });
    return renewal;
  };

  const now = (): Promise<CheckedCredentials> | CheckedCredentials => {
    const alive = isAlive() ? current : undefined;
    if (alive !== undefined && clock() < renewAt) return alive;
    const renewed = renewOnce();
    if (alive === undefined || !(clock() < waitFrom)) return renewed;
    // The provider may be slow or hang, so no call waits while the old credentials are valid. If
    // the renewal fails, a later call starts another.
    renewed.catch(() => undefined);
    return alive;
  };

  // If another call was refused before, other credentials are already here or being fetched.
  const isReplaceable = (refused: string): boolean =>
    current?.accessKeyId !== refused ||
    renewal !== undefined ||
    clock() >= doubtedAt + RENEWAL_PAUSE;

  const replace = async (refused: string): Promise<boolean> => {
    const before = current;
    if (before?.accessKeyId !== refused) return true;
    const isOther = (): boolean =>
      current?.accessKeyId !== refused ||
      current.secretAccessKey !== before.secretAccessKey ||
      current.privateKey !== before.privateKey;
    // The running renewal was not told of the refusal, so it may give the refused ones from a
    // cache.
    await renewal?.catch(() => undefined);
    if (isOther()) return true;
    if (!isReplaceable(refused)) return false;
    doubtedAt = clock();
    await renewOnce(refused).catch(() => undefined);
    return isOther();
  };
  return Object.assign(now, { replace, isReplaceable });
}
