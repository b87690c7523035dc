export { BullmqCallbackQueue } from './callbacks/send/queue/bullmq-callback-queue.ts';
export type { BullmqCallbackQueueOptions } from './callbacks/send/queue/bullmq-options.ts';
