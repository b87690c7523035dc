import type { CheckedRedis } from '../../lib/redis/checked-redis.ts';
import { isLost, within } from '../../lib/redis/reachable.ts';
import type { ClaimCall } from './claim-call.ts';
import type { RedisNonceSettings } from './redis-nonce-options.ts';
import type { RedisNonceWarnings } from './redis-nonce-warnings.ts';
import type { RedisPartition } from './redis-partition.ts';

/** Looks after the partitions of a store, also if no nonce is claimed. */
export class PartitionWatch {
  readonly #connection: CheckedRedis;
  readonly #claims: ClaimCall;
  readonly #warnings: RedisNonceWarnings;
  readonly #partitions: readonly RedisPartition[];
  readonly #slack: number;
  readonly #timeout: number;
  readonly #beat: NodeJS.Timeout;

  constructor(
    connection: CheckedRedis,
    claims: ClaimCall,
    warnings: RedisNonceWarnings,
    partitions: readonly RedisPartition[],
    { slack, timeout }: RedisNonceSettings,
  ) {
    this.#connection = connection;
    this.#claims = claims;
    this.#warnings = warnings;
    this.#partitions = partitions;
    this.#slack = slack;
    this.#timeout = timeout * 1000;
    this.#beat = setInterval(() => this.#watchQuiet(), (slack * 1000) / 4).unref();
  }

  /** Looks after all partitions. If that fails, claims fail and say so. */
  lookUpAll(): void {
    for (const partition of this.#partitions) this.#lookUp(partition);
  }

  /** @throws Error if one of the partitions cannot be relied on */
  async all(): Promise<void> {
    await Promise.all(this.#partitions.map((partition) => this.#watch(partition)));
  }

  /**
   * Records that a call failed. If the connection is lost or has failed its test, the operator
   * hears of it from the connection, and not from here.
   */
  recordFailure(partition: RedisPartition, error: unknown): void {
    const isConnected = this.#connection.isFit && this.#connection.redis.status === 'ready';
    const isTold = isConnected && !(error instanceof Error && isLost(error.message));
    this.#warnings.failed(partition, error, isTold);
  }

  close(): void {
    clearInterval(this.#beat);
  }

  /**
   * Looks after each partition that has been quiet for half a slack, or that has failed, and after
   * each other one once a slack. This has four reasons:
   *
   * - The server knows a recent tick, so it notices a rollback, even if other servers made the
   *   claims.
   * - A new epoch begins before a request comes.
   * - Replicas acknowledge in time that they are there.
   * - The server finds out that a partition which had failed answers again.
   */
  #watchQuiet(): void {
    if (!this.#connection.isFit) {
      this.#connection.retest();
      return;
    }
    const now = performance.now();
    for (const partition of this.#partitions) {
      const isQuiet = partition.answeredAt < now - (this.#slack * 1000) / 2;
      if (partition.isOpen || isQuiet || partition.watchedAt < now - this.#slack * 1000)
        this.#lookUp(partition);
    }
  }

  /** If the look fails, claims fail too, and say why. */
  #lookUp(partition: RedisPartition): void {
    this.#watch(partition).catch(() => undefined);
  }

  #watch(partition: RedisPartition): Promise<unknown> {
    partition.watch ??= this.#lookAfter(partition)
      .catch((error) => {
        this.recordFailure(partition, error);
        throw error;
      })
      .finally(() => {
        partition.watch = undefined;
      });
    return partition.watch;
  }

  #lookAfter(partition: RedisPartition): Promise<void> {
    partition.watchedAt = performance.now();
    return within(this.#connection.redis, this.#claims.look(partition), this.#timeout);
  }
}
