export {
  MemoryOnceStore,
  type MemoryOnceStoreOptions,
} from './callbacks/once/memory-once-store.ts';
export {
  createOnce,
  type Once,
  type OnceOptions,
  type OnceOutcome,
} from './callbacks/once/once.ts';
export type { OnceScope, OnceState, OnceStore } from './callbacks/once/once-store.ts';
export type { CallbackIdentity, CallbackRequest } from './callbacks/receive/callback-identity.ts';
export {
  type CallbackVerifier,
  createCallbackVerifier,
} from './callbacks/receive/callback-verifier.ts';
export type {
  CallbackRefusal,
  CallbackSecrets,
  CallbackVerifierOptions,
} from './callbacks/receive/callback-verifier-options.ts';
export { callbackOf } from './callbacks/receive/received-callbacks.ts';
export type {
  CallbackKey,
  CallbackParams,
  CallbackScheme,
  ReceivedCallback,
} from './callbacks/schemes/callback-scheme.ts';
export { githubWebhooks } from './callbacks/schemes/github-webhooks.ts';
export { slackWebhooks } from './callbacks/schemes/slack-webhooks.ts';
export { standardWebhooks } from './callbacks/schemes/standard-webhooks.ts';
export { stripeWebhooks } from './callbacks/schemes/stripe-webhooks.ts';
export type { PrivateAddresses } from './callbacks/send/address-flaw.ts';
export {
  type CallbackAddress,
  type CallbackAddressOptions,
  checkCallbackUrl,
} from './callbacks/send/callback-address.ts';
export {
  CallbackAddressError,
  type CallbackAddressErrorCode,
} from './callbacks/send/callback-address-error.ts';
export type { CallbackEndpoint, FindEndpoint } from './callbacks/send/callback-endpoint.ts';
export type { CallbackEvent, EventOfType, EventWithBody } from './callbacks/send/callback-event.ts';
export {
  type CallbackSender,
  createCallbackSender,
  type SenderCounters,
} from './callbacks/send/callback-sender.ts';
export type { CallbackUrlOptions } from './callbacks/send/callback-url.ts';
export type { Delivery } from './callbacks/send/delivery.ts';
export type {
  CallbackQueue,
  DeliveryAttempt,
  DeliveryProgress,
  DeliveryState,
  Handler,
  QueuedCallback,
  QueueEntry,
  Verdict,
} from './callbacks/send/queue/callback-queue.ts';
export {
  MemoryCallbackQueue,
  type MemoryCallbackQueueOptions,
} from './callbacks/send/queue/memory-callback-queue.ts';
export type { ResolveHost } from './callbacks/send/resolve-host.ts';
export type { CallbackSenderOptions, DeliveryReport } from './callbacks/send/sender-options.ts';
