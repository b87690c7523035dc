/** Private keys for runtimes without `node:crypto`: WebCrypto. */
export { importWebKey as importPrivateKey } from './web-keys.ts';
