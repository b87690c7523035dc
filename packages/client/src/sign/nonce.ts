import { encodeBase64Url } from '@countersign/shared';

const BYTES = 16;
/** Random bytes are requested for 256 nonces at a time: one request costs more than 30 nonces. */
const POOL = BYTES * 256;

/** Builds a function that gives nonces: 16 random bytes each, in base64url. */
export function createNonces(): () => string {
  const pool = new Uint8Array(POOL);
  let used = POOL;
  return () => {
    if (used === POOL) {
      crypto.getRandomValues(pool);
      used = 0;
    }
    const nonce = encodeBase64Url(pool.subarray(used, used + BYTES));
    used += BYTES;
    return nonce;
  };
}
