import { hash } from 'node:crypto';
import type { Cluster, Redis } from 'ioredis';
import { OperatorWarnings } from '../../lib/operator-warning.ts';
import { CheckedRedis } from '../../lib/redis/checked-redis.ts';
import { duplicate } from '../../lib/redis/own-connection.ts';
import { within } from '../../lib/redis/reachable.ts';
import { commandsOf } from '../../lib/redis/redis-commands.ts';
import { refusalOf } from '../../lib/redis/redis-permissions.ts';
import { NEVER_EVICTED } from '../../lib/redis/self-test.ts';
import {
  type ClaimOutcome,
  hasTimes,
  type NonceClaim,
  type NonceStore,
} from '../../verify/nonce-store.ts';
import { WidestLimits } from '../widest-limits.ts';
import { CHARGE_SCRIPT } from './charge-script.ts';
import { ClaimCall, type NamedClaim, NO_CLAIM } from './claim-call.ts';
import { CLAIM_SCRIPT } from './claim-script.ts';
import { type Account, type Charge, NonceCharges } from './nonce-charges.ts';
import { PartitionWatch } from './partition-watch.ts';
import {
  parseRedisNonceOptions,
  type RedisNonceSettings,
  type RedisNonceStoreOptions,
} from './redis-nonce-options.ts';
import { RedisNonceWarnings } from './redis-nonce-warnings.ts';
import { RedisPartition } from './redis-partition.ts';
import { ClocksApartError, type ScriptReply } from './script-reply.ts';

const PER_SUBJECT = 250_000;

/** Bytes that a nonce takes in Redis at most, which is while the tables of Redis grow. */
const NONCE_BYTES = 192;

/**
 * In a cluster, access keys are spread over this many sorted sets, so that the nodes share the
 * work. Each set has its own epoch.
 */
const CLUSTER_PARTITIONS = 16;

/** The commands that the Redis user of the store needs. */
const COMMANDS = ['EVAL', 'EVALSHA', 'INFO', ...commandsOf(CLAIM_SCRIPT, CHARGE_SCRIPT)];

/** The command that ioredis makes of the script that counts. */
interface Commands {
  chargeOwner(key: string, ...args: (string | number)[]): Promise<unknown>;
}

/**
 * Nonces in Redis, 6.2 or newer, or Valkey, for all servers that share keys. One script decides
 * each claim, by the clock of Redis. So if an attacker sends copies of a request to any number of
 * servers, exactly one is accepted.
 *
 * If Redis has lost data, the store refuses requests that it cannot vouch for, and says so. If
 * Redis cannot be relied on, every claim is rejected: {@link RedisNonceStore.ready} says why, and
 * so does a process warning.
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
  readonly #settings: RedisNonceSettings;
  readonly #timeout: number;
  readonly #connection: CheckedRedis;
  readonly #redis: (Redis | Cluster) & Commands;
  readonly #partitions: readonly RedisPartition[];
  readonly #claims: ClaimCall;
  readonly #watch: PartitionWatch;
  readonly #charges = new NonceCharges();
  readonly #limits = new WidestLimits();
  #lastAudience: { readonly audience?: string; readonly name: string } = { name: '' };

  /** @throws TypeError or RangeError naming the option that cannot be used */
  constructor(options: RedisNonceStoreOptions) {
    this.#settings = parseRedisNonceOptions(options);
    const { redis, prefix, timeout, waitForReplicas, slack, onWarning } = this.#settings;
    this.#timeout = timeout * 1000;
    this.#partitions = Array.from(
      { length: redis.isCluster ? CLUSTER_PARTITIONS : 1 },
      (_, partition) => new RedisPartition(`${prefix}:${partition}`),
    );
    const warnings = new OperatorWarnings(onWarning);
    this.#connection = new CheckedRedis(duplicate(redis, this.#timeout), {
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
      whenFit: () => this.#watch.lookUpAll(),
    });
    this.#redis = this.#connection.redis as (Redis | Cluster) & Commands;
    this.#redis.defineCommand('chargeOwner', { numberOfKeys: 1, lua: CHARGE_SCRIPT });
    const told = new RedisNonceWarnings(warnings, this.#partitions, prefix, slack);
    this.#claims = new ClaimCall(this.#connection, told, this.#settings);
    this.#watch = new PartitionWatch(
      this.#connection,
      this.#claims,
      told,
      this.#partitions,
      this.#settings,
    );
  }

  /**
   * Waits until the store can be relied on. Call it if the server must not start with a Redis that
   * is not fit for nonces. Claims do not need it: they wait by themselves.
   *
   * @param seconds how long to wait for a connection: 10 if not given
   * @throws Error if Redis cannot be relied on; the message says why, and what to do
   * @throws RangeError if `seconds` is not from 0 to 3,600
   */
  async ready(seconds = 10): Promise<void> {
    await this.#connection.ready(
      seconds,
      () => this.#watch.all(),
      (error) => error instanceof ClocksApartError,
    );
  }

  /** Claims a nonce. Rejects if Redis fails, or does not answer in time. */
  async claim(claim: NonceClaim): Promise<ClaimOutcome> {
    const { accessKeyId, audience, nonce } = claim;
    const name = hash('sha256', `${audience}\n${accessKeyId}\n${nonce}`, 'base64url').slice(0, 22);
    const partition = this.#partitionOf(accessKeyId);
    this.#connection.checkOpen();
    partition.check();
    try {
      return await within(this.#redis, this.#claim(partition, name, claim), this.#timeout);
    } catch (error) {
      const why = await this.#connection.explain(error);
      partition.fail(why);
      this.#watch.recordFailure(partition, why);
      throw why;
    }
  }

  /**
   * Closes the store's own connection, not the one that it was given. Later claims are rejected.
   */
  async close(): Promise<void> {
    this.#watch.close();
    this.#connection.close();
  }

  /** How many live nonces one owner may have. */
  get #limit(): number {
    // Requests and presigned URLs together may take a quarter of the memory, so each an eighth.
    const fitting = Math.floor(this.#connection.maxMemory / 8 / NONCE_BYTES);
    return this.#settings.perSubject ?? Math.max(1, Math.min(PER_SUBJECT, fitting));
  }

  /** A hash of an audience, for Redis. The last one is kept, because there are few audiences. */
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
    const { window, ahead } = isDated ? this.#limits.record(claim) : NO_CLAIM;
    // Field by field: to spread the claim would cost as much as a hash.
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
    // The script refuses a claim without times, so it counts for no owner.
    const reply = isDated
      ? await this.#claimCounted(partition, named, this.#charges.accountOf(claim), until, limit)
      : await this.#claims.ask(partition, named);
    this.#limits.widen(audience, { window: reply.window / 1000, ahead: reply.ahead / 1000 });
    const { outcome, epoch, wait } = reply;
    if (outcome === 'pending' || outcome === 'alive')
      throw new Error('The replicas of Redis have not acknowledged the new epoch of the store');
    if (outcome === 'uncertain') return { outcome, epoch, retryAfter: wait };
    if (outcome === 'exhausted') return { outcome, epoch, retryAfter: wait, limit };
    return { outcome, epoch };
  }

  /**
   * Claims a nonce, and first counts the nonces of its owner in Redis if the step is full.
   *
   * @param until Unix seconds: until when the nonce is kept
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
      reply = await this.#claims.ask(partition, { ...named, owner, fullFor });
      return reply;
    } finally {
      // If the answer was lost, the nonce may be in Redis, unless the owner had no room.
      const mayBeThere = fullFor === 0 && (reply?.outcome ?? 'claimed') === 'claimed';
      if (!mayBeThere && charge !== undefined && fullFor === 0)
        // Take it back in Redis, too: if a later nonce used the count, the count would end too
        // early.
        await this.#count(account, { ...charge, count: -1 }, limit);
      else if (!mayBeThere) account.uncounted -= 1;
    }
  }

  /**
   * Counts nonces of an owner in Redis.
   *
   * @returns the seconds until the owner has room for the next nonce; 0 if it has room
   */
  async #count({ name }: Account, { count, until }: Charge, limit: number): Promise<number> {
    const { prefix, slack } = this.#settings;
    const counting = this.#redis.chargeOwner(`${prefix}:${name}`, count, until, limit, slack);
    // In a cluster the count may lie on a node that is down while the nonces do not. Then nonces
    // are claimed and not counted.
    const fullFor = await within(this.#redis, counting, this.#timeout / 4).catch(() => 0);
    return typeof fullFor === 'number' && fullFor > 0 ? fullFor : 0;
  }
}

/**
 * Whole milliseconds. The script keeps two durations in one number, so each has a bound. It is
 * above all that verifiers allow.
 */
function milliseconds(seconds: number, bound: number): number {
  return Math.min(Math.ceil(seconds * 1000), bound - 1);
}
