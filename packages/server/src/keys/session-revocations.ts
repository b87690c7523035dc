/** The prefix of session ids. No access key may have it. */
export const SESSION_PREFIX = 'CSSK';

/** Seconds. No session lives longer, so the revocation of one is kept for this long. */
export const LONGEST_SESSION = 7 * 86_400;

/** What a session token says of its session, as far as revocations need it. */
export interface SessionFacts {
  /** The id of the session. */
  readonly accessKeyId: string;
  /** The access key that the session was lent on. */
  readonly parent: string | undefined;
  readonly subject: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  /** The versions of the subject's sessions, and of all sessions, when this session was issued. */
  readonly versions: { readonly subject: number; readonly all: number };
}

/** What a new session begins with. Times are Unix seconds. */
export interface SessionBeginning extends Pick<SessionFacts, 'issuedAt' | 'versions'> {
  /**
   * By the clock of this server. `issuedAt` is later if sessions were revoked up to a time ahead of
   * it.
   */
  readonly now: number;
  /** Everything that the subject signed earlier is revoked. */
  readonly signedSince: number;
}

/**
 * What sessions need of a key store. A session is stored nowhere but in its token, so its
 * revocation must be stored.
 */
export interface SessionRevocations {
  /** Whether a session is revoked, or the key that it was lent on is not active in this store. */
  isSessionRevoked(session: SessionFacts): Promise<boolean>;
  /**
   * Makes sure, before a session begins, that the store would remember its revocation.
   *
   * @returns when the session begins: after all revocations until now
   */
  beginSession(subject: string): Promise<SessionBeginning>;
}

const SESSION_ID = new RegExp(`^${SESSION_PREFIX}[0-9A-HJKMNP-TV-Z]{20}$`);

/** Whether an id is one that we give to sessions. */
export function isSessionId(accessKeyId: string): boolean {
  return SESSION_ID.test(accessKeyId);
}
