import type { Cluster, Redis } from 'ioredis';
import type { OperatorWarnings } from '../../lib/operator-warning.ts';
import { commandsOf, isWrite } from '../../lib/redis/redis-commands.ts';
import { findRefusals, formatRefusals, type Refusals } from '../../lib/redis/redis-permissions.ts';
import {
  ACCEPT_SCRIPT,
  COUNT_SCRIPT,
  CREATE_SCRIPT,
  LOOK_SCRIPT,
  NAME_SCRIPT,
  SAMPLE_SCRIPT,
  UPDATE_SCRIPT,
  USE_SCRIPT,
} from './redis-scripts.ts';

/** Commands that find keys. */
const FINDING = ['INFO', 'HMGET', ...commandsOf(LOOK_SCRIPT)];

const WRITING = commandsOf(
  ...[ACCEPT_SCRIPT, COUNT_SCRIPT, CREATE_SCRIPT, NAME_SCRIPT, SAMPLE_SCRIPT],
  ...[UPDATE_SCRIPT, USE_SCRIPT],
);

/** Commands that list and change keys, in addition to those that find them. */
const CHANGING = ['EVAL', 'ZRANGE', 'HGET', 'EXISTS', 'ZREM', ...WRITING];

/**
 * What the Redis user of a store may do. Each store must be able to find keys. A user that may
 * write nothing is fine: the store only verifies. A user that may write, but not all that a change
 * needs, is a mistake.
 */
export class RedisAccess {
  readonly #prefix: string;
  readonly #channel: string;
  #reader: 'eval' | 'eval_ro' = 'eval';
  #lack: string | undefined;
  #isReadOnly = false;
  readonly #warnings: OperatorWarnings;

  /**
   * @param prefix of the names of all keys
   * @param channel where changes are announced
   */
  constructor(prefix: string, channel: string, warnings: OperatorWarnings) {
    this.#warnings = warnings;
    this.#prefix = prefix;
    this.#channel = channel;
  }

  /** The command that runs scripts which only read. Redis 6.2 has only `EVAL`. */
  get reader(): 'eval' | 'eval_ro' {
    return this.#reader;
  }

  /** Why the store cannot change keys, if it cannot. */
  get lack(): string | undefined {
    return this.#lack;
  }

  /** Whether the store only verifies. */
  get isReadOnly(): boolean {
    return this.#isReadOnly;
  }

  /**
   * Finds out what the user may do.
   *
   * @param waits whether changes wait for replicas
   * @returns why keys cannot be found, if they cannot
   */
  async test(redis: Redis | Cluster, waits: boolean): Promise<string | undefined> {
    const refusals = await this.#find(redis, 'EVAL');
    // A user that may only read must use EVAL_RO, since a script of EVAL could write.
    const reading = refusals.commands.has('EVAL')
      ? await this.#find(redis, 'EVAL_RO').catch(() => undefined)
      : undefined;
    const mayRead = reading !== undefined && !reading.rule.includes('+eval_ro');
    const { rule, user } = mayRead ? reading : refusals;
    if (rule.length > 0) {
      const other =
        reading === undefined || mayRead
          ? ''
          : '; a server that only verifies needs %R~ and +eval_ro in place of ~ and +eval';
      return `${formatRefusals({ rule, user })}${other}`;
    }
    this.#reader = mayRead ? 'eval_ro' : 'eval';
    await this.#testChanges(redis, waits);
    return undefined;
  }

  #find(redis: Redis | Cluster, runner: 'EVAL' | 'EVAL_RO'): Promise<Refusals> {
    return findRefusals(redis, { prefix: this.#prefix, commands: [runner, ...FINDING] }, runner);
  }

  async #testChanges(redis: Redis | Cluster, waits: boolean): Promise<void> {
    const commands = [...new Set([...CHANGING, ...(waits ? ['WAIT'] : [])])];
    const needs = { prefix: this.#prefix, channel: this.#channel, commands };
    const runner = this.#reader === 'eval' ? 'EVAL' : 'EVAL_RO';
    const refusals = await findRefusals(redis, needs, runner);
    this.#isReadOnly = commands.filter(isWrite).every((it) => refusals.commands.has(it));
    this.#lack =
      refusals.rule.length === 0
        ? undefined
        : `Redis is not fit for changes of access keys: ${formatRefusals(refusals)}`;
    if (this.#lack === undefined || this.#isReadOnly) this.#warnings.end(CODE);
    else this.#warnings.begin(CODE, { message: this.#lack });
  }
}

const CODE = 'COUNTERSIGN_KEY_STORE_CHANGES_UNFIT';
