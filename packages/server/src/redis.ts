export { RedisOnceStore, type RedisOnceStoreOptions } from './callbacks/once/redis-once-store.ts';
export { RedisKeyStore, type RedisKeyStoreOptions } from './keys/redis/redis-key-store.ts';
export type { RedisNonceStoreOptions } from './nonces/redis/redis-nonce-options.ts';
export { RedisNonceStore } from './nonces/redis/redis-nonce-store.ts';
