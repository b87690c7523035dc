import { MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import { RedisNonceStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { claimInMemory, claimInRedis } from './hand-written.mjs';
import { AUDIENCE } from './sign.mjs';

/**
 * The nonce stores of the contenders: a store for our verifier, and the claim of a hand-written
 * check.
 */
export function createStores({ id, key, redisPort }) {
  const redis = redisPort === undefined ? undefined : new Redis(redisPort, '127.0.0.1');
  return {
    verifierOptions: () => ({
      audience: AUDIENCE,
      keys: new MemoryKeyStore([key]),
      nonces:
        redis === undefined
          ? new MemoryNonceStore({ perSubject: 10_000_000 })
          : new RedisNonceStore({
              redis,
              prefix: `${id.replace(/\W+/g, '-')}:`,
              perSubject: 10_000_000,
            }),
    }),
    claim: () => (redis === undefined ? claimInMemory() : claimInRedis(redis)),
  };
}
