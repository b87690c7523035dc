export type { CallbackAdapterOptions } from './callbacks/receive/callback-adapter.ts';
export { withCallback } from './callbacks/receive/fetch-callbacks.ts';
export { callbackOf } from './callbacks/receive/received-callbacks.ts';
export {
  type FetchOptions,
  refusalResponse,
  type VerifiedRequest,
  verifyRequest,
  withSignature,
} from './http/fetch/adapter.ts';
