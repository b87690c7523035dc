/** What the ids of sessions begin with: no access key may take one. */
export const SESSION_PREFIX = 'CSSK';

/** Seconds: no session lives longer, and for so long the revocation of one is remembered. */
export const LONGEST_SESSION = 7 * 86_400;

/** What a session token says of its session. */
export interface SessionFacts {
  /** The session's own. */
  readonly accessKeyId: string;
  /** The access key that it was lent out on. */
  readonly parent: string | undefined;
  readonly subject: string;
  /** Unix seconds. */
  readonly issuedAt: number;
  /** Of the subject's sessions, and of everybody's, when it was issued. */
  readonly versions: { readonly subject: number; readonly all: number };
}

/** What a session begins with. Times are Unix seconds. */
export interface SessionBeginning extends Pick<SessionFacts, 'issuedAt' | 'versions'> {
  /** By the clock of this server; `issuedAt` is later where something ahead of it was revoked. */
  readonly now: number;
  /** What its subject signed earlier is revoked. */
  readonly signedSince: number;
}

/** What sessions need of a key store: they lie nowhere, so what was revoked of them must. */
export interface SessionRevocations {
  /** Also where the key that a session was lent out on is not active here: revocations and keys are one store. */
  isSessionRevoked(session: SessionFacts): Promise<boolean>;
  /**
   * Makes sure that revocations of a session would be remembered, before it begins.
   *
   * @returns when it begins, after all that was revoked until now
   */
  beginSession(subject: string): Promise<SessionBeginning>;
}

const SESSION_ID = new RegExp(`^${SESSION_PREFIX}[0-9A-HJKMNP-TV-Z]{20}$`);

/** Whether an id is that of a session, as they are made. */
export function isSessionId(accessKeyId: string): boolean {
  return SESSION_ID.test(accessKeyId);
}
