import type { AccessKey } from './key-store.ts';

/** What session credentials say besides what any key says. */
export interface Session {
  /** The access key that they were lent to. `undefined` if the user logged in without one. */
  readonly parent?: string | undefined;
}

/** The key that is sealed in a session token. */
export interface SessionKey extends AccessKey {
  readonly session: Session;
}

/** Opens session tokens for a verifier. */
export interface SessionProvider {
  /**
   * Opens a session token. It may be revoked or expired: the verifier judges that.
   *
   * @returns `undefined` if the token is not ours. A rejection means that the provider failed; the
   * request is answered 503
   */
  find(sessionToken: string): Promise<SessionKey | undefined>;
}
