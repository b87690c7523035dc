export {
  countersign,
  type RefusalReason,
  type Scheme,
  SignatureError,
  type SignatureErrorCode,
} from '@countersign/shared';
export { type CreateFetchOptions, createFetch, type SignedFetch } from './send/fetch.ts';
export { type SessionCredentialsOptions, sessionCredentials } from './send/session-credentials.ts';
export type { SignableBody } from './sign/body.ts';
export type { Credentials, CredentialsSource } from './sign/credentials.ts';
export {
  createSigner,
  type SignedRequest,
  type Signer,
  type UnsignedRequest,
  type UnsignedUrl,
} from './sign/signer.ts';
export type { SignerOptions } from './sign/signer-options.ts';
