import { quote } from '@countersign/shared';
import type { OperatorWarning, OperatorWarnings } from '../../lib/operator-warning.ts';
import { isNoAnswer, reasonOf, unreachableCause } from '../../lib/redis/reachable.ts';
import type { WarningCode } from '../../lib/warning-codes.ts';
import { epochCause, epochWarning } from '../epoch-warning.ts';
import type { RedisPartition } from './redis-partition.ts';
import { ClocksApartError, type ScriptReply } from './script-reply.ts';

/** What each failure of Redis means for callers. */
const REFUSED = 'Requests are answered 503 until that is mended';

/** The warnings of a store about its partitions. `CheckedRedis` warns about the connection. */
export class RedisNonceWarnings {
  readonly #warnings: OperatorWarnings;
  readonly #partitions: readonly RedisPartition[];
  readonly #where: string;
  readonly #slack: number;

  /**
   * @param prefix the prefix of the store's keys, which names it in messages
   * @param slack by how many seconds clocks may differ
   */
  constructor(
    warnings: OperatorWarnings,
    partitions: readonly RedisPartition[],
    prefix: string,
    slack: number,
  ) {
    this.#warnings = warnings;
    this.#partitions = partitions;
    this.#where = `at ${quote(prefix, 200)}`;
    this.#slack = slack;
  }

  /**
   * Records an answer, which may say that an epoch began. Call it before `partition.record()`.
   *
   * @param isOwn whether this server began the epoch
   */
  answered(partition: RedisPartition, reply: ScriptReply, isOwn: boolean): void {
    if (partition.trouble !== undefined) this.#end(partition);
    if (reply.why === '') return;
    const { epoch, why } = reply;
    const { isNews, knewAnother } = partition.explain(reply, isOwn);
    const cause = epochCause(why, knewAnother);
    if (!isNews || cause === undefined) return;
    const warning = epochWarning(this.#where, cause, epoch, this.#slack);
    this.#warnings.event('COUNTERSIGN_NONCE_EPOCH', warning);
  }

  /**
   * Records a claim or a look that failed.
   *
   * @param isConnected whether there is a connection that has passed its test
   */
  failed(partition: RedisPartition, error: unknown, isConnected: boolean): void {
    const many = partition.miss();
    const reason = reasonOf(error as Error);
    if (error instanceof ClocksApartError) {
      const [cause, seconds] = [error.by > 0 ? 'ahead' : 'behind', Math.abs(error.by)];
      this.#begin(partition, 'COUNTERSIGN_CLOCKS_APART', { message: reason, cause, seconds });
    } else if (many && isConnected) {
      if (isNoAnswer(error)) {
        const cause = unreachableCause(reason);
        this.#begin(partition, UNREACHABLE, { message: reason, cause });
      } else this.#begin(partition, FAILED, { message: `Redis claims no nonce: ${reason}` });
    }
  }

  #begin(partition: RedisPartition, code: WarningCode, facts: Omit<OperatorWarning, 'code'>): void {
    if (partition.trouble !== code) this.#end(partition);
    partition.trouble = code;
    this.#warnings.begin(code, { ...facts, message: `${facts.message}. ${REFUSED}` });
  }

  /** A condition of the store has ended if no other partition has it. */
  #end(partition: RedisPartition): void {
    const { trouble } = partition;
    partition.trouble = undefined;
    if (trouble !== undefined && !this.#partitions.some((it) => it.trouble === trouble))
      this.#warnings.end(trouble);
  }
}

const UNREACHABLE = 'COUNTERSIGN_NONCE_STORE_UNREACHABLE';
const FAILED = 'COUNTERSIGN_NONCE_STORE_FAILED';
