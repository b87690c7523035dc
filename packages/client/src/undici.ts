export { type SigningOptions, signing } from './undici/signing.ts';
