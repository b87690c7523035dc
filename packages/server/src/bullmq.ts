export {
  BullmqCallbackQueue,
  type BullmqCallbackQueueOptions,
} from './callbacks/send/queue/bullmq-callback-queue.ts';
