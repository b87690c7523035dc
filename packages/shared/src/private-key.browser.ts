/** Private keys for runtimes without `node:crypto`, from WebCrypto. */
export { importWebKey as importPrivateKey } from './web-keys.ts';
