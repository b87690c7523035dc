import type { DeliveryAttempt, DeliveryState, QueueEntry } from './queue/callback-queue.ts';

/** A delivery without payload, URL or secret: safe to show to the endpoint's owner. */
export interface Delivery {
  readonly id: string;
  readonly endpointId: string;
  readonly eventId: string;
  /** Unix seconds. */
  readonly createdAt: number;
  /** `dead` is not tried again, unless you call `redeliver()`. */
  readonly state: DeliveryState;
  /** The latest 50, the oldest first. */
  readonly attempts: readonly DeliveryAttempt[];
  /** Why it is dead, if no attempt shows that. */
  readonly reason?: string | undefined;
}

export function toDelivery({ callback, progress, state }: QueueEntry): Delivery {
  const { id, endpointId, eventId, createdAt } = callback;
  const { attempts, reason } = progress;
  return { id, endpointId, eventId, createdAt, state, attempts, reason };
}
