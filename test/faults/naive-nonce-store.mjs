import { randomBytes } from 'node:crypto';

/**
 * What most libraries ship: `SET NX PX`, kept for the window. It answers the same questions as a
 * real nonce store, and accepts replays in nearly every test here. So these tests can fail.
 */
export class NaiveNonceStore {
  #redis;
  #milliseconds;
  #epoch = randomBytes(16).toString('base64url');

  constructor({ redis, window }) {
    this.#redis = redis;
    this.#milliseconds = window * 1000;
  }

  async claim({ accessKeyId, audience, nonce }) {
    const name = `naive:${audience}:${accessKeyId}:${nonce}`;
    const reply = await this.#redis.set(name, '1', 'PX', this.#milliseconds, 'NX');
    return { outcome: reply === 'OK' ? 'claimed' : 'replayed', epoch: this.#epoch };
  }

  async close() {
    this.#redis.disconnect();
  }
}
