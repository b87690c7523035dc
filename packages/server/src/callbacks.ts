export type {
  CallbackKey,
  CallbackParams,
  CallbackScheme,
  ReceivedCallback,
} from './callbacks/callback-scheme.ts';
export { standardWebhooks } from './callbacks/schemes/standard-webhooks.ts';
export {
  type CallbackAddress,
  type CallbackAddressPolicy,
  checkCallbackUrl,
} from './callbacks/send/callback-address.ts';
export {
  CallbackAddressError,
  type CallbackAddressErrorCode,
} from './callbacks/send/callback-address-error.ts';
export type { CallbackEvent, EventOfType, EventWithBody } from './callbacks/send/callback-event.ts';
export type {
  CallbackQueue,
  DeliveryAttempt,
  DeliveryProgress,
  DeliveryState,
  Handler,
  QueuedCallback,
  QueueEntry,
  Verdict,
} from './callbacks/send/callback-queue.ts';
export {
  type CallbackSender,
  createCallbackSender,
  type Delivery,
  type SenderCounters,
} from './callbacks/send/callback-sender.ts';
export type { CallbackUrlPolicy } from './callbacks/send/callback-url.ts';
export type { CallbackEndpoint, FindEndpoint } from './callbacks/send/endpoint.ts';
export {
  MemoryCallbackQueue,
  type MemoryCallbackQueueOptions,
} from './callbacks/send/memory-callback-queue.ts';
export type { PrivateAddresses } from './callbacks/send/public-address.ts';
export type { ResolveHost } from './callbacks/send/resolve-host.ts';
export type { CallbackSenderOptions, DeliveryReport } from './callbacks/send/sender-options.ts';
