import { hash, randomBytes } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import { OperatorWarnings, type WarningHook, warningOption } from '../../lib/operator-warning.ts';
import { clockOption, parseOptions } from '../../lib/options.ts';
import { TestedRedis } from '../../lib/redis/checked-redis.ts';
import { evalAndWait, tellLack, type Waited } from '../../lib/redis/eval-and-wait.ts';
import { duplicate, redisOption } from '../../lib/redis/own-connection.ts';
import { isLost, noAnswer } from '../../lib/redis/reachable.ts';
import { commandsOf } from '../../lib/redis/redis-commands.ts';
import { refusalOf } from '../../lib/redis/redis-permissions.ts';
import { NEVER_EVICTED } from '../../lib/redis/self-test.ts';
import {
  CLOCK_SLACK,
  type ClaimOutcome,
  hasTimes,
  type NonceClaim,
  type NonceStore,
} from '../../verify/nonce-store.ts';
import { WidestLimits } from '../widest-limits.ts';
import { CHARGE_SCRIPT } from './charge-script.ts';
import { CLAIM_SCRIPT } from './claim-script.ts';
import { type Account, type Charge, NonceCharges } from './nonce-charges.ts';
import { RedisNonceWarnings } from './redis-nonce-warnings.ts';
import { RedisPartition } from './redis-partition.ts';
import { parseReply, REPLICA, type ScriptReply } from './redis-reply.ts';

export interface RedisNonceStoreOptions {
  /** A connection of ioredis. The store makes one of its own of it, at once, with the settings that nonces need. */
  readonly redis: Redis | Cluster;
  /** What the names of the store's keys begin with: `countersign:nonces` if not given. */
  readonly prefix?: string | undefined;
  /** Seconds for which a claim waits for Redis, all in all: 0.4 if not given. */
  readonly timeout?: number | undefined;
  /**
   * How many replicas must have a claim before it counts, so that none is lost where one of them takes over. If not given: one
   * where this store has seen Redis have any, none otherwise. `0` where that is known to be wrong: a failover may then let a request
   * in twice.
   */
  readonly waitForReplicas?: number | undefined;
  /**
   * Seconds by which the clocks of servers and Redis may differ: 1 if not given. Where they differ by more, nothing is claimed. The
   * same on all servers.
   */
  readonly slack?: number | undefined;
  /**
   * The most live nonces of one subject, and as many of its one-time presigned URLs. Beyond it the subject is refused,
   * `ERR_TOO_MANY_REQUESTS`, and others are not. If not given: 250,000, which is 1,800 requests a second, or fewer if both together
   * could take more than a quarter of the `maxmemory` of Redis. Raise it if one key makes most requests. The same on all servers.
   */
  readonly perSubject?: number | undefined;
  /** Unix seconds, by the clock of this server; the system's if not given. */
  readonly clock?: (() => number) | undefined;
  /**
   * Called if the operator must know something of Redis: it is unfit or unreachable, it refuses claims, its clock is apart, or a new
   * epoch began. If not given, process warnings say so. See docs/errors.md, "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const optionsSchema = z.strictObject({
  redis: redisOption,
  prefix: z.string().min(1).default('countersign:nonces'),
  timeout: z.number().min(0.05).max(10).default(0.4),
  waitForReplicas: z.int().min(0).max(100).optional(),
  slack: z.number().min(0.01).max(60).default(CLOCK_SLACK),
  perSubject: z.int().min(1).max(1_000_000_000).optional(),
  clock: clockOption,
  onWarning: warningOption,
});

const PER_SUBJECT = 250_000;

/** Bytes that a nonce takes in Redis at most, while the tables of Redis grow. */
const NONCE_BYTES = 192;

/** Access keys are spread over this many sorted sets in a cluster, so that its nodes share the work; each has an epoch of its own. */
const CLUSTER_PARTITIONS = 16;

/** What the user of the store must be allowed to run. */
const COMMANDS = ['EVAL', 'EVALSHA', 'INFO', ...commandsOf(CLAIM_SCRIPT, CHARGE_SCRIPT)];

/** How many clock slacks may pass without an acknowledgement. Fewer than the two for which a birth is uncertain. */
const LEASE = 1.5;

/** The scripts, as ioredis makes commands of them. */
interface NonceCommands {
  claimNonce(key: string, ...args: (string | number)[]): Promise<unknown>;
  chargeOwner(key: string, ...args: (string | number)[]): Promise<unknown>;
}

/** What the script decides on. */
interface NamedClaim
  extends Pick<NonceClaim, 'signedAt' | 'acceptableFrom' | 'acceptableUntil' | 'presigned'> {
  readonly epoch?: string | undefined;
  /** What stands for the nonce. */
  readonly name: string;
  /** The owner whose earlier requests are refused if this one finds no room; empty for a presigned URL. */
  readonly owner: string;
  /** Seconds until the owner has room again; 0 if it has. */
  readonly fullFor: number;
  /** What stands for the audience. */
  readonly limitsOf: string;
  /** Milliseconds: the widest that are known of the audience. */
  readonly window: number;
  readonly ahead: number;
}

const NO_CLAIM: NamedClaim = {
  signedAt: 0,
  acceptableFrom: 0,
  acceptableUntil: 0,
  name: '',
  owner: '',
  fullFor: 0,
  limitsOf: '',
  window: 0,
  ahead: 0,
};

/**
 * Nonces in Redis, 6.2 or newer, or Valkey: for all servers that share keys. One script decides each claim, on the
 * clock of Redis, so of any number of copies sent to any number of servers exactly one is claimed.
 *
 * Where Redis has lost its memory, or part of it, the store refuses what it cannot vouch for, and says so. Where Redis cannot
 * be relied on, every claim is rejected: {@link RedisNonceStore.ready} tells why, and so does a process warning.
 *
 * @example
 * ```ts no-run
 * import { RedisNonceStore } from '@countersign/server/redis';
 * import { Redis } from 'ioredis';
 *
 * const nonces = new RedisNonceStore({ redis: new Redis('redis://127.0.0.1:6379') });
 * await nonces.ready();
 * ```
 * @see docs/replay.md
 */
export class RedisNonceStore implements NonceStore {
  readonly #connection: TestedRedis;
  readonly #redis: (Redis | Cluster) & NonceCommands;
  readonly #epochs = randomBytes(12).toString('base64url');
  readonly #prefix: string;
  readonly #timeout: number;
  readonly #slack: number;
  readonly #clock: () => number;
  readonly #waitForReplicas: number | undefined;
  readonly #perSubject: number | undefined;
  readonly #partitions: readonly RedisPartition[];
  readonly #beat: NodeJS.Timeout;
  readonly #warnings: RedisNonceWarnings;
  readonly #charges = new NonceCharges();
  readonly #limits = new WidestLimits();
  #lastAudience: { readonly audience?: string; readonly name: string } = { name: '' };
  #calls = 0;

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: RedisNonceStoreOptions) {
    const { redis, prefix, timeout, waitForReplicas, slack, perSubject, clock, onWarning } =
      parseOptions('RedisNonceStore', optionsSchema, options);
    this.#prefix = prefix;
    this.#timeout = timeout * 1000;
    this.#slack = slack;
    this.#clock = clock;
    this.#waitForReplicas = waitForReplicas;
    this.#perSubject = perSubject;
    this.#partitions = Array.from(
      { length: redis.isCluster ? CLUSTER_PARTITIONS : 1 },
      (_, partition) => new RedisPartition(`${prefix}:${partition}`),
    );
    const warnings = new OperatorWarnings(onWarning);
    this.#warnings = new RedisNonceWarnings(warnings, this.#partitions, prefix, slack);
    this.#connection = new TestedRedis(duplicate(redis, this.#timeout), {
      what: 'nonces',
      store: 'NONCE_STORE',
      warnings,
      consequence: 'Requests are answered 503',
      timeout: this.#timeout,
      policies: NEVER_EVICTED,
      permissions: (own, hasReplicas) => {
        const waits = (waitForReplicas ?? (hasReplicas ? 1 : 0)) > 0;
        const commands = waits ? [...COMMANDS, 'WAIT'] : COMMANDS;
        return refusalOf(own, { prefix: `${prefix}:`, commands });
      },
      whenFit: () => {
        for (const partition of this.#partitions) this.#lookUp(partition);
      },
    });
    this.#redis = this.#connection.redis as (Redis | Cluster) & NonceCommands;
    this.#redis.defineCommand('claimNonce', { numberOfKeys: 1, lua: CLAIM_SCRIPT });
    this.#redis.defineCommand('chargeOwner', { numberOfKeys: 1, lua: CHARGE_SCRIPT });
    this.#beat = setInterval(() => this.#watchQuiet(), (slack * 1000) / 4).unref();
  }

  /**
   * Waits until the store can be relied on. Not needed before claims, which wait by themselves: for a server that should
   * not start with a Redis that is not fit for nonces.
   *
   * @param seconds for how long to wait for a connection: 10 if not given
   * @throws Error that says what is wrong, and what to do
   * @throws RangeError if `seconds` is not from 0 to 3,600
   */
  async ready(seconds = 10): Promise<void> {
    await this.#connection.ready(seconds, () =>
      Promise.all(this.#partitions.map((partition) => this.#watch(partition))),
    );
  }

  /** Claims a nonce. Rejects where Redis fails, or does not answer in time. */
  async claim(claim: NonceClaim): Promise<ClaimOutcome> {
    const { accessKeyId, audience, nonce } = claim;
    const name = hash('sha256', `${audience}\n${accessKeyId}\n${nonce}`, 'base64url').slice(0, 22);
    const partition = this.#partitionOf(accessKeyId);
    this.#connection.checkOpen();
    partition.check();
    try {
      return await this.#within(this.#claim(partition, name, claim));
    } catch (error) {
      const why = await this.#connection.explain(error);
      partition.fail(why);
      this.#noteFailure(partition, why);
      throw why;
    }
  }

  /** Closes the store's own connection, not the one that it was given. What is claimed from then on is rejected. */
  async close(): Promise<void> {
    clearInterval(this.#beat);
    this.#connection.close();
  }

  /** The most live nonces of one owner. */
  get #limit(): number {
    // Requests and presigned URLs together: half of a quarter for each.
    const fitting = Math.floor(this.#connection.maxMemory / 8 / NONCE_BYTES);
    return this.#perSubject ?? Math.max(1, Math.min(PER_SUBJECT, fitting));
  }

  /** What stands for an audience in Redis. There are few: they come from options. */
  #nameOf(audience: string): string {
    if (this.#lastAudience.audience !== audience) {
      const name = hash('sha256', audience, 'base64url').slice(0, 22);
      this.#lastAudience = { audience, name };
    }
    return this.#lastAudience.name;
  }

  #partitionOf(accessKeyId: string): RedisPartition {
    const { length } = this.#partitions;
    const index =
      length === 1 ? 0 : Number.parseInt(hash('sha256', accessKeyId).slice(0, 4), 16) % length;
    return this.#partitions[index] as RedisPartition;
  }

  async #claim(partition: RedisPartition, name: string, claim: NonceClaim): Promise<ClaimOutcome> {
    await this.#connection.connected();
    const limit = this.#limit;
    const { audience } = claim;
    const isDated = hasTimes(claim);
    const { window, ahead } = isDated ? this.#limits.note(claim) : NO_CLAIM;
    // Each field by its name: to spread the claim would cost as much as a hash.
    const { signedAt, acceptableFrom, acceptableUntil, epoch: echoed, presigned } = claim;
    const limitsOf = this.#nameOf(audience);
    const named: NamedClaim = {
      signedAt,
      acceptableFrom,
      acceptableUntil,
      epoch: echoed,
      presigned,
      name,
      owner: '',
      fullFor: 0,
      limitsOf,
      window: milliseconds(window, 1e9),
      ahead: milliseconds(ahead, 1e6),
    };
    const until = Math.max(claim.acceptableUntil, claim.signedAt + window);
    // A claim without times is refused, so it counts for no owner.
    const reply = isDated
      ? await this.#claimCounted(partition, named, this.#charges.accountOf(claim), until, limit)
      : await this.#ask(partition, named);
    this.#limits.widen(audience, { window: reply.window / 1000, ahead: reply.ahead / 1000 });
    const { outcome, epoch, wait } = reply;
    if (outcome === 'pending' || outcome === 'alive')
      throw new Error('The replicas of Redis have not acknowledged that the store began anew');
    if (outcome === 'uncertain') return { outcome, epoch, retryAfter: wait };
    if (outcome === 'exhausted') return { outcome, epoch, retryAfter: wait, limit };
    return { outcome, epoch };
  }

  /**
   * Claims a nonce that counts for its owner, and counts what the owner has claimed if it is time for that.
   *
   * @param until Unix seconds: for how long the nonce is remembered
   */
  async #claimCounted(
    partition: RedisPartition,
    named: NamedClaim,
    account: Account,
    until: number,
    limit: number,
  ): Promise<ScriptReply> {
    const isPresigned = named.presigned === true;
    const charge = this.#charges.take(account, { until, isPresigned, limit });
    const fullFor = charge === undefined ? 0 : await this.#count(account, charge, limit);
    if (charge !== undefined && fullFor > 0) this.#charges.add(account, charge);
    let reply: ScriptReply | undefined;
    try {
      const owner = isPresigned ? '' : account.name;
      reply = await this.#ask(partition, { ...named, owner, fullFor });
      return reply;
    } finally {
      // If the answer was lost the nonce may be there, unless there was no room.
      const mayBeThere = fullFor === 0 && (reply?.outcome ?? 'claimed') === 'claimed';
      if (!mayBeThere && charge !== undefined && fullFor === 0)
        // In Redis, too: kept for a later nonce, the count would end before that one does.
        await this.#count(account, { ...charge, count: -1 }, limit);
      else if (!mayBeThere) account.uncounted -= 1;
    }
  }

  /**
   * Counts nonces of an owner in Redis.
   *
   * @returns the seconds until the owner has room for the nonce that is claimed next; 0 if it has
   */
  async #count({ name }: Account, { count, until }: Charge, limit: number): Promise<number> {
    const key = `${this.#prefix}:${name}`;
    const counting = this.#redis.chargeOwner(key, count, until, limit, this.#slack);
    // In a cluster the count may be where a master is gone, and the nonces are not: then they are claimed uncounted.
    const fullFor = await this.#within(counting, this.#timeout / 4).catch(() => 0);
    return typeof fullFor === 'number' && fullFor > 0 ? fullFor : 0;
  }

  /** Claims a nonce, and confirms the epoch before if need be. */
  async #ask(partition: RedisPartition, named: NamedClaim): Promise<ScriptReply> {
    const reply = await this.#call(partition, named);
    if (reply.outcome !== 'pending') return reply;
    await this.#call(partition, NO_CLAIM, true);
    return this.#call(partition, named);
  }

  /** One call of the script: a claim, or one that only looks after the partition. */
  async #call(
    partition: RedisPartition,
    {
      name,
      signedAt,
      acceptableFrom,
      acceptableUntil,
      epoch = '',
      owner,
      fullFor,
      limitsOf,
      window,
      ahead,
    }: NamedClaim,
    confirms = false,
  ): Promise<ScriptReply> {
    const replicas = this.#waitForReplicas ?? (this.#connection.hasReplicas ? 1 : 0);
    const args: (string | number)[] = [name, signedAt, acceptableFrom, acceptableUntil, epoch];
    args.push(this.#newEpoch(), partition.seen, this.#clock(), this.#timeout / 1000, this.#slack);
    args.push(owner, fullFor, limitsOf, window, ahead);
    if (replicas > 0)
      args.push(LEASE * this.#slack, partition.epoch, partition.acked, confirms ? 1 : 0);
    const { key } = partition;
    const waited: Waited =
      replicas === 0
        ? { answer: await this.#redis.claimNonce(key, ...args), acknowledged: 0 }
        : await evalAndWait(this.#redis, CLAIM_SCRIPT, [key], args, replicas, this.#timeout / 4);
    const reply = this.#read(waited.answer);
    if (!(waited.acknowledged >= replicas))
      throw new Error(tellLack(waited, replicas, 'the claim'));
    this.#warnings.answered(partition, reply, reply.epoch.startsWith(this.#epochs));
    partition.hear(reply);
    partition.acked = reply.tick;
    return reply;
  }

  #read(answer: unknown): ScriptReply {
    try {
      return parseReply(answer);
    } catch (error) {
      // Another connection may lead to the master: through Sentinel, or by its name.
      if ((error as Error).message === REPLICA && !this.#redis.isCluster)
        (this.#redis as Redis).disconnect(true);
      throw error;
    }
  }

  /** Never the same, also where the answer was lost: a name that came twice would vouch for the life that had it first. */
  #newEpoch(): string {
    this.#calls++;
    return this.#epochs + this.#calls.toString(36).padStart(6, '0');
  }

  /**
   * Looks after partitions that nobody has claimed in for a moment, that have failed, and now and then all. So a server knows of every claim
   * until shortly before a rollback, though others made it; epochs begin before somebody calls; replicas acknowledge that they
   * are there; and what was given up is found to be back.
   */
  #watchQuiet(): void {
    if (!this.#connection.isFit) {
      this.#connection.retest();
      return;
    }
    const now = performance.now();
    for (const partition of this.#partitions) {
      const isQuiet = partition.heardAt < now - (this.#slack * 1000) / 2;
      if (partition.isOpen || isQuiet || partition.watchedAt < now - this.#slack * 1000)
        this.#lookUp(partition);
    }
  }

  /** Where that fails, claims do. */
  #lookUp(partition: RedisPartition): void {
    this.#watch(partition).catch(() => undefined);
  }

  #watch(partition: RedisPartition): Promise<unknown> {
    partition.watch ??= this.#within(this.#lookAfter(partition))
      .catch((error) => {
        this.#noteFailure(partition, error);
        throw error;
      })
      .finally(() => {
        partition.watch = undefined;
      });
    return partition.watch;
  }

  /** What a connection fails with that is gone, or has failed its test, the connection itself tells the operator. */
  #noteFailure(partition: RedisPartition, error: unknown): void {
    const isConnected = this.#connection.isFit && this.#redis.status === 'ready';
    const isTold = isConnected && !(error instanceof Error && isLost(error.message));
    this.#warnings.failed(partition, error, isTold);
  }

  async #lookAfter(partition: RedisPartition): Promise<void> {
    partition.watchedAt = performance.now();
    const { outcome, replicas } = await this.#call(partition, NO_CLAIM);
    this.#connection.noteReplicas(replicas);
    if (outcome === 'pending') await this.#call(partition, NO_CLAIM, true);
  }

  #within<T>(promise: Promise<T>, milliseconds = this.#timeout): Promise<T> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => reject(noAnswer(this.#redis, milliseconds));
      // Where the process itself was held up, the answer may lie there already: it is read first.
      const timer = setTimeout(() => setImmediate(giveUp), milliseconds);
      promise.then(
        (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        (error) => {
          clearTimeout(timer);
          reject(error);
        },
      );
    });
  }
}

/** Whole ones. The script keeps two of them in one number, so each has a bound, beyond what verifiers have. */
function milliseconds(seconds: number, bound: number): number {
  return Math.min(Math.ceil(seconds * 1000), bound - 1);
}
