/** Private keys where there is no `node:crypto`: WebCrypto. */
export { importWebKey as importPrivateKey } from './web-keys.ts';
