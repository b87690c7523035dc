export {
  countersign,
  type RefusalReason,
  type Scheme,
  SignatureError,
  type SignatureErrorCode,
} from '@countersign/shared';
export { standardWebhooks } from './callbacks/schemes/standard-webhooks.ts';
export type { Component, Explanation } from './explanation.ts';
export type { Identity } from './identity.ts';
export { deriveAccessKey } from './keys/derive-access-key.ts';
export { generateAccessKey } from './keys/generate-access-key.ts';
export type {
  AccessKey,
  AccessKeyPolicy,
  DerivedAccessKey,
  GivenAccessKey,
  KeyStore,
  PublicAccessKey,
} from './keys/key-store.ts';
export { KeyStoreError, type KeyStoreErrorCode } from './keys/key-store-error.ts';
export type {
  AccessKeyInfo,
  AccessKeyOwner,
  GeneratedKeyPair,
  ManagedKeyStore,
  Revocation,
  UnreadableKeyInfo,
} from './keys/managed-key-store.ts';
export { generateMasterKey, type MasterKeySource } from './keys/master-keys.ts';
export { MemoryKeyStore } from './keys/memory-key-store.ts';
export type { PublicKey, PublicKeyInput } from './keys/public-key.ts';
export type { Revocations, SessionBeginning, SessionFacts } from './keys/revocations.ts';
export { MemoryNonceStore, type MemoryNonceStoreOptions } from './nonces/memory-nonce-store.ts';
export type { ClaimOutcome, NonceClaim, NonceStore } from './nonces/nonce-store.ts';
export type { OperatorWarning, WarningHook } from './operator-warning.ts';
export type { Session, SessionKey, SessionSource } from './sessions/session-source.ts';
export { createVerifier, type ReceivedRequest, type Verifier } from './verifier.ts';
export type { VerifierOptions } from './verifier-options.ts';
export type { BodyCheck, IncomingBody } from './verify/check-body.ts';
export type { WarningCode } from './warning-codes.ts';
