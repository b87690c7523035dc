import {
  type CheckedCredentials,
  type CredentialsProvider,
  checkCredentials,
} from './credentials.ts';

/** The one way to credentials. */
export interface CurrentCredentials {
  (): Promise<CheckedCredentials> | CheckedCredentials;
  /**
   * Asks for others than those of an id, which a server has refused: they may have been revoked, or rotated away.
   *
   * @returns whether there are any; nobody asks more often than every few seconds
   */
  replace(refused: string): Promise<boolean>;
  /** Whether that would be of any use. */
  isReplaceable(refused: string): boolean;
}

/** Seconds before their expiry at which credentials are renewed: a signed request still has to get there. */
const RENEW_BEFORE = 60;
/** The part of their life, where that is short. */
const RENEW_BEFORE_PART = 0.6;
/** Seconds for which nobody asks again after a renewal failed, while the old credentials serve. */
const RENEWAL_PAUSE = 5;

/**
 * Builds the one way to credentials: a function is asked once, then again when what it gave is about to expire, and by one
 * caller at a time. While that takes its time, or where it fails, the old ones serve until they expire.
 *
 * @param clock Unix seconds
 * @throws TypeError where a value given directly cannot be used
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
  /** Unix seconds: when the present ones are to be renewed. */
  let renewAt = Number.NEGATIVE_INFINITY;
  /** Unix seconds: from when on it is worth waiting for new ones, because the present ones may end on the way. */
  let waitFrom = Number.NEGATIVE_INFINITY;
  let renewal: Promise<CheckedCredentials> | undefined;
  /** Unix seconds: when they were doubted last. */
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
    // Cleared here, not in `renew`: what throws before its first `await` would be kept for good.
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
    // Whoever gives new ones may take their time, or hang: no call waits for that while the old ones live. Where it fails, the next asks.
    renewed.catch(() => undefined);
    return alive;
  };

  // Where others are there already, or on their way, somebody else was refused before.
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
    // What is under way may give what is cached: it was not told that this is refused.
    await renewal?.catch(() => undefined);
    if (isOther()) return true;
    if (!isReplaceable(refused)) return false;
    doubtedAt = clock();
    await renewOnce(refused).catch(() => undefined);
    return isOther();
  };
  return Object.assign(now, { replace, isReplaceable });
}
