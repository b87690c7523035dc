export {
  countersign,
  type RefusalReason,
  type Scheme,
  SignatureError,
  type SignatureErrorCode,
} from '@countersign/shared';
export type { Component, Explanation } from './explanation.ts';
export type { Identity } from './identity.ts';
export { generateAccessKey } from './keys/generate-access-key.ts';
export type { AccessKey, KeyStore } from './keys/key-store.ts';
export { MemoryKeyStore } from './keys/memory-key-store.ts';
export { MemoryNonceStore, type MemoryNonceStoreOptions } from './nonces/memory-nonce-store.ts';
export type { ClaimOutcome, NonceClaim, NonceStore } from './nonces/nonce-store.ts';
export type { BodySource } from './steps/body.ts';
export { createVerifier, type ReceivedRequest, type Verifier } from './verifier.ts';
export type { VerifierOptions } from './verifier-options.ts';
