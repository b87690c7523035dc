import type { BullmqCallbackQueue } from '@countersign/server/bullmq';
import {
  type CallbackSender,
  createCallbackSender,
  type Delivery,
} from '@countersign/server/callbacks';
import { quote } from '@countersign/shared';
import { OperationError, UsageError } from '../lib/errors.ts';
import { action, type Call } from '../store/action.ts';
import { connectionOf, type RedisPlace, reach, TIMEOUT } from '../store/redis-connection.ts';
import { chooseTls, type RedisTls } from '../store/redis-tls.ts';
import { chooseUrl } from '../store/store.ts';
import { explained } from '../store/store-failure.ts';
import { parseStoreUrl, withoutPassword } from '../store/store-url.ts';
import type { Io } from '../terminal/io.ts';

/** Options that name a queue. */
interface QueueOptions {
  readonly store?: string | undefined;
  readonly queue?: string | undefined;
  readonly prefix?: string | undefined;
  readonly caFile?: string | undefined;
}

/** A queue, while a command works with it. The command itself delivers nothing. */
interface OpenQueue {
  readonly deliveries: Pick<CallbackSender, 'find' | 'list' | 'redeliver'>;
  /** The URL of Redis, without a password. */
  readonly url: string;
}

/** Makes an action that works with the queue that the options name. */
export function queueAction<Options>(
  io: Io,
  act: (call: Call<Options> & OpenQueue) => Promise<void>,
) {
  return action<Options & QueueOptions>(io, async (call) => {
    const { place, url } = placeOf(io, call.options);
    const tls = chooseTls(io, call.options, place);
    const Queue = await loadQueue();
    try {
      // If Redis does not answer, the queue itself would wait, and not say why.
      await reach(place, tls);
      const deliveries = await open(Queue, { place, tls }, call.options, io);
      await act({ ...call, deliveries, url }).finally(() => deliveries.close());
    } catch (error) {
      throw explained(error as Error, url, place);
    }
  });
}

/** @throws OperationError `ERR_DELIVERY_NOT_FOUND` */
export async function findDelivery({ deliveries, url }: OpenQueue, id: string): Promise<Delivery> {
  const delivery = await deliveries.find(id);
  if (delivery !== undefined) return delivery;
  throw new OperationError(
    'ERR_DELIVERY_NOT_FOUND',
    `There is no delivery ${quote(id)} in ${url}: look for it with callbacks list; the queue forgets old deliveries`,
  );
}

function placeOf(io: Io, options: QueueOptions): { place: RedisPlace; url: string } {
  const text = chooseUrl(io, options);
  if (text === undefined)
    throw new UsageError(
      'Cannot find the queue of callbacks: give the URL of Redis with --store or COUNTERSIGN_STORE',
    );
  const place = parseStoreUrl(text);
  const url = withoutPassword(text);
  if (place.kind !== 'file') return { place, url };
  throw new UsageError(
    `Cannot find callbacks in ${quote(url, 200)}: they are queued in Redis; give its URL with --store`,
  );
}

type QueueClass = typeof BullmqCallbackQueue;

/** Loads BullMQ only when it is needed: loading takes longer than most commands run. */
async function loadQueue(): Promise<QueueClass> {
  try {
    return (await import('@countersign/server/bullmq')).BullmqCallbackQueue;
  } catch (error) {
    if (!isMissing(error as NodeJS.ErrnoException)) throw error;
    throw new OperationError(
      'ERR_BULLMQ_MISSING',
      'Cannot open a queue of callbacks without BullMQ: install it beside the command with "npm install bullmq@6" (add --global if the command is global)',
      { cause: error },
    );
  }
}

function isMissing({ code, message }: NodeJS.ErrnoException): boolean {
  return code === 'ERR_MODULE_NOT_FOUND' && /Cannot find package 'bullmq'/.test(message);
}

async function open(
  Queue: QueueClass,
  { place, tls }: { place: RedisPlace; tls: RedisTls | undefined },
  { queue: name, prefix }: QueueOptions,
  { clock }: Io,
): Promise<CallbackSender> {
  const redis = connectionOf(place, tls);
  try {
    const queue = new Queue({ redis, name, prefix, timeout: TIMEOUT });
    const endpoints = () => undefined;
    return createCallbackSender({ queue, endpoints, deliver: 'elsewhere', clock });
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}
