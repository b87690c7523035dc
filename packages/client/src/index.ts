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
export type { Credentials, CredentialsProvider } from './sign/credentials.ts';
export type { SignedRequest, UnsignedRequest, UnsignedUrl } from './sign/requests.ts';
export { createSigner, type Signer } from './sign/signer.ts';
export type { SignerOptions } from './sign/signer-options.ts';
