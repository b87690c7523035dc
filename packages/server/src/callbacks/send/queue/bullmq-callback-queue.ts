import { quote } from '@countersign/shared';
import { DelayedError, Queue, UnrecoverableError, Worker } from 'bullmq';
import type { Cluster, Redis } from 'ioredis';
import { OperatorWarnings } from '../../../lib/operator-warning.ts';
import { CheckedRedis } from '../../../lib/redis/checked-redis.ts';
import { isNoAnswer, reasonOf } from '../../../lib/redis/reachable.ts';
import { refusalOf } from '../../../lib/redis/redis-permissions.ts';
import { QUEUE_COMMANDS } from './bullmq-commands.ts';
import {
  type CallbackJob,
  type JobData,
  progressOf,
  STATES,
  stateOf,
  toCallback,
  toEntry,
  toJobData,
} from './bullmq-job.ts';
import { BullmqLanes } from './bullmq-lanes.ts';
import {
  type BullmqCallbackQueueOptions,
  type BullmqSettings,
  parseBullmqOptions,
} from './bullmq-options.ts';
import { BullmqOwners } from './bullmq-owners.ts';
import type {
  CallbackQueue,
  DeliveryProgress,
  DeliveryState,
  Handler,
  QueuedCallback,
  QueueEntry,
} from './callback-queue.ts';
import { duplicateForQueue } from './duplicate-for-queue.ts';

/**
 * Milliseconds. A callback that is not the first of its lane is woken when it becomes the first. If
 * it is not woken, because a process was killed, it looks again after this time.
 */
const LOOK_AGAIN = 5_000;
/**
 * BullMQ gives a job up after one takeover. But a callback is not at fault if servers are killed
 * while they send it.
 */
const MOST_TAKEOVERS = 1_000_000_000;

/**
 * A queue in Redis, by BullMQ, that all servers share. Queued callbacks survive crashes of every
 * sender, and crashes of Redis as far as `appendfsync` guarantees. If Redis may evict callbacks
 * (`maxmemory-policy` is not `noeviction`), the queue accepts none: `send()` rejects, and a process
 * warning says what to change. Callbacks that are already in the queue are still delivered.
 *
 * A callback is a job. Its id is derived from endpoint and event, so adding it twice has no further
 * effect. The job stays until it is delivered or dead, and then for `keepDelivered` or `keepDead`
 * as the log of deliveries. A lane is a sorted set beside the jobs.
 *
 * @example
 * ```ts
 * import { BullmqCallbackQueue } from '@countersign/server/bullmq';
 * import { createCallbackSender } from '@countersign/server/callbacks';
 * import { Redis } from 'ioredis';
 *
 * const redis = new Redis(process.env['REDIS_URL'] ?? 'redis://127.0.0.1:6379');
 * const sender = createCallbackSender({
 *   queue: new BullmqCallbackQueue({ redis, name: 'example' }),
 *   endpoints: () => undefined,
 * });
 * console.assert((await sender.list('dead')).length === 0);
 * await sender.close();
 * redis.disconnect();
 * ```
 * @see docs/callbacks-sending.md, "With BullMQ"
 */
export class BullmqCallbackQueue implements CallbackQueue {
  readonly #settings: BullmqSettings;
  readonly #connection: CheckedRedis;
  readonly #queue: Queue<JobData, DeliveryProgress>;
  readonly #lanes: BullmqLanes;
  readonly #owners: BullmqOwners;
  #workerRedis: Redis | Cluster | undefined;
  #worker: Worker<JobData, DeliveryProgress> | undefined;
  /** Work that is still to be done for finished jobs. `close()` waits for it. */
  readonly #finishing = new Set<Promise<void>>();
  readonly #warnings: OperatorWarnings;

  constructor(options: BullmqCallbackQueueOptions) {
    this.#settings = parseBullmqOptions(options);
    const { redis, name, prefix, timeout, onWarning } = this.#settings;
    this.#warnings = new OperatorWarnings(onWarning);
    // Redis may have executed a command that is sent again. That is safe: every job has an id.
    const own = duplicateForQueue(redis, {
      commandTimeout: timeout * 1000,
      maxRetriesPerRequest: 3,
    });
    this.#connection = new CheckedRedis(own, {
      what: 'callbacks that wait',
      store: 'CALLBACK_QUEUE',
      warnings: this.#warnings,
      consequence: 'send() rejects, and nothing is delivered',
      timeout: timeout * 1000,
      permissions: (own) => refusalOf(own, { prefix: `${prefix}:`, commands: QUEUE_COMMANDS }),
      whenTested: ({ memoryUse }) => this.#recordFill(memoryUse),
    });
    this.#queue = new Queue(name, { connection: own, prefix, skipWaitingForReady: true });
    this.#queue.on('error', this.#warn);
    this.#lanes = new BullmqLanes(own, this.#queue, `${prefix}:${name}-lane:`);
    this.#owners = new BullmqOwners(own, this.#queue, this.#settings);
  }

  /**
   * Waits until Redis is connected and its settings are checked. Call it if your server must not
   * start with a Redis that may lose callbacks. It is not needed before `send()`, which waits by
   * itself.
   *
   * @param seconds how long to wait for a connection: 10 if not given
   * @throws Error that says what is wrong, and what to do
   * @throws RangeError if `seconds` is not from 0 to 3,600
   */
  async ready(seconds = 10): Promise<void> {
    await this.#connection.ready(seconds);
  }

  async add(callback: QueuedCallback): Promise<void> {
    // Add nothing that Redis may evict. Callbacks that are already there are still delivered.
    await this.#connection.connected();
    await this.#explained(this.#add(callback));
  }

  async #add(callback: QueuedCallback): Promise<void> {
    const { id, lane } = callback;
    const { keepDelivered, keepDead } = this.#settings;
    const rank = await this.#owners.reserve(callback).catch((error) => {
      if (isNoAnswer(error)) this.#connection.doubt();
      throw error;
    });
    if (rank === undefined) return;
    // Enter the lane first: a job without a place in it would overtake those before it.
    if (lane !== undefined) await this.#lanes.enter(lane, id);
    await this.#queue.add('callback', toJobData(callback), {
      jobId: id,
      attempts: 1,
      // The first callback of one owner comes before the second of another, even if that owner has
      // sent thousands.
      priority: rank,
      removeOnComplete: { age: keepDelivered.seconds },
      removeOnFail: { age: keepDead.seconds },
      stackTraceLimit: 0,
    });
  }

  start(handle: Handler, concurrency: number): void {
    const { redis, name, prefix, takeOverAfter } = this.#settings;
    this.#workerRedis = duplicateForQueue(redis, { maxRetriesPerRequest: null });
    this.#workerRedis.on('error', this.#warn);
    const lockDuration = Math.ceil(takeOverAfter * 1000);
    this.#worker = new Worker<JobData, DeliveryProgress>(
      name,
      (job, token) => this.#process(job, token as string, handle),
      {
        connection: this.#workerRedis,
        prefix,
        concurrency,
        lockDuration,
        stalledInterval: lockDuration,
        maxStalledCount: MOST_TAKEOVERS,
        runRetryDelay: Math.min(lockDuration, 5_000),
      },
    );
    this.#worker.on('error', this.#warn);
    this.#worker.on('completed', (job) => this.#finish(this.#settle(job, 'completed')));
    this.#worker.on('failed', (job, error) => {
      if (job === undefined) return;
      // If it is not dead, the delivery succeeded and only its record in Redis failed: try again.
      const isDead = error instanceof UnrecoverableError;
      this.#finish(isDead ? this.#settle(job, 'failed') : job.retry('failed'));
    });
  }

  find(id: string): Promise<QueueEntry | undefined> {
    return this.#explained(this.#find(id));
  }

  async #find(id: string): Promise<QueueEntry | undefined> {
    const job = await this.#queue.getJob(id);
    if (job === undefined) return undefined;
    const state = await job.getState();
    return toEntry(job, stateOf(state));
  }

  list(state: DeliveryState, limit: number): Promise<readonly QueueEntry[]> {
    return this.#explained(this.#list(state, limit));
  }

  async #list(state: DeliveryState, limit: number): Promise<readonly QueueEntry[]> {
    const jobs = await this.#queue.getJobs([...STATES[state]], 0, limit - 1, false);
    return jobs
      .filter((job) => job !== undefined)
      .sort((a, b) => (b.finishedOn ?? b.timestamp) - (a.finishedOn ?? a.timestamp))
      .slice(0, limit)
      .map((job) => toEntry(job, state));
  }

  redeliver(id: string): Promise<boolean> {
    return this.#explained(this.#redeliver(id));
  }

  async #redeliver(id: string): Promise<boolean> {
    const job = await this.#queue.getJob(id);
    if (job === undefined) return false;
    const state = await job.getState();
    if (state === 'delayed') {
      await job.promote();
    } else if (state === 'completed' || state === 'failed') {
      const { attempts } = progressOf(job);
      await this.#owners.waitAgain(toCallback(job), state, Math.floor(job.timestamp / 1000));
      await job.updateProgress({ attempts, tried: 0 });
      await job.retry(state);
    }
    return true;
  }

  /**
   * Waits for attempts that run, then closes the queue's own connections. It does not close the
   * connection that you gave.
   */
  async close(): Promise<void> {
    await this.#worker?.close();
    await Promise.all(this.#finishing);
    this.#warnings.close();
    await this.#queue.close();
    this.#workerRedis?.disconnect();
    this.#connection.close();
  }

  /**
   * Hands a job to the handler. It returns if the job is delivered, and throws `UnrecoverableError`
   * if it is dead. In every other case it throws `DelayedError`, which tells BullMQ that the job
   * was moved. If Redis did not answer, the job was not moved: then its lock expires and it is
   * handed out again. So no callback becomes dead by accident.
   */
  async #process(job: CallbackJob, token: string, handle: Handler): Promise<DeliveryProgress> {
    const progress = progressOf(job);
    try {
      const { lane } = job.data;
      if (lane !== undefined && !(await this.#lanes.isFirst(lane, job.id as string))) {
        await job.moveToDelayed(Date.now() + LOOK_AGAIN, token);
        // The one before it may have left since we looked: then its wake-up had no effect.
        if (await this.#lanes.isFirst(lane, job.id as string))
          await job.promote().catch(() => undefined);
        throw new DelayedError();
      }
      const callback = toCallback(job);
      const verdict = await handle(callback, progress);
      if (verdict.progress !== progress) await job.updateProgress(verdict.progress);
      if (verdict.outcome !== 'again') {
        const state = verdict.outcome === 'dead' ? 'failed' : 'completed';
        // If this fails, RESERVE_SCRIPT corrects the count when the owner has too many waiting.
        await this.#owners.leaveWaiting(callback, state).catch(this.#warn);
      }
      if (verdict.outcome === 'delivered') return verdict.progress;
      if (verdict.outcome !== 'again') throw new UnrecoverableError('given up');
      await job.moveToDelayed(Math.max(Date.now() + 1, Math.round(verdict.at * 1000)), token);
    } catch (error) {
      if (error instanceof UnrecoverableError) throw error;
      if (!(error instanceof DelayedError)) this.#warn(error as Error);
    }
    throw new DelayedError();
  }

  /** If the Redis user lacks a permission, the error says which. */
  #explained<T>(work: Promise<T>): Promise<T> {
    return work.catch(async (error) => {
      throw await this.#connection.explain(error);
    });
  }

  #finish(work: Promise<unknown>): void {
    const finishing: Promise<void> = work
      .then(() => undefined, this.#warn)
      .finally(() => this.#finishing.delete(finishing));
    this.#finishing.add(finishing);
  }

  /**
   * Follows up a finished job: wakes the next of its lane, and removes the oldest if the owner has
   * too many finished ones.
   */
  async #settle(job: CallbackJob, state: 'completed' | 'failed'): Promise<void> {
    await this.#lanes.leave(job);
    await this.#owners.keep(toCallback(job), state);
  }

  /** The queue has no bound for all owners together. The memory of Redis is the bound. */
  #recordFill(memoryUse: number): void {
    const message = () =>
      `The Redis of the callback queue is nearly full: it uses ${Math.round(100 * memoryUse)} % of its maxmemory. When it is full, send() rejects: raise maxmemory, or see why callbacks are not delivered`;
    this.#warnings.fill('COUNTERSIGN_CALLBACK_QUEUE_NEARLY_FULL', memoryUse, message);
  }

  readonly #warn = (error: Error): void => {
    // This error also occurs if a job finished just before its lock was renewed, which is harmless.
    // If the lock was really lost, the job is handed out again.
    const isLock = error.message.startsWith('could not renew lock');
    // If Redis does not answer, all connections notice. Only the checked connection reports it.
    if (isLock || isNoAnswer(error)) return;
    const message = `Cannot work with the callback queue in Redis: ${quote(reasonOf(error), 256)}. What failed is tried again`;
    // A missing permission has a warning of its own, from the check of the connection.
    void this.#connection.explain(error).then((why) => {
      if (why === error) this.#warnings.event('COUNTERSIGN_CALLBACK_QUEUE_FAILED', { message });
    });
  };
}
