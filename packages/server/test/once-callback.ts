import { randomUUID } from 'node:crypto';
import type { CallbackIdentity } from '@countersign/server/callbacks';

/** A callback that was verified. */
export function callback(more: Partial<CallbackIdentity> = {}): CallbackIdentity {
  return {
    id: randomUUID(),
    signedAt: 1_795_300_000,
    scheme: 'standard-webhooks',
    sender: 'video-api',
    body: new Uint8Array(),
    text: () => '',
    ...more,
  };
}
