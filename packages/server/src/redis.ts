export { RedisOnceStore, type RedisOnceStoreOptions } from './callbacks/once/redis-once-store.ts';
export { RedisKeyStore, type RedisKeyStoreOptions } from './keys/redis/redis-key-store.ts';
export { RedisNonceStore, type RedisNonceStoreOptions } from './nonces/redis/redis-nonce-store.ts';
