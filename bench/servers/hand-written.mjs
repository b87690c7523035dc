/**
 * A minimal check as an application might write it: an HMAC over method, target, time, nonce and
 * the hash of the body, and a nonce that is good for one request.
 */

import { createHash, createHmac, createSecretKey, timingSafeEqual } from 'node:crypto';

const WINDOW = 120;

/** @returns the digest that `x-signature` must have, as bytes */
export function signatureOf({ secret, method, target, timestamp, nonce, body }) {
  const hash = createHash('sha256').update(body).digest('hex');
  const text = `${method}\n${target}\n${timestamp}\n${nonce}\n${hash}`;
  return createHmac('sha256', secret).update(text).digest();
}

/**
 * @param claim tells whether a nonce is new, and remembers it
 * @returns a function that rejects if a request must not be served
 */
export function createCheck({ accessKeyId, secretAccessKey }, claim) {
  const secrets = new Map([[accessKeyId, createSecretKey(Buffer.from(secretAccessKey))]]);
  return async function check({ method, url, headers }, body) {
    const secret = secrets.get(headers['x-key']);
    if (secret === undefined) throw new Error('unknown key');
    const { 'x-timestamp': timestamp, 'x-nonce': nonce, 'x-signature': given } = headers;
    if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= WINDOW)) throw new Error('stale');
    const expected = signatureOf({ secret, method, target: url, timestamp, nonce, body });
    const signature = Buffer.from(given ?? '', 'hex');
    if (signature.length !== expected.length || !timingSafeEqual(signature, expected))
      throw new Error('wrong signature');
    if (!(await claim(`${headers['x-key']} ${nonce}`))) throw new Error('replayed');
  };
}

/**
 * Keeps nonces in a Map, in the order in which they expire. A request may be dated ahead, so they
 * live for twice the window.
 */
export function claimInMemory() {
  const seen = new Map();
  return function claim(name) {
    const now = Date.now();
    for (const [oldest, expires] of seen) {
      if (expires > now) break;
      seen.delete(oldest);
    }
    if (seen.has(name)) return false;
    seen.set(name, now + 2000 * WINDOW);
    return true;
  };
}

export function claimInRedis(redis) {
  return async function claim(name) {
    return (await redis.set(`nonce:${name}`, '1', 'PX', 2000 * WINDOW, 'NX')) === 'OK';
  };
}
