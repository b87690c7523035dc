export { handleOnce } from './callbacks/once/handle-once.ts';
export type { CallbackAdapterOptions } from './callbacks/receive/callback-adapter.ts';
export { callbackOf } from './callbacks/receive/received-callbacks.ts';
export { requireCallback } from './callbacks/receive/require-callback.ts';
export { requireScope } from './http/express/require-scope.ts';
export {
  type RequireSignatureOptions,
  requireSignature,
} from './http/express/require-signature.ts';
export { type SessionEndpointOptions, sessionEndpoint } from './http/express/session-endpoint.ts';
export { keepRawBody } from './http/node/body.ts';
export { continueWhenVerified } from './http/node/continue-when-verified.ts';
export { identityOf } from './http/node/verified-requests.ts';
export {
  type SignedUpgradeListener,
  type UpgradeOptions,
  verifyUpgrade,
} from './http/node/verify-upgrade.ts';
