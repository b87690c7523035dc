import { quote } from '@countersign/shared';
import { DelayedError, type Job, Queue, UnrecoverableError, Worker } from 'bullmq';
import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import {
  OperatorWarnings,
  type WarningHook,
  warningOption,
} from '../../../lib/operator-warning.ts';
import { parseOptions } from '../../../lib/options.ts';
import { TestedRedis } from '../../../lib/redis/checked-redis.ts';
import { redisOption } from '../../../lib/redis/own-connection.ts';
import { isNoAnswer, reasonOf } from '../../../lib/redis/reachable.ts';
import { refusalOf } from '../../../lib/redis/redis-permissions.ts';
import { QUEUE_COMMANDS } from './bullmq-commands.ts';
import type {
  CallbackQueue,
  DeliveryProgress,
  DeliveryState,
  Handler,
  QueuedCallback,
  QueueEntry,
} from './callback-queue.ts';
import { NO_PROGRESS, OWNERS_IN_ALL, ownerOf } from './callback-queue.ts';
import { ENTER_LANE_SCRIPT, FIRST_OF_LANE_SCRIPT } from './lane-scripts.ts';
import { FINISH_SCRIPT, KEEP_SCRIPT, RESERVE_SCRIPT } from './owner-scripts.ts';

/** What a queue in Redis is built from. Times in seconds. */
export interface BullmqCallbackQueueOptions {
  /** A connection of ioredis; the queue makes its own of it. Redis must keep what it is given: `appendonly yes`, `maxmemory-policy noeviction`. */
  readonly redis: Redis | Cluster;
  /** `callbacks` if not given. */
  readonly name?: string | undefined;
  /** What its keys begin with: `{countersign}` if not given. In a cluster its braces keep them together. */
  readonly prefix?: string | undefined;
  /** After which `send` gives up where Redis does not answer: 5 if not given. */
  readonly timeout?: number | undefined;
  /** After which what a process had that was killed is handed out again: 30 if not given. */
  readonly takeOverAfter?: number | undefined;
  /** The most callbacks of one owner that wait at once: 25,000 if not given. More are refused. */
  readonly maxWaitingPerOwner?: number | undefined;
  /**
   * For how long, and how many of one owner, delivered callbacks are remembered: by them it is noticed that an event is sent again. A day and 2,500. Of all owners
   * together four times as many are remembered; beyond that the owner with the most loses its oldest.
   */
  readonly keepDelivered?:
    | { readonly seconds?: number | undefined; readonly count?: number | undefined }
    | undefined;
  /** The same for those that were given up: 30 days and 25,000. */
  readonly keepDead?:
    | { readonly seconds?: number | undefined; readonly count?: number | undefined }
    | undefined;
  /**
   * Called if Redis is unfit, unreachable or nearly full, or fails. If not given, process warnings say so. See docs/errors.md,
   * "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const keepSchema = (seconds: number, count: number) =>
  z
    .strictObject({
      seconds: z.int().min(1).default(seconds),
      count: z.int().min(1).max(100_000_000).default(count),
    })
    .prefault({});

const optionsSchema = z.strictObject({
  redis: redisOption,
  name: z
    .string()
    .regex(/^[\w-]{1,64}$/, 'letters, digits, "_" and "-"')
    .default('callbacks'),
  prefix: z.string().min(1).max(128).default('{countersign}'),
  timeout: z.number().positive().max(60).default(5),
  takeOverAfter: z.number().min(0.2).max(600).default(30),
  // BullMQ counts priorities so far.
  maxWaitingPerOwner: z.int().min(1).max(2_097_151).default(25_000),
  keepDelivered: keepSchema(86_400, 2_500),
  keepDead: keepSchema(30 * 86_400, 25_000),
  onWarning: warningOption,
});

/** What a job holds: neither a URL nor a secret. */
interface JobData {
  readonly endpointId: string;
  readonly eventId: string;
  readonly contentType: string;
  /** Base64. */
  readonly body: string;
  readonly createdAt: number;
  readonly lane?: string;
  readonly owner?: string;
}

interface Commands {
  enterLane(lane: string, id: string): Promise<number>;
  firstOfLane(lane: string, id: string): Promise<[first?: string, seconds?: number]>;
  reserve(...keysAndArgs: (string | number)[]): Promise<number>;
  finish(waiting: string, finishing: string, id: string): Promise<unknown>;
  keep(...keysAndArgs: (string | number)[]): Promise<unknown>;
}

type CallbackJob = Job<JobData, DeliveryProgress>;

/** Milliseconds: who is not the first of its lane is called when it is; where that call is lost it looks itself. */
const LOOK_AGAIN = 5_000;
/** Seconds in a lane, or among those that wait, after which one without a job was never queued: its sender was killed in between, and has not heard that it was. */
const GHOST_AFTER = 60;
/** Not once, as BullMQ has it: a callback is not to blame for the servers that were killed while they sent it. */
const MOST_TAKEOVERS = 1_000_000_000;

/**
 * A queue in Redis, by BullMQ, that all servers share: what it has taken in survives crashes of every sender, and of Redis as far as `appendfsync` says.
 * It takes nothing in if Redis may forget it (`maxmemory-policy` must be `noeviction`): `send()` rejects, and a process warning says what to change.
 * What is in the queue already is still delivered.
 *
 * A callback is a job whose id is derived of endpoint and event, so adding it twice is adding it once. The job stays until it is delivered or given up, and
 * a while longer as the log of deliveries. A lane is a sorted set beside it.
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
  readonly #options: z.output<typeof optionsSchema>;
  readonly #connection: TestedRedis;
  readonly #redis: (Redis | Cluster) & Commands;
  readonly #queue: Queue<JobData, DeliveryProgress>;
  #workerRedis: Redis | Cluster | undefined;
  #worker: Worker<JobData, DeliveryProgress> | undefined;
  /** What is still to be done for jobs that are finished. */
  readonly #finishing = new Set<Promise<void>>();
  readonly #warnings: OperatorWarnings;

  constructor(options: BullmqCallbackQueueOptions) {
    this.#options = parseOptions('BullMQ callback queue', optionsSchema, options);
    const { redis, name, prefix, timeout, onWarning } = this.#options;
    this.#warnings = new OperatorWarnings(onWarning);
    // To send again what may have been executed is safe here: all that is added has an id.
    const own = duplicate(redis, {
      commandTimeout: timeout * 1000,
      maxRetriesPerRequest: 3,
    }) as (Redis | Cluster) & Commands;
    own.defineCommand('enterLane', { numberOfKeys: 1, lua: ENTER_LANE_SCRIPT });
    own.defineCommand('firstOfLane', { numberOfKeys: 1, lua: FIRST_OF_LANE_SCRIPT });
    own.defineCommand('reserve', { numberOfKeys: 2, lua: RESERVE_SCRIPT });
    own.defineCommand('finish', { numberOfKeys: 2, lua: FINISH_SCRIPT });
    own.defineCommand('keep', { numberOfKeys: 4, lua: KEEP_SCRIPT });
    this.#redis = own;
    this.#connection = new TestedRedis(own, {
      what: 'callbacks that wait',
      store: 'CALLBACK_QUEUE',
      warnings: this.#warnings,
      consequence: 'send() rejects, and nothing is delivered',
      timeout: timeout * 1000,
      permissions: (own) => refusalOf(own, { prefix: `${prefix}:`, commands: QUEUE_COMMANDS }),
      whenTested: ({ memoryUse }) => this.#noteFill(memoryUse),
    });
    this.#queue = new Queue(name, { connection: own, prefix, skipWaitingForReady: true });
    this.#queue.on('error', this.#warn);
  }

  /**
   * Waits until Redis can be relied on. Not needed before `send()`, which waits by itself: for a server that should not start
   * with a Redis that is not fit for callbacks that wait.
   *
   * @param seconds for how long to wait for a connection: 10 if not given
   * @throws Error that says what is wrong, and what to do
   * @throws RangeError if `seconds` is not from 0 to 3,600
   */
  async ready(seconds = 10): Promise<void> {
    await this.#connection.ready(seconds);
  }

  async add(callback: QueuedCallback): Promise<void> {
    // A callback that Redis may forget was not taken in. What is there already is delivered all the same.
    await this.#connection.connected();
    await this.#explained(this.#add(callback));
  }

  async #add(callback: QueuedCallback): Promise<void> {
    const { id, body, lane, owner, ...rest } = callback;
    const { keepDelivered, keepDead } = this.#options;
    const rank = await this.#reserve(callback).catch((error) => {
      if (isNoAnswer(error)) this.#connection.doubt();
      throw error;
    });
    if (rank === undefined) return;
    // First the place: a job without one would overtake those before it.
    if (lane !== undefined) await this.#redis.enterLane(this.#laneKey(lane), id);
    const data = {
      ...rest,
      body: Buffer.from(body).toString('base64'),
      ...(lane === undefined ? {} : { lane }),
      ...(owner === undefined ? {} : { owner }),
    };
    await this.#queue.add('callback', data, {
      jobId: id,
      attempts: 1,
      // The first callback of one owner comes before the second of another, however many that one has sent.
      priority: rank,
      removeOnComplete: { age: keepDelivered.seconds },
      removeOnFail: { age: keepDead.seconds },
      stackTraceLimit: 0,
    });
  }

  start(handle: Handler, concurrency: number): void {
    const { redis, name, prefix, takeOverAfter } = this.#options;
    this.#workerRedis = duplicate(redis, { maxRetriesPerRequest: null });
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
    return toEntry(job, STATE_OF[state] ?? 'waiting');
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
      const owner = ownerOf(toCallback(job));
      await this.#redis.zrem(this.#finishedKey(state, owner), id);
      await this.#redis.zadd(this.#waitingKey(owner), Math.floor(job.timestamp / 1000), id);
      await job.updateProgress({ attempts, tried: 0 });
      await job.retry(state);
    }
    return true;
  }

  /** Waits for attempts that are under way, then ends the queue's own connections, not the one that it was given. */
  async close(): Promise<void> {
    await this.#worker?.close();
    await Promise.all(this.#finishing);
    this.#warnings.close();
    await this.#queue.close();
    this.#workerRedis?.disconnect();
    this.#connection.close();
  }

  /**
   * Hands a job out. It leaves this method as delivered, or given up (`UnrecoverableError`); all else leaves it as `DelayedError`, which says to BullMQ that the
   * job was moved. Where it was not, because Redis could not be asked, its lock runs out and it is handed out again: nothing is given up by accident.
   */
  async #process(job: CallbackJob, token: string, handle: Handler): Promise<DeliveryProgress> {
    const progress = progressOf(job);
    try {
      const { lane } = job.data;
      if (lane !== undefined && !(await this.#isFirst(lane, job.id as string))) {
        await job.moveToDelayed(Date.now() + LOOK_AGAIN, token);
        // The one before it may have left since it was looked: then it has called in vain.
        if (await this.#isFirst(lane, job.id as string)) await job.promote().catch(() => undefined);
        throw new DelayedError();
      }
      const callback = toCallback(job);
      const verdict = await handle(callback, progress);
      if (verdict.progress !== progress) await job.updateProgress(verdict.progress);
      if (verdict.outcome !== 'again') await this.#leaveWaiting(callback, verdict.outcome);
      if (verdict.outcome === 'delivered') return verdict.progress;
      if (verdict.outcome !== 'again') throw new UnrecoverableError('given up');
      await job.moveToDelayed(Math.max(Date.now() + 1, Math.round(verdict.at * 1000)), token);
    } catch (error) {
      if (error instanceof UnrecoverableError) throw error;
      if (!(error instanceof DelayedError)) this.#warn(error as Error);
    }
    throw new DelayedError();
  }

  /**
   * Takes a place among those that wait for the owner, before the job is added: so that two who send at once do not both get the last one.
   *
   * @returns how many of the owner wait; `undefined` if the callback is known
   */
  async #reserve(callback: QueuedCallback): Promise<number | undefined> {
    const { maxWaitingPerOwner } = this.#options;
    const owner = ownerOf(callback);
    const keys = [this.#waitingKey(owner), this.#queue.toKey(callback.id)];
    const jobs = this.#queue.toKey('');
    const rank = await this.#redis.reserve(
      ...keys,
      ...[callback.id, maxWaitingPerOwner, jobs, GHOST_AFTER],
    );
    if (rank === 0)
      throw new Error(
        `Cannot queue callback: ${maxWaitingPerOwner} wait already for owner ${quote(owner)}: raise maxWaitingPerOwner of BullmqCallbackQueue to allow more`,
      );
    return rank < 0 ? undefined : rank;
  }

  /** What goes wrong here is put right when the owner has too many waiting. */
  async #leaveWaiting(callback: QueuedCallback, outcome: 'delivered' | 'dead'): Promise<void> {
    const finishing = this.#key('finishing', outcome === 'dead' ? 'failed' : 'completed');
    const waiting = this.#waitingKey(ownerOf(callback));
    await this.#redis.finish(waiting, finishing, callback.id).catch(this.#warn);
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

  /** A job is finished: the next of its lane may come, and the owner may have too many finished ones. */
  async #settle(job: CallbackJob, state: 'completed' | 'failed'): Promise<void> {
    await this.#leaveLane(job);
    const { seconds, count } = this.#options[state === 'failed' ? 'keepDead' : 'keepDelivered'];
    const callback = toCallback(job);
    const { id } = callback;
    const owner = ownerOf(callback);
    const jobs = this.#queue.toKey('');
    const owned = this.#finishedKey(state, '');
    await this.#redis.keep(
      ...[`${owned}${owner}`, this.#key('owners', state)],
      ...[this.#queue.toKey(state), this.#key('finishing', state)],
      ...[id, owner, count, OWNERS_IN_ALL * count, seconds, jobs, owned],
    );
  }

  /** Whether it is its turn; also where it is in no lane, because it was ordered again. Who is before it, but finished, is removed. */
  async #isFirst(lane: string, id: string): Promise<boolean> {
    for (;;) {
      const [first, seconds = 0] = await this.#redis.firstOfLane(this.#laneKey(lane), id);
      if (first === undefined || first === id) return true;
      const state = await this.#queue.getJobState(first);
      const isGone = state === 'completed' || state === 'failed';
      if (!isGone && !(state === 'unknown' && seconds > GHOST_AFTER)) return false;
      await this.#redis.zrem(this.#laneKey(lane), first);
    }
  }

  async #leaveLane({ id, data: { lane } }: CallbackJob): Promise<void> {
    if (lane === undefined) return;
    await this.#redis.zrem(this.#laneKey(lane), id as string);
    const [next] = await this.#redis.zrange(this.#laneKey(lane), '0', '0');
    const job = next === undefined ? undefined : await this.#queue.getJob(next);
    // Where it is not delayed it is on its way.
    await job?.promote().catch(() => undefined);
  }

  #laneKey(lane: string): string {
    const { prefix, name } = this.#options;
    return `${prefix}:${name}-lane:${lane}`;
  }

  #waitingKey(owner: string): string {
    return this.#key('waiting', owner);
  }

  #finishedKey(state: 'completed' | 'failed', owner: string): string {
    return this.#key(state, owner);
  }

  /** No queue has a "." in its name: so none has such a key. */
  #key(what: string, of: string): string {
    const { prefix, name } = this.#options;
    return `${prefix}:${name}.${what}:${of}`;
  }

  /** The queue has no bound for all owners together: the memory of Redis is that. */
  #noteFill(memoryUse: number): void {
    const message = () =>
      `The Redis of the callback queue is nearly full: it uses ${Math.round(100 * memoryUse)} % of its maxmemory. When it is full, send() rejects: raise maxmemory, or see why callbacks are not delivered`;
    this.#warnings.fill('COUNTERSIGN_CALLBACK_QUEUE_NEARLY_FULL', memoryUse, message);
  }

  readonly #warn = (error: Error): void => {
    // Also where a job was finished just as its lock was to be renewed; where it was not, it is handed out again.
    const isLock = error.message.startsWith('could not renew lock');
    // A Redis that gives no answer is the same for all connections: the one that is tested reports it.
    if (isLock || isNoAnswer(error)) return;
    const message = `Cannot work with the callback queue in Redis: ${quote(reasonOf(error), 256)}. What failed is tried again`;
    // What the user of the queue may not do is told by the test, as a warning of its own.
    void this.#connection.explain(error).then((why) => {
      if (why === error) this.#warnings.event('COUNTERSIGN_CALLBACK_QUEUE_FAILED', { message });
    });
  };
}

const STATES = {
  waiting: ['delayed', 'prioritized', 'waiting', 'active'],
  delivered: ['completed'],
  dead: ['failed'],
} as const;
const STATE_OF: Partial<Record<string, DeliveryState>> = { completed: 'delivered', failed: 'dead' };

function toEntry(job: CallbackJob, state: DeliveryState): QueueEntry {
  return { callback: toCallback(job), progress: progressOf(job), state };
}

function toCallback({ id, data: { body, ...rest } }: CallbackJob): QueuedCallback {
  return { ...rest, id: id as string, body: Buffer.from(body, 'base64') };
}

function progressOf({ progress }: CallbackJob): DeliveryProgress {
  return typeof progress === 'object' && 'attempts' in progress
    ? (progress as unknown as DeliveryProgress)
    : NO_PROGRESS;
}

/** A connection of the queue's own, which comes back for ever. */
function duplicate(
  redis: Redis | Cluster,
  given: { readonly maxRetriesPerRequest: number | null; readonly commandTimeout?: number },
): Redis | Cluster {
  const retryStrategy = (attempts: number) => Math.min(50 * attempts, 1_000);
  const settings = { ...given, lazyConnect: false, enableOfflineQueue: true, retryStrategy };
  if (!redis.isCluster) return (redis as Redis).duplicate(settings);
  return (redis as Cluster).duplicate([], {
    clusterRetryStrategy: retryStrategy,
    redisOptions: { ...(redis as Cluster).options.redisOptions, ...settings },
  } as Parameters<Cluster['duplicate']>[1]);
}
