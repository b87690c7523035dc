import { randomBytes } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import type { CheckedRedis } from '../../lib/redis/checked-redis.ts';
import { evalAndWait, formatLack, type Waited } from '../../lib/redis/eval-and-wait.ts';
import type { NonceClaim } from '../../verify/nonce-store.ts';
import { CLAIM_SCRIPT } from './claim-script.ts';
import type { RedisNonceSettings } from './redis-nonce-options.ts';
import type { RedisNonceWarnings } from './redis-nonce-warnings.ts';
import type { RedisPartition } from './redis-partition.ts';
import { parseReply, REPLICA, type ScriptReply } from './script-reply.ts';

/**
 * For how many clock slacks replicas may be silent before the epoch ends. Fewer than the two slacks
 * of the floor.
 */
const LEASE = 1.5;

/** What the script decides on. */
export interface NamedClaim
  extends Pick<NonceClaim, 'signedAt' | 'acceptableFrom' | 'acceptableUntil' | 'presigned'> {
  readonly epoch?: string | undefined;
  /** A hash of audience, access key and nonce. */
  readonly name: string;
  /** If the owner has no room, its floor rises over this request. Empty for a presigned URL. */
  readonly owner: string;
  /** Seconds until the owner has room again; 0 if it has. */
  readonly fullFor: number;
  /** A hash of the audience. */
  readonly limitsOf: string;
  /** Milliseconds: the widest window of the audience that this server knows. */
  readonly window: number;
  /** Milliseconds: the widest `ahead` of the audience that this server knows. */
  readonly ahead: number;
}

export const NO_CLAIM: NamedClaim = {
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

interface Commands {
  claimNonce(key: string, ...args: (string | number)[]): Promise<unknown>;
}

/** Calls the script that decides claims, with what this server knows of a partition. */
export class ClaimCall {
  readonly #connection: CheckedRedis;
  readonly #redis: (Redis | Cluster) & Commands;
  readonly #warnings: RedisNonceWarnings;
  readonly #settings: RedisNonceSettings;
  readonly #timeout: number;
  readonly #epochs = randomBytes(12).toString('base64url');
  #calls = 0;

  constructor(
    connection: CheckedRedis,
    warnings: RedisNonceWarnings,
    settings: RedisNonceSettings,
  ) {
    this.#connection = connection;
    this.#redis = connection.redis as (Redis | Cluster) & Commands;
    this.#redis.defineCommand('claimNonce', { numberOfKeys: 1, lua: CLAIM_SCRIPT });
    this.#warnings = warnings;
    this.#settings = settings;
    this.#timeout = settings.timeout * 1000;
  }

  /** Looks after a partition without a claim, and confirms its epoch if it is pending. */
  async look(partition: RedisPartition): Promise<void> {
    const { outcome, replicas } = await this.#call(partition, NO_CLAIM);
    this.#connection.recordReplicas(replicas);
    if (outcome === 'pending') await this.#call(partition, NO_CLAIM, true);
  }

  /** Claims a nonce. If the epoch is pending, confirms it first. */
  async ask(partition: RedisPartition, named: NamedClaim): Promise<ScriptReply> {
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
    const { waitForReplicas, slack, clock } = this.#settings;
    const replicas = waitForReplicas ?? (this.#connection.hasReplicas ? 1 : 0);
    const args: (string | number)[] = [name, signedAt, acceptableFrom, acceptableUntil, epoch];
    args.push(this.#newEpoch(), partition.seen, clock(), this.#timeout / 1000, slack);
    args.push(owner, fullFor, limitsOf, window, ahead);
    if (replicas > 0) args.push(LEASE * slack, partition.epoch, partition.acked, confirms ? 1 : 0);
    const { key } = partition;
    const waited: Waited =
      replicas === 0
        ? { answer: await this.#redis.claimNonce(key, ...args), acknowledged: 0 }
        : await evalAndWait(this.#redis, CLAIM_SCRIPT, [key], args, replicas, this.#timeout / 4);
    const reply = this.#read(waited.answer);
    if (!(waited.acknowledged >= replicas))
      throw new Error(formatLack(waited, replicas, 'the claim'));
    this.#warnings.answered(partition, reply, reply.epoch.startsWith(this.#epochs));
    partition.record(reply);
    partition.acked = reply.tick;
    return reply;
  }

  #read(answer: unknown): ScriptReply {
    try {
      return parseReply(answer);
    } catch (error) {
      // A new connection may lead to the new master: through Sentinel, or by its name.
      if ((error as Error).message === REPLICA && !this.#redis.isCluster)
        (this.#redis as Redis).disconnect(true);
      throw error;
    }
  }

  /**
   * A name that is never used again, even if the answer was lost. Two epochs of one name would be
   * dangerous: the second would accept requests that echo the first.
   */
  #newEpoch(): string {
    this.#calls++;
    return this.#epochs + this.#calls.toString(36).padStart(6, '0');
  }
}
