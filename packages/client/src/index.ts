export {
  countersign,
  type RefusalReason,
  type Scheme,
  SignatureError,
  type SignatureErrorCode,
} from '@countersign/shared';
export type { SignableBody } from './body.ts';
export type { Credentials, CredentialsSource } from './credentials.ts';
export { type CreateFetchOptions, createFetch, type SignedFetch } from './fetch.ts';
export { type SessionCredentialsOptions, sessionCredentials } from './session-credentials.ts';
export {
  createSigner,
  type SignedRequest,
  type Signer,
  type UnsignedRequest,
  type UnsignedUrl,
} from './signer.ts';
export type { SignerOptions } from './signer-options.ts';
