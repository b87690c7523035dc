import { createFetch } from '@countersign/client';
import { Agent, fetch } from 'undici';

/**
 * A desktop program's connection to its API. It ships with an address and no secret: what it signs with it is lent when its
 * user logs in, and keeps in memory only. The password it forgets at once.
 */
export class VideoClient {
  #origin;
  #fetch;
  #signedFetch;

  /**
   * @param origin such as `https://api.example.com`
   * @param options of undici's `Agent`: `{ connect: { ca } }` trusts that certificate, and no other
   */
  constructor(origin, options) {
    this.#origin = origin;
    const dispatcher = new Agent(options);
    this.#fetch = (url, init) => fetch(url, { ...init, dispatcher });
  }

  /** Logs in. @returns the server's answer; only where it is `ok` are calls signed from now on */
  async logIn(user, password) {
    const response = await this.#fetch(`${this.#origin}/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user, password }),
      // Wherever a redirect leads, the password does not go there.
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

  /** Ends this session, or all that the user has on any machine. */
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
