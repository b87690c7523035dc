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
 * Milliseconds: who is not the first of its lane is called when it is; where that call is lost it
 * looks itself.
 */
const LOOK_AGAIN = 5_000;
/**
 * Not once, as BullMQ has it: a callback is not to blame for the servers that were killed while
 * they sent it.
 */
const MOST_TAKEOVERS = 1_000_000_000;

/**
 * A queue in Redis, by BullMQ, that all servers share: what it has taken in survives crashes of
 * every sender, and of Redis as far as `appendfsync` says. It takes nothing in if Redis may forget
 * it (`maxmemory-policy` must be `noeviction`): `send()` rejects, and a process warning says what
 * to change. What is in the queue already is still delivered.
 *
 * A callback is a job whose id is derived of endpoint and event, so adding it twice is adding it
 * once. The job stays until it is delivered or given up, and a while longer as the log of
 * deliveries. A lane is a sorted set beside it.
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
  /** What is still to be done for jobs that are finished. */
  readonly #finishing = new Set<Promise<void>>();
  readonly #warnings: OperatorWarnings;

  constructor(options: BullmqCallbackQueueOptions) {
    this.#settings = parseBullmqOptions(options);
    const { redis, name, prefix, timeout, onWarning } = this.#settings;
    this.#warnings = new OperatorWarnings(onWarning);
    // To send again what may have been executed is safe here: all that is added has an id.
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
   * Waits until Redis can be relied on. Not needed before `send()`, which waits by itself: for a
   * server that should not start with a Redis that is not fit for callbacks that wait.
   *
   * @param seconds for how long to wait for a connection: 10 if not given
   * @throws Error that says what is wrong, and what to do
   * @throws RangeError if `seconds` is not from 0 to 3,600
   */
  async ready(seconds = 10): Promise<void> {
    await this.#connection.ready(seconds);
  }

  async add(callback: QueuedCallback): Promise<void> {
    // A callback that Redis may forget was not taken in. What is there already is delivered all the
    // same.
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
    // First the place: a job without one would overtake those before it.
    if (lane !== undefined) await this.#lanes.enter(lane, id);
    await this.#queue.add('callback', toJobData(callback), {
      jobId: id,
      attempts: 1,
      // The first callback of one owner comes before the second of another, however many that one
      // has sent.
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
      // It was not given up: what failed is to write down that it was delivered.
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
   * Waits for attempts that are under way, then ends the queue's own connections, not the one that
   * it was given.
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
   * Hands a job out. It leaves this method as delivered, or given up (`UnrecoverableError`); all
   * else leaves it as `DelayedError`, which says to BullMQ that the job was moved. Where it was
   * not, because Redis could not be asked, its lock runs out and it is handed out again: nothing is
   * given up by accident.
   */
  async #process(job: CallbackJob, token: string, handle: Handler): Promise<DeliveryProgress> {
    const progress = progressOf(job);
    try {
      const { lane } = job.data;
      if (lane !== undefined && !(await this.#lanes.isFirst(lane, job.id as string))) {
        await job.moveToDelayed(Date.now() + LOOK_AGAIN, token);
        // The one before it may have left since it was looked: then it has called in vain.
        if (await this.#lanes.isFirst(lane, job.id as string))
          await job.promote().catch(() => undefined);
        throw new DelayedError();
      }
      const callback = toCallback(job);
      const verdict = await handle(callback, progress);
      if (verdict.progress !== progress) await job.updateProgress(verdict.progress);
      if (verdict.outcome !== 'again') {
        const state = verdict.outcome === 'dead' ? 'failed' : 'completed';
        // What goes wrong here is put right when the owner has too many waiting.
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

  /** Says what the user of the queue may not do, if that is why it failed. */
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
   * A job is finished: the next of its lane may come, and the owner may have too many finished
   * ones.
   */
  async #settle(job: CallbackJob, state: 'completed' | 'failed'): Promise<void> {
    await this.#lanes.leave(job);
    await this.#owners.keep(toCallback(job), state);
  }

  /** The queue has no bound for all owners together: the memory of Redis is that. */
  #recordFill(memoryUse: number): void {
    const message = () =>
      `The Redis of the callback queue is nearly full: it uses ${Math.round(100 * memoryUse)} % of its maxmemory. When it is full, send() rejects: raise maxmemory, or see why callbacks are not delivered`;
    this.#warnings.fill('COUNTERSIGN_CALLBACK_QUEUE_NEARLY_FULL', memoryUse, message);
  }

  readonly #warn = (error: Error): void => {
    // Also where a job was finished just as its lock was to be renewed; where it was not, it is
    // handed out again.
    const isLock = error.message.startsWith('could not renew lock');
    // A Redis that gives no answer is the same for all connections: the one that is tested reports
    // it.
    if (isLock || isNoAnswer(error)) return;
    const message = `Cannot work with the callback queue in Redis: ${quote(reasonOf(error), 256)}. What failed is tried again`;
    // What the user of the queue may not do is told by the test, as a warning of its own.
    void this.#connection.explain(error).then((why) => {
      if (why === error) this.#warnings.event('COUNTERSIGN_CALLBACK_QUEUE_FAILED', { message });
    });
  };
}
