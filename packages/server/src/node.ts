export { withCallback } from './callbacks/receive/node-callbacks.ts';
export { callbackOf } from './callbacks/receive/received-callbacks.ts';
export {
  type NodeOptions,
  type SignedRequestListener,
  withSignature,
} from './http/node/adapter.ts';
export { keepRawBody } from './http/node/body.ts';
export { continueWhenVerified } from './http/node/continue-when-verified.ts';
export { identityOf } from './http/node/verified-requests.ts';
export {
  type SignedUpgradeListener,
  type UpgradeOptions,
  verifyUpgrade,
} from './http/node/verify-upgrade.ts';
