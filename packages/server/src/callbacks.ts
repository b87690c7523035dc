export type {
  CallbackKey,
  CallbackParams,
  CallbackScheme,
  ReceivedCallback,
} from './callbacks/callback-scheme.ts';
export { standardWebhooks } from './callbacks/schemes/standard-webhooks.ts';
