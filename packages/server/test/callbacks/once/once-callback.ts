import { randomUUID } from 'node:crypto';
import type { CallbackIdentity } from '@countersign/server/callbacks';
import { NOW } from '../../../../../test/support/now.ts';

/** A callback that was verified. */
export function callback(more: Partial<CallbackIdentity> = {}): CallbackIdentity {
  return {
    id: randomUUID(),
    signedAt: NOW,
    scheme: 'standard-webhooks',
    sender: 'video-api',
    body: new Uint8Array(),
    text: () => '',
    ...more,
  };
}
