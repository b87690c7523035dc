import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { generateAccessKey } from '@countersign/server';

setFlagsFromString('--expose-gc');
/** Collects garbage. */
export const gc = runInNewContext('gc');

export const { accessKeyId } = generateAccessKey({ subject: 'alice' });

/** The defaults of a verifier, in seconds. */
export const [WINDOW, AHEAD] = [120, 5];

/** Makes claims as a verifier does, each for a request that was signed just now. */
export function makeClaims(count, nowOf, { epoch, window = WINDOW } = {}) {
  const random = randomBytes(16 * count);
  return Array.from({ length: count }, (_, index) => {
    const signedAt = Math.floor(nowOf(index));
    return {
      accessKeyId,
      audience: 'video-api',
      nonce: random.toString('base64url', 16 * index, 16 * (index + 1)),
      signedAt,
      acceptableFrom: signedAt - AHEAD,
      acceptableUntil: signedAt + window,
      epoch,
    };
  });
}
