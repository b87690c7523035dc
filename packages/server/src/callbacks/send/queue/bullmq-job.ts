import type { Job } from 'bullmq';
import type {
  DeliveryProgress,
  DeliveryState,
  QueuedCallback,
  QueueEntry,
} from './callback-queue.ts';
import { NO_PROGRESS } from './callback-queue.ts';

/** The data of a job. It holds neither a URL nor a secret. */
export interface JobData {
  readonly endpointId: string;
  readonly eventId: string;
  readonly contentType: string;
  /** Base64. */
  readonly body: string;
  readonly createdAt: number;
  readonly lane?: string;
  readonly owner?: string;
}

/** A callback, as BullMQ keeps it. */
export type CallbackJob = Job<JobData, DeliveryProgress>;

/** For each state of a delivery, the states of BullMQ that it stands for. */
export const STATES = {
  waiting: ['delayed', 'prioritized', 'waiting', 'active'],
  delivered: ['completed'],
  dead: ['failed'],
} as const;

const STATE_OF: Partial<Record<string, DeliveryState>> = { completed: 'delivered', failed: 'dead' };

export function stateOf(state: string): DeliveryState {
  return STATE_OF[state] ?? 'waiting';
}

export function toJobData({ id, body, lane, owner, ...rest }: QueuedCallback): JobData {
  return {
    ...rest,
    body: Buffer.from(body).toString('base64'),
    ...(lane === undefined ? {} : { lane }),
    ...(owner === undefined ? {} : { owner }),
  };
}

export function toEntry(job: CallbackJob, state: DeliveryState): QueueEntry {
  return { callback: toCallback(job), progress: progressOf(job), state };
}

export function toCallback({ id, data: { body, ...rest } }: CallbackJob): QueuedCallback {
  return { ...rest, id: id as string, body: Buffer.from(body, 'base64') };
}

export function progressOf({ progress }: CallbackJob): DeliveryProgress {
  return typeof progress === 'object' && 'attempts' in progress
    ? (progress as unknown as DeliveryProgress)
    : NO_PROGRESS;
}
