export {
  countersign,
  type RefusalReason,
  type Scheme,
  SignatureError,
  type SignatureErrorCode,
} from '@countersign/shared';
export { standardWebhooks } from './callbacks/schemes/standard-webhooks.ts';
export { deriveAccessKey } from './keys/derive-access-key.ts';
export {
  type AccessKeyOwner,
  type GeneratedKeyPair,
  generateAccessKey,
} from './keys/generate-access-key.ts';
export type { AccessKeyInfo, UnreadableKeyInfo } from './keys/key-info.ts';
export { KeyStoreError, type KeyStoreErrorCode } from './keys/key-store-error.ts';
export type { ManagedKeyStore } from './keys/managed-key-store.ts';
export { generateMasterKey } from './keys/master-key.ts';
export type { MasterKeyProvider } from './keys/master-keys.ts';
export { MemoryKeyStore } from './keys/memory/memory-key-store.ts';
export type { Revocation } from './keys/revocation-records.ts';
export type {
  SessionBeginning,
  SessionFacts,
  SessionRevocations,
} from './keys/session-revocations.ts';
export type { OperatorWarning, WarningHook } from './lib/operator-warning.ts';
export type { WarningCode } from './lib/warning-codes.ts';
export {
  MemoryNonceStore,
  type MemoryNonceStoreOptions,
} from './nonces/memory/memory-nonce-store.ts';
export type { BodyCheck, FieldChanges, IncomingBody } from './verify/check-body.ts';
export type { Component, Explanation } from './verify/explanation.ts';
export type { Identity } from './verify/identity.ts';
export type {
  AccessKey,
  AccessKeyMetadata,
  DerivedAccessKey,
  GivenAccessKey,
  KeyStore,
  PublicAccessKey,
  PublicKey,
  PublicKeyInput,
} from './verify/key-store.ts';
export type { ClaimOutcome, NonceClaim, NonceStore } from './verify/nonce-store.ts';
export type { ReceivedRequest } from './verify/received-request.ts';
export type { Session, SessionKey, SessionProvider } from './verify/session-provider.ts';
export { createVerifier, type Verifier } from './verify/verifier.ts';
export type { VerifierOptions } from './verify/verifier-options.ts';
