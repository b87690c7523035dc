import { setTimeout as sleep } from 'node:timers/promises';
import { quote } from '@countersign/shared';
import type { Cluster, Redis } from 'ioredis';
import { withoutCommand } from '../without-command.ts';
import type { CheckedRedisOptions } from './checked-redis-options.ts';
import {
  lastFailure,
  NOT_CONNECTED,
  reasonOf,
  rememberFailures,
  unreachableCause,
  whenReady,
} from './reachable.ts';
import { isRefusal } from './redis-permissions.ts';
import { NOEVICTION, type SelfTest, testRedis } from './self-test.ts';

/**
 * An operator may change the eviction policy at any time, and `INFO` costs nothing at this pace.
 */
const TEST_EVERY = 15_000;

/**
 * Milliseconds without an answer of Redis before a warning says so. A broken connection is usually
 * back by then.
 */
const DOWN_AFTER = 1_000;

/**
 * A store's own connection. The store uses it only if its Redis was tested and found fit. Each new
 * connection is tested, since it may lead to another Redis. A lasting connection is tested
 * regularly, since an operator can change the settings of a running Redis.
 */
export class CheckedRedis {
  readonly redis: Redis | Cluster;
  readonly #options: CheckedRedisOptions;
  #hasReplicas = false;
  #maxMemory = Number.POSITIVE_INFINITY;
  #connection: Promise<unknown> | undefined;
  /** The test of the present connection. */
  #test: Promise<void> | undefined;
  #isTesting = false;
  #isFit = false;
  /** Whether the last test found that the connection leads to a replica. */
  #isReplica = false;
  /** Whether the last test found a setting that an operator must change. */
  #isUnfit = false;
  readonly #beat: NodeJS.Timeout;
  /** Since when Redis gives no answer, by `performance.now()`; `undefined` while it answers. */
  #downSince: number | undefined = performance.now();
  #isDown = false;
  #closed = false;

  /** @param redis the store's own connection; `close()` closes it */
  constructor(redis: Redis | Cluster, options: CheckedRedisOptions) {
    this.#options = options;
    this.redis = redis;
    rememberFailures(redis);
    redis.on('ready', () => this.#testAgain());
    redis.on('close', () => {
      this.#untested();
      this.#isUnfit = false;
      this.#recordDown(lastFailure(redis) ?? NOT_CONNECTED);
    });
    redis.on('+node', () => this.#testMeanwhile());
    const { testEvery = TEST_EVERY } = options;
    this.#beat = setInterval(() => {
      if (this.isFit) this.#testMeanwhile();
      else if (this.#isReplica) this.#reconnect();
      else this.retest();
    }, testEvery).unref();
  }

  /** Whether the present connection has passed its test. */
  get isFit(): boolean {
    return this.#isFit;
  }

  /**
   * Whether a replica was ever seen. From then on changes wait for replicas: after a failover the
   * new master may have none, and lack the last changes.
   */
  get hasReplicas(): boolean {
    return this.#hasReplicas;
  }

  /** Bytes that the smallest master may use, by its last answer. */
  get maxMemory(): number {
    return this.#maxMemory;
  }

  recordReplicas(count: number): void {
    if (count > 0) this.#hasReplicas = true;
  }

  /**
   * Waits until Redis can be relied on, longer than a question does. Connections may break while a
   * fleet starts or a cluster fails over, so it tries again.
   *
   * @param seconds to try
   * @param look what else must succeed
   * @param isFinal whether waiting cannot solve an error
   * @throws Error that says what is wrong, and what to do
   * @throws RangeError if `seconds` is not from 0 to 3,600
   */
  async ready(
    seconds: number,
    look?: () => Promise<unknown>,
    isFinal: (error: unknown) => boolean = () => false,
  ): Promise<void> {
    if (!(seconds >= 0 && seconds <= 3_600))
      throw new RangeError(
        `Cannot wait for Redis: expected 0 to 3,600 seconds, got ${quote(seconds)}`,
      );
    const end = performance.now() + seconds * 1000;
    for (;;) {
      try {
        await this.connected();
        await look?.();
        return;
      } catch (error) {
        this.checkOpen();
        const reason = await this.explain(error);
        // Waiting does not change settings.
        if (this.#isUnfit || isFinal(reason) || !(performance.now() < end)) throw reason;
      }
      await sleep(20);
    }
  }

  /** @throws Error if the store is closed */
  checkOpen(): void {
    if (this.#closed)
      throw new Error(`Cannot use Redis for ${this.#options.what}: the store is closed`);
  }

  /**
   * Waits for a connection and its test. If the connection has failed its test, it is tested again.
   *
   * @throws Error if Redis cannot be relied on
   */
  async connected(): Promise<void> {
    this.checkOpen();
    if (this.#isFit && this.redis.status === 'ready') return;
    if (this.redis.status !== 'ready') {
      this.#connection ??= whenReady(this.redis, this.#options.timeout).finally(() => {
        this.#connection = undefined;
      });
      await this.#connection;
    }
    this.retest();
    await this.#test;
  }

  /**
   * Explains why a command failed. If the user of the store lacks a permission, a test finds out
   * which one, and how to add it.
   */
  async explain(error: unknown): Promise<unknown> {
    if (!isRefusal(error) || this.#closed) return error;
    if (!this.#isTesting) this.#untested();
    return this.connected().then(
      () => error,
      (unfit) => unfit,
    );
  }

  /** Tests a connection that has failed its test again. */
  retest(): void {
    const isTesting = this.#isTesting && this.#test !== undefined;
    if (!this.#isFit && this.redis.status === 'ready' && !isTesting) this.#testAgain();
  }

  /** Tests a connection on which a command got no answer. */
  doubt(): void {
    if (this.#isFit) this.#testMeanwhile();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.warnings.close();
    clearInterval(this.#beat);
    this.redis.disconnect();
  }

  /**
   * Tests while questions go on. If the test fails, further questions wait for the next test, and
   * get its error.
   */
  #testMeanwhile(): void {
    this.#judge().catch(() => {
      // A test that callers wait for decides alone.
      if (!this.#isTesting) this.#untested();
    });
  }

  /**
   * A demoted master keeps its connections. A new one leads to the new master, if the name of Redis
   * or Sentinel does. This is only done at the pace of the tests: a Redis that stays a replica must
   * not be connected to again and again.
   */
  #reconnect(): void {
    this.#isReplica = false;
    (this.redis as Redis).disconnect(true);
  }

  #untested(): void {
    this.#isFit = false;
    this.#test = undefined;
  }

  #testAgain(): void {
    this.#isFit = false;
    const test = this.#judge()
      .finally(() => {
        this.#isTesting = false;
      })
      .then(() => {
        if (this.#test !== test) return;
        this.#isFit = true;
        this.#options.whenFit?.();
      });
    this.#isTesting = true;
    this.#test = test;
    // Callers of connected() get the error.
    test.catch(() => undefined);
  }

  /** @throws Error if Redis cannot be relied on */
  async #judge(): Promise<void> {
    const { what, policies = NOEVICTION, permissions, warnings, store, toError } = this.#options;
    const ask = async (): Promise<SelfTest> => {
      const account = await testRedis(this.redis, policies);
      const hasReplicas = this.#hasReplicas || account.replicas > 0;
      // Missing permissions come first: without them Redis answers nothing else.
      const refusal = await permissions(this.redis, hasReplicas);
      return { ...account, flaw: refusal ?? account.flaw };
    };
    const test = await ask().catch((error) => {
      // The next connection may lead to another Redis.
      this.#isUnfit = false;
      this.#recordDown(reasonOf(error));
      throw withoutCommand(error);
    });
    this.#recordUp();
    this.#options.whenTested?.(test);
    const { flaw, isReplica, replicas, maxMemory } = test;
    this.#isReplica = isReplica;
    this.#isUnfit = flaw !== undefined;
    if (flaw !== undefined) {
      // Callers are only told to try again, so the operator must be told the reason.
      const message = `Redis is not fit for ${what}: ${flaw}`;
      warnings.begin(`COUNTERSIGN_${store}_UNFIT`, { message });
      throw toError?.(message) ?? new Error(message);
    }
    warnings.end(`COUNTERSIGN_${store}_UNFIT`);
    this.recordReplicas(replicas);
    this.#maxMemory = maxMemory;
  }

  /**
   * Records that Redis gave no answer. If that lasts, the operator is warned, even if no request
   * comes.
   */
  #recordDown(reason: string): void {
    const now = performance.now();
    this.#downSince ??= now;
    // If the connection stays open and carries nothing, only another test can notice it.
    if (this.redis.status === 'ready') setTimeout(() => this.retest(), DOWN_AFTER).unref();
    if (!(now - this.#downSince >= DOWN_AFTER)) return;
    this.#isDown = true;
    const { what, store, consequence, warnings } = this.#options;
    const message = `Cannot reach Redis for ${what}: ${reason}. ${consequence} until it answers`;
    const cause = unreachableCause(reason);
    warnings.begin(`COUNTERSIGN_${store}_UNREACHABLE`, { message, cause });
  }

  #recordUp(): void {
    this.#downSince = undefined;
    // Another part of the store may have begun the same condition, and ends it itself.
    if (this.#isDown) this.#options.warnings.end(`COUNTERSIGN_${this.#options.store}_UNREACHABLE`);
    this.#isDown = false;
  }
}
