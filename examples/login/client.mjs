import { createFetch } from '@countersign/client';
import { Agent, fetch } from 'undici';

/**
 * The connection of a desktop program to its API. The program ships with an address and no secret.
 * When its user logs in, it gets short-lived credentials, and keeps them in memory only. It does
 * not keep the password.
 */
export class VideoClient {
  #origin;
  #fetch;
  #signedFetch;

  /**
   * @param origin such as `https://api.example.com`
   * @param options options of undici's `Agent`: `{ connect: { ca } }` trusts only that certificate
   */
  constructor(origin, options) {
    this.#origin = origin;
    const dispatcher = new Agent(options);
    this.#fetch = (url, init) => fetch(url, { ...init, dispatcher });
  }

  /** Logs in. @returns the server's answer; only if it is `ok`, later calls are signed */
  async logIn(user, password) {
    const response = await this.#fetch(`${this.#origin}/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user, password }),
      // A redirect must not send the password elsewhere.
      redirect: 'error',
    });
    if (response.ok)
      this.#signedFetch = createFetch({
        credentials: await response.clone().json(),
        audience: 'video-api',
        origins: [this.#origin],
        fetch: this.#fetch,
      });
    return response;
  }

  parseVideo(videoUrl) {
    return this.#post('/VideoParser/', { videoUrl });
  }

  /** Ends this session, or all sessions of the user on all machines. */
  async logOut({ everywhere = false } = {}) {
    const response = await this.#post(everywhere ? '/logout-everywhere' : '/logout');
    if (response.ok) this.#signedFetch = undefined;
    return response;
  }

  async #post(path, body) {
    if (this.#signedFetch === undefined) throw new Error(`Cannot call "${path}": log in first`);
    return this.#signedFetch(this.#origin + path, { method: 'POST', body });
  }
}
