import type { AccessKey } from './key-store.ts';

/** What is known of session credentials, beside what is known of any key. */
export interface Session {
  /** The access key that they were lent out on; none where somebody has logged in otherwise. */
  readonly parent?: string | undefined;
}

/** What a session token says of the key that is sealed in it. */
export interface SessionKey extends AccessKey {
  readonly session: Session;
}

/** What a verifier needs of sessions. */
export interface SessionProvider {
  /**
   * Opens a session token, whatever has become of its session: the verifier judges that.
   *
   * @returns `undefined` where the token is none of ours; a rejection means that it cannot be told, and the request is answered 503
   */
  find(sessionToken: string): Promise<SessionKey | undefined>;
}
