export type { CallbackIdentity, CallbackRequest } from './callbacks/callback-identity.ts';
export type {
  CallbackKey,
  CallbackParams,
  CallbackScheme,
  ReceivedCallback,
} from './callbacks/callback-scheme.ts';
export { type CallbackVerifier, createCallbackVerifier } from './callbacks/callback-verifier.ts';
export type {
  CallbackRefusal,
  CallbackSecrets,
  CallbackVerifierOptions,
} from './callbacks/callback-verifier-options.ts';
export {
  MemoryOnceStore,
  type MemoryOnceStoreOptions,
} from './callbacks/memory-once-store.ts';
export { createOnce, type Once, type OnceOptions, type OnceOutcome } from './callbacks/once.ts';
export type { OnceScope, OnceState, OnceStore } from './callbacks/once-store.ts';
export { callbackOf } from './callbacks/received-callbacks.ts';
export { githubWebhooks } from './callbacks/schemes/github-webhooks.ts';
export { slackWebhooks } from './callbacks/schemes/slack-webhooks.ts';
export { standardWebhooks } from './callbacks/schemes/standard-webhooks.ts';
export { stripeWebhooks } from './callbacks/schemes/stripe-webhooks.ts';
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
