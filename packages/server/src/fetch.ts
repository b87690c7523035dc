export type { CallbackAdapterOptions } from './callbacks/callback-adapter.ts';
export { withCallback } from './callbacks/fetch-callbacks.ts';
export { callbackOf } from './callbacks/received-callbacks.ts';
export {
  type FetchOptions,
  refusalResponse,
  type VerifiedRequest,
  verifyRequest,
  withSignature,
} from './http/fetch/adapter.ts';
