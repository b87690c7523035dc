export { RedisOnceStore, type RedisOnceStoreOptions } from './callbacks/redis-once-store.ts';
export { RedisKeyStore, type RedisKeyStoreOptions } from './keys/redis-key-store.ts';
export { RedisNonceStore, type RedisNonceStoreOptions } from './nonces/redis-nonce-store.ts';
