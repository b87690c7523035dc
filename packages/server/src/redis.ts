export { RedisNonceStore, type RedisNonceStoreOptions } from './nonces/redis-nonce-store.ts';
