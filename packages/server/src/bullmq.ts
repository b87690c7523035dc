export {
  BullmqCallbackQueue,
  type BullmqCallbackQueueOptions,
} from './callbacks/send/bullmq-callback-queue.ts';
